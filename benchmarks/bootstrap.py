"""Confidence intervals of means over folds, from a bootstrap with a fixed seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 10_000


def interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean of the finite values (N,), and the ends of its 95 % interval."""
    known = values[np.isfinite(values)]
    if known.size == 0:
        return float("nan"), float("nan"), float("nan")
    picks = np.random.default_rng(0).integers(0, known.size, size=(_RESAMPLES, known.size))
    low, high = np.percentile(known[picks].mean(axis=1), (2.5, 97.5))
    return float(known.mean()), float(low), float(high)


def ratio_interval(
    above: NDArray[np.float64], below: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Return the ratio of two means over the same folds (N,), and its 95 % interval."""
    known = np.isfinite(above) & np.isfinite(below)
    above, below = above[known], below[known]
    if above.size == 0:
        return float("nan"), float("nan"), float("nan")
    picks = np.random.default_rng(0).integers(0, above.size, size=(_RESAMPLES, above.size))
    ratios = above[picks].mean(axis=1) / np.maximum(below[picks].mean(axis=1), 1e-9)
    low, high = np.percentile(ratios, (2.5, 97.5))
    return float(above.mean() / max(below.mean(), 1e-9)), float(low), float(high)
