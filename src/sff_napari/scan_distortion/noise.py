"""Estimate the noise of a scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
_BINS = 16


def noise_deviation(image: Image) -> float:
    """Return the standard deviation of noise that is independent from row to row.

    From second differences along columns, whose median is little moved by edges; the noise
    of a slow detector is correlated along rows.
    """
    if image.shape[0] < 3:
        return 0.0
    second = image[:-2] - 2 * image[1:-1] + image[2:]
    return float(np.median(np.abs(second)) / 0.6745 / np.sqrt(6.0))


def noise_by_grey(
    measured: Image, restored: Image, known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return grey levels and the standard deviation of the noise at each, (N, 2).

    Parameters
    ----------
    measured, restored : ndarray, (Y, X)
        The scan, and what is restored of it at the places where it was measured.
    known : ndarray, (Y, X) bool
        Where there is an image.
    """
    grey, noise = restored[known], (measured - restored)[known]
    if grey.size < 4 * _BINS:
        return np.array([[float(grey.mean()), float(noise.std())]])
    edges = np.quantile(grey[:: max(1, grey.size // 1_000_000)], np.linspace(0, 1, _BINS + 1))
    number = np.clip(np.searchsorted(edges, grey, side="right") - 1, 0, _BINS - 1)
    count = np.bincount(number, minlength=_BINS)
    total = np.bincount(number, grey, _BINS)
    mean = np.bincount(number, noise, _BINS) / np.maximum(count, 1)
    square = np.bincount(number, noise.astype(np.float64) ** 2, _BINS) / np.maximum(count, 1)
    full = count >= 16
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    return np.stack([total[full] / count[full], spread[full]], axis=1)
