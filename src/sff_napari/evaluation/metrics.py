"""Scores against the true slice, as the paper and its field count them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from sff_napari.errors import InputError


def psnr(image: NDArray[Any], truth: NDArray[Any], where: NDArray[np.bool_] | None = None) -> float:
    """Return the peak signal-to-noise ratio against 255, in dB.

    Parameters
    ----------
    image, truth : ndarray, (Y, X)
        Grey values from 0 to 255; rounded and clipped to 8 bits first.
    where : ndarray, (Y, X) bool, optional
        Pixels that count; all if not given.

    Returns
    -------
    float
        Infinite for identical images, NaN if no pixel counts.
    """
    error = np.square(_eight_bit(image) - _eight_bit(truth))
    if where is not None:
        error = error[where]
    if error.size == 0:
        return float("nan")
    mean = float(error.mean())
    return float("inf") if mean == 0 else float(10 * np.log10(255.0**2 / mean))


def ssim(image: NDArray[Any], truth: NDArray[Any], where: NDArray[np.bool_] | None = None) -> float:
    """Return the structural similarity (11 x 11 Gaussian, sigma 1.5, L = 255).

    Parameters
    ----------
    image, truth : ndarray, (Y, X)
        Grey values from 0 to 255; rounded and clipped to 8 bits first.
    where : ndarray, (Y, X) bool, optional
        Pixels whose local similarity is averaged; all if not given.
    """
    value, local = structural_similarity(
        _eight_bit(image),
        _eight_bit(truth),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        full=True,
    )
    if where is None:
        return float(value)
    return float(local[where].mean()) if where.any() else float("nan")


def end_point_errors(flow: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[Any]:
    """Return the length of the error, in px, of each pixel where both flows are defined.

    Parameters
    ----------
    flow, truth : ndarray, (2, Y, X)
        (dy, dx) in px; NaN where undefined.

    Returns
    -------
    ndarray, (N,)
        In no particular order.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    if flow.shape != truth.shape:
        raise InputError(
            f"The flows have shapes {flow.shape} and {truth.shape}: compare like with like."
        )
    error = np.hypot(flow[0] - truth[0], flow[1] - truth[1])
    return error[np.isfinite(error)]


def sharpness(image: NDArray[Any], truth: NDArray[Any], where: NDArray[np.bool_]) -> float:
    """Return how much fine detail an image has, as a share of what the truth has.

    The ratio of the root mean square of the two images after a high-pass (the
    image less its Gaussian of 2 px), over the pixels that count: 1 is as sharp
    as the truth, a mean of two slices lies well below.

    Parameters
    ----------
    image, truth : ndarray, (Y, X)
        Grey values from 0 to 255.
    where : ndarray, (Y, X) bool
        Pixels that count.
    """
    if not where.any():
        return float("nan")

    def detail(grey: NDArray[Any]) -> float:
        values = _eight_bit(grey)
        return float(np.sqrt(np.square(values - gaussian_filter(values, 2.0))[where].mean()))

    return detail(image) / max(detail(truth), 1e-9)


def _eight_bit(image: NDArray[Any]) -> NDArray[np.float64]:
    return np.clip(np.rint(image.astype(np.float64)), 0, 255)
