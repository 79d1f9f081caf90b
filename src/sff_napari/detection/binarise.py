"""Mark the pixels that may belong to a fold: darkness against the surroundings, thresholded.

A fold is judged against the tissue around it, not by its grey value: the
darkness of a pixel is 0 where it is as bright as the tissue around (or
brighter) and 1 where it is as dark as the darkest of the slice.  So the same
threshold serves 8-bit, 16-bit and float slices, bright and pale ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sff_napari.arrays import GreyScale, as_slice
from sff_napari.errors import InputError
from sff_napari.no_data import find_no_data

DEFAULT_THRESHOLD = 0.55
"""Darkness from which a pixel may be fold, as a share between tissue (0) and black (1)."""

_BLOCK = 32
"""Side of the blocks in which the brightness of the tissue is measured, working px."""


@dataclass(frozen=True)
class Darkness:
    """How dark the pixels of a slice are, at a reduced scale.

    Parameters
    ----------
    values : ndarray, (Y', X') float32
        Darkness in [0, 1], 0 = as bright as the tissue around, 1 = black.
    valid : ndarray, (Y', X') bool
        False where there is no image: NaN, padding.
    grey : ndarray, (Y', X') float32
        The reduced slice in its working range [0, 1]; padding holds the tissue's brightness.
    tissue : ndarray, (Y', X') float32
        Brightness of the tissue around, in the working range.
    factor : int
        Full-scale pixels per pixel of this one.
    black : float
        Grey value, in the working range, of the darkest of the slice.
    least_depth : float
        Smallest difference between tissue and black that darkness is measured by, in
        the working range; where the tissue itself is nearly black, noise would count.
    """

    values: NDArray[np.float32]
    valid: NDArray[np.bool_]
    grey: NDArray[np.float32]
    tissue: NDArray[np.float32]
    factor: int
    black: float
    least_depth: float


def checked_threshold(threshold: float | None) -> float:
    """Return the threshold to use, the default for None.

    Raises
    ------
    InputError
        If it does not lie strictly between 0 and 1.
    """
    if threshold is None:
        return DEFAULT_THRESHOLD
    value = float(threshold)
    if not 0 < value < 1:
        raise InputError(
            f"The threshold is {value:g}: it is a darkness and must lie between 0 (as bright as "
            "the tissue around) and 1 (black)."
        )
    return value


def working_factor(shape: tuple[int, int], side: int = 1600) -> int:
    """Return the power of two by which a slice (Y, X) is reduced before lines are searched.

    At most 4: a dark line of 6 px would vanish beyond.
    """
    factor = 1
    while max(shape) / factor > side and factor < 4:
        factor *= 2
    return factor


def measure_darkness(
    image: Any, factor: int | None = None, no_data: NDArray[np.bool_] | None = None
) -> Darkness:
    """Return the darkness of a slice.

    Parameters
    ----------
    image : array_like, (Y, X)
        uint8, uint16 or float in any range; NaN means no image there.
    factor : int, optional
        Reduction; chosen from the size if not given.
    no_data : ndarray, (Y, X) bool, optional
        Where the slice holds no data, as `find_no_data` returns it; found
        here if not given.

    Returns
    -------
    Darkness
        At ``1 / factor`` of the size, rounded up.

    Raises
    ------
    InputError
        If `image` cannot be used as a slice.
    """
    array = np.ascontiguousarray(as_slice(image))
    factor = working_factor((array.shape[0], array.shape[1])) if factor is None else factor
    no_data = find_no_data(array) if no_data is None else no_data
    grey, valid = _reduced(array, factor, no_data)
    if no_data is not None and valid.any():
        # What was drawn into the slice at its border may hold a little of both.
        valid = cv2.erode(valid.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    if valid.mean() < 0.02 or float(np.ptp(grey[valid])) == 0:
        nothing = np.zeros(grey.shape, np.float32)
        return Darkness(nothing, np.zeros_like(valid), nothing, nothing, factor, 0.0, 1.0)
    tissue = _tissue_brightness(grey, valid)
    grey = np.where(valid, grey, tissue)
    soft = cv2.GaussianBlur(grey, (0, 0), 0.8)
    black = float(np.percentile(soft[valid][:: max(1, valid.sum() // 200_000)], 0.05))
    spread = float(np.percentile(tissue[valid][::16], 50)) - black
    least_depth = max(0.25 * spread, 1e-6)
    depth = np.maximum(tissue - black, least_depth)
    values = np.clip((tissue - soft) / depth, 0, 1).astype(np.float32)
    values[~valid] = 0
    return Darkness(values, valid, grey, tissue, factor, black, least_depth)


def averaged(
    array: NDArray[Any], factor: int, no_data: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Return a slice reduced by averaging, in the working range [0, 1]; NaN where no data is."""
    grey, valid = _reduced(array, factor, no_data)
    grey[~valid] = np.nan
    return grey


