"""Score against the true slice, as the paper and its field count.

Pixels that are NaN in either image never count.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as ndimage_shift
from skimage.metrics import structural_similarity

from sff_napari.errors import InputError

_WINDOW = 64
"""Side of the windows of the power spectrum, px."""
_QUIET = 0.5
"""Power a pixel, in squared grey values, below which nobody sees a difference."""


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
    error = error[np.isfinite(error) if where is None else np.isfinite(error) & where]
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
    first, second, known = _without_gaps(image, truth)
    value, local = structural_similarity(
        first,
        second,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        full=True,
    )
    if where is None and known.all():
        return float(value)
    counts = known if where is None else known & where
    return float(local[counts].mean()) if counts.any() else float("nan")


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


def common_shift(flow: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the mean error of a flow, (dy, dx) in px, over the pixels where both are defined.

    Half of what the error costs is often such a shift of a slice that is right in itself.
    NaN if no pixel counts.
    """
    error = (flow - truth).astype(np.float64)
    known = np.isfinite(error).all(axis=0)
    if not known.any():
        return np.full(2, np.nan)
    mean: NDArray[np.float64] = error[:, known].mean(axis=1)
    return mean


def without_shift(
    image: NDArray[Any], truth: NDArray[Any], shift: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return a restored slice moved back by a common shift of its flow, and the true slice.

    Parameters
    ----------
    image, truth : ndarray, (Y, X)
        Grey values.
    shift : ndarray, (2,)
        (dy, dx) in px, from `common_shift`: ``image(x) = truth(x + shift)``.

    Returns
    -------
    image, truth : ndarray, (Y', X')
        The part both show; cubic between pixels, NaN where the image was.  Empty if the
        shift is larger than the slice.
    """
    values = image.astype(np.float64)
    known = np.isfinite(values)
    filled = np.where(known, values, values[known].mean() if known.any() else 0.0)
    moved = ndimage_shift(filled, shift, order=3, mode="nearest")
    if not known.all():
        gap = ndimage_shift((~known).astype(np.float64), shift, order=1, mode="nearest")
        moved[gap > 1e-6] = np.nan
    parts = []
    for by, side in zip(shift, values.shape, strict=True):
        whole = min(math.ceil(abs(float(by))), side)
        parts.append(slice(whole, side) if by > 0 else slice(0, side - whole))
    return moved[tuple(parts)], truth[tuple(parts)]


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
    first, second, known = _without_gaps(image, truth)
    counts = known & where
    if not counts.any():
        return float("nan")

    def detail(values: NDArray[np.float64]) -> float:
        return float(np.sqrt(np.square(values - gaussian_filter(values, 2.0))[counts].mean()))

    return detail(first) / max(detail(second), 1e-9)


def spectrum_distance(
    image: NDArray[Any], truth: NDArray[Any], where: NDArray[np.bool_] | None = None
) -> float:
    """Return how much the texture of an image differs from the truth's, in dB.

    The log spectral distance: power spectra (Hann windows of 64 px, half
    overlapping, less their mean) are averaged over the windows and over rings of
    equal frequency, from 1/32 to 1/2 cycles a pixel; the distance is the root
    mean square, over the rings, of their ratio in dB.  It does not ask where
    things lie, only how much of each size there is: a blurred slice is far from
    the truth, its neighbour is near.

    Parameters
    ----------
    image, truth : ndarray, (Y, X)
        Grey values from 0 to 255; rounded and clipped to 8 bits first.
    where : ndarray, (Y, X) bool, optional
        Windows count whose centre lies here; all if not given.

    Returns
    -------
    float
        0 for the same texture; NaN if no window counts or the slice is smaller
        than a window.
    """
    height, width = truth.shape
    grey, true, known = _without_gaps(image, truth)
    corners = [
        (top, left)
        for top in range(0, height - _WINDOW + 1, _WINDOW // 2)
        for left in range(0, width - _WINDOW + 1, _WINDOW // 2)
        if (where is None or where[top + _WINDOW // 2, left + _WINDOW // 2])
        and known[top : top + _WINDOW, left : left + _WINDOW].all()
    ]
    if not corners:
        return float("nan")
    first, second = _rings(grey, corners), _rings(true, corners)
    ratio = 10 * np.log10((first + _QUIET) / (second + _QUIET))
    return float(np.sqrt(np.square(ratio).mean()))


def _rings(grey: NDArray[np.float64], corners: list[tuple[int, int]]) -> NDArray[np.float64]:
    """Return the power on rings of equal frequency, averaged over windows, per pixel."""
    hann = np.hanning(_WINDOW + 2)[1:-1]
    taper = np.outer(hann, hann)
    power = np.zeros((_WINDOW, _WINDOW))
    for top, left in corners:
        part = grey[top : top + _WINDOW, left : left + _WINDOW]
        power += np.abs(np.fft.fft2((part - part.mean()) * taper)) ** 2
    power /= len(corners) * np.square(taper).sum()
    frequency = np.fft.fftfreq(_WINDOW) * _WINDOW
    ring = np.rint(np.hypot(frequency[:, None], frequency[None])).astype(int)
    counts = np.bincount(ring.ravel())
    sums = np.bincount(ring.ravel(), power.ravel())
    return (sums / counts)[2 : _WINDOW // 2 + 1]


def _eight_bit(image: NDArray[Any]) -> NDArray[np.float64]:
    return np.clip(np.rint(image.astype(np.float64)), 0, 255)


def _without_gaps(
    image: NDArray[Any], truth: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return both in 8 bits, the same value where either is NaN, and where neither is."""
    first, second = _eight_bit(image), _eight_bit(truth)
    known = np.isfinite(first) & np.isfinite(second)
    if not known.all():
        level = float(second[known].mean()) if known.any() else 0.0
        first, second = np.where(known, first, level), np.where(known, second, level)
    return first, second, known