def binarise(image: Any, threshold: float | None = None) -> NDArray[np.bool_]:
    """Return which pixels of a slice are dark enough to be fold.

    Parameters
    ----------
    image : array_like, (Y, X)
        The slice.
    threshold : float, optional
        Darkness in (0, 1) above which a pixel counts; `DEFAULT_THRESHOLD` if
        not given.  0 = as bright as the tissue around, 1 = black.

    Returns
    -------
    ndarray, (Y, X) bool
        False where there is no image.

    Raises
    ------
    InputError
        If `image` or `threshold` cannot be used.
    """
    level = checked_threshold(threshold)
    return measure_darkness(image, factor=1).values > level


def _reduced(
    array: NDArray[Any], factor: int, no_data: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the slice in its working range, reduced by averaging, and where it has pixels."""
    scale = GreyScale.of(array, no_data)
    if array.dtype.kind == "u" and no_data is None:
        if factor > 1:
            # OpenCV averages integers exactly enough, and four times faster than floats.
            array = _averaged(array, factor)
        return scale.to_unit(array), np.ones(array.shape, np.bool_)
    unit = scale.to_unit(array)
    missing = ~np.isfinite(unit)
    if no_data is not None:
        missing |= no_data
    unit[missing] = 0
    share = 1 - missing.astype(np.float32)
    if factor > 1:
        unit, share = _averaged(unit, factor), _averaged(share, factor)
    valid = share > 0.5
    unit /= np.where(valid, share, 1)
    return unit, valid


def _averaged(array: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return `array` reduced by averaging; its last row and column are repeated to whole blocks."""
    below, right = (-side % factor for side in array.shape)
    if below or right:
        array = cv2.copyMakeBorder(array, 0, below, 0, right, cv2.BORDER_REPLICATE)
    size = (array.shape[1] // factor, array.shape[0] // factor)
    return np.asarray(cv2.resize(array, size, interpolation=cv2.INTER_AREA))


def _tissue_brightness(grey: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the smooth brightness of the tissue: the median of blocks, holes filled."""
    height, width = grey.shape
    rows, columns = math.ceil(height / _BLOCK), math.ceil(width / _BLOCK)
    padded = np.full((rows * _BLOCK, columns * _BLOCK), np.nan, np.float32)
    padded[:height, :width] = np.where(valid, grey, np.nan)
    # Every third pixel a direction is plenty for a median, and nine times faster.
    blocks = padded.reshape(rows, _BLOCK, columns, _BLOCK)[:, 1::3, :, 1::3]
    blocks = blocks.swapaxes(1, 2).reshape(rows, columns, -1)
    counts = np.isfinite(blocks).sum(axis=2)
    order = np.sort(blocks, axis=2)  # NaN last
    # Above the median: folds and membranes take up the dark side of the distribution.
    pick = np.clip((0.6 * counts).astype(int), 0, np.maximum(counts - 1, 0))
    middle = np.take_along_axis(order, pick[..., None], axis=2)[..., 0]
    known = counts >= 0.2 * blocks.shape[2]
    middle[~known] = np.nan
    level = _fill_and_smooth(middle, known)
    full = cv2.resize(level, (columns * _BLOCK, rows * _BLOCK), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(full[:height, :width])


def _fill_and_smooth(middle: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return block values filtered over 3 x 3 blocks, unknown ones filled from around."""
    overall = np.float32(np.median(middle[known])) if known.any() else np.float32(0.5)
    rows, columns = middle.shape
    framed = np.pad(np.where(known, middle, np.nan), 1, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(framed, (3, 3)).reshape(rows, columns, 9)
    counts = np.isfinite(windows).sum(axis=2)
    order = np.sort(windows, axis=2)
    # The third brightest of nine: a fold of 60 px fills two columns of blocks at most.
    pick = np.clip((0.67 * counts).astype(int), 0, np.maximum(counts - 1, 0))
    level = np.take_along_axis(order, pick[..., None], axis=2)[..., 0]
    level = np.where(counts > 0, level, overall).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(level, (0, 0), 1.0), dtype=np.float32)
