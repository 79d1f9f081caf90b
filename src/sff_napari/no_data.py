"""Find where a slice holds no image, and the grey range of what it holds; fill what it lacks.

No data are: NaN and infinity; a value far outside of the others, such as -9999;
constant borders, straight or turned; whole missing tiles; and gaps between
tiles, strips along the axes that run from border to border.  A straight band of
constant 0 that crosses the slice at another angle is none: so a simulated fold
looks.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_RADIUS = 32
"""A constant area that a disk of this radius (px) fits in is larger than any fold is wide."""
_LEAST_TILE = 16
"""Shortest side, px, of a constant rectangle inside a slice that is a missing tile."""
_LEAST_GAP = 32
"""Shortest gap, px, between two places without data."""
_APART = 20.0
"""A value farther from all others than this many times their range is no grey value."""
_SENTINELS = (-9999.0, -99999.0, -32768.0, -32767.0)
"""What programs write where there is nothing: no grey value if below all others."""
_MOST_VALUES = 6
"""Constant values of one slice that are looked at, the most frequent first."""
_MOST_BESIDE = 0.4
"""Share of the row beside a gap that may have the gap's value: folds that cross it."""
_MOST_JUNCTIONS = 6
"""How many gaps may end at another, one after the other."""
_WORTH_IT = 1e-4
"""Share of the slice that must be found for another look."""
_SHARE = 0.9
"""A constant region is no data as a whole if this share of it has the shape of no data."""


def find_no_data(image: NDArray[Any], fill_value: float | None = None) -> NDArray[np.bool_] | None:
    """Return where a slice holds no image.

    Parameters
    ----------
    image : ndarray, (Y, X)
        Any integer or float dtype.
    fill_value : float, optional
        What the file declares for places without data; pixels of this value
        count where they form constant regions, as those of any other value
        do, and everywhere if it lies outside of the other values.

    Returns
    -------
    ndarray, (Y, X) bool, or None
        True where there is no data; None where the whole slice has data.  A
        slice of one value throughout has none at all.
    """
    array = np.asarray(image)
    mask = np.zeros(array.shape, np.bool_)
    if array.dtype.kind == "f":
        mask |= ~np.isfinite(array)
        # OpenCV knows neither half precision nor other byte orders.
        array = np.ascontiguousarray(array, np.float32 if array.dtype.itemsize <= 4 else np.float64)
    elif array.dtype not in (np.uint8, np.uint16, np.int16):
        array = np.ascontiguousarray(array, np.float64)
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    _mark_outside(array, mask, fill_value)
    if mask.all():
        return mask
    known = array[~mask]
    if known.min() == known.max():
        return np.ones(array.shape, np.bool_)
    values = _constant_values(array, mask, fill_value)
    left = {value: array == value for value in values}
    for _ in range(_MOST_JUNCTIONS):
        # Again for gaps that end at others or at missing tiles, which are known by then.  A value
        # that forms nothing large is a grey value like others, and a few pixels are no reason.
        before = int(mask.sum())
        for value in list(left):
            own = int(mask.sum())
            _mark_constant(left[value], mask)
            if int(mask.sum()) - own < _WORTH_IT * array.size and left[value].sum() > mask.sum():
                del left[value]
        if int(mask.sum()) - before < _WORTH_IT * array.size:
            break
    return mask if mask.any() else None


def robust_range(
    image: NDArray[Any], no_data: NDArray[np.bool_] | None = None
) -> tuple[float, float]:
    """Return the range of the grey values of a slice, outliers left out.

    Parameters
    ----------
    image : ndarray, (Y, X)
        Any numeric dtype; a whole stack (Z, Y, X) works alike.
    no_data : ndarray of bool, optional
        Same shape: what does not count.  NaN and infinity never do.

    Returns
    -------
    low, high : float
        Smallest and largest value that lies within the 0.5th to 99.5th
        percentile or no farther from it than the distance between the two, so
        that neither a hot pixel nor the units of the image matter.  Equal
        for an image of one value; (0, 1) where nothing is known.
    """
    array = np.asarray(image)
    known = np.isfinite(array) if array.dtype.kind == "f" else np.ones(array.shape, np.bool_)
    if no_data is not None:
        known &= ~no_data
    values = array[known]
    if values.size == 0:
        return 0.0, 1.0
    step = max(1, values.size // 2_000_000)
    low, high = (float(v) for v in np.percentile(values[::step].astype(np.float64), (0.5, 99.5)))
    span = high - low
    if span == 0:
        return float(values.min()), float(values.max())
    inside = values[(values >= low - span) & (values <= high + span)]
    return float(inside.min()), float(inside.max())


def fill_no_data(image: NDArray[Any], mask: NDArray[np.bool_] | None) -> NDArray[Any]:
    """Return a slice with smooth grey values where it holds no data.

    Parameters
    ----------
    image : ndarray, (Y, X)
        The slice.
    mask : ndarray, (Y, X) bool, or None
        What `find_no_data` returned.

    Returns
    -------
    ndarray, (Y, X)
        In the dtype of `image`, a new array; means of ever larger surroundings
        where `mask` is set, zeros if it is set everywhere.
    """
    array = np.array(image)
    if mask is None or not mask.any():
        return array
    if mask.all():
        return np.zeros_like(array)
    single = (array.dtype.itemsize <= 4 and array.dtype.kind == "f") or array.dtype.itemsize <= 2
    kind = np.float32 if single else np.float64
    share = (~mask).astype(kind)
    smooth = _pulled(np.where(mask, 0, array).astype(kind), share)
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        smooth = np.clip(np.rint(smooth), limits.min, limits.max)
    array[mask] = smooth[mask].astype(array.dtype)
    return array


def _pulled(total: NDArray[Any], share: NDArray[Any]) -> NDArray[Any]:
    """Return weighted means: each pixel of the finest level of a pyramid that knows it."""
    level = np.where(share > 0, total / np.maximum(share, 1e-12), 0)
    if (share > 0).all() or max(share.shape) == 1:
        return np.asarray(level)
    height, width = share.shape
    below, right = height % 2, width % 2
    padded = [np.pad(part, ((0, below), (0, right))) for part in (total, share)]
    size = (padded[0].shape[1] // 2, padded[0].shape[0] // 2)
    coarse = _pulled(*(cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in padded))
    wide = cv2.resize(
        coarse, (padded[0].shape[1], padded[0].shape[0]), interpolation=cv2.INTER_LINEAR
    )
    return np.where(share > 0, level, wide[:height, :width])


def _mark_outside(array: NDArray[Any], mask: NDArray[np.bool_], fill_value: float | None) -> None:
    """Add the pixels of a value that cannot be a grey value, below or above all others."""
    for extreme in (np.min, np.max):
        known = array[~mask]
        if known.size == 0:
            return
        value = extreme(known)
        others = known[known != value]
        if others.size == 0:
            return
        low, high = robust_range(others)
        apart = max(low - float(value), float(value) - high)
        named = fill_value is not None and float(value) == fill_value != 0
        named = named or (array.dtype.kind != "u" and float(value) in _SENTINELS)
        # Zero is how a simulated fold looks, however far all tissue lies from it.
        strange = value != 0 and apart > _APART * (high - low) and known.size - others.size >= 9
        if apart > 0 and (named or strange):
            mask |= array == value


def _constant_values(
    array: NDArray[Any], mask: NDArray[np.bool_], fill_value: float | None
) -> list[float]:
    """Return the values that large regions or whole rows or columns have."""
    box = np.ones((3, 3), np.uint8)
    finite = np.where(mask, 0, array).astype(array.dtype) if mask.any() else array
    flat = (cv2.dilate(finite, box) == cv2.erode(finite, box)) & ~mask
    found: dict[float, int] = {}
    if flat.any():
        values, counts = np.unique(array[flat], return_counts=True)
        for number in np.argsort(-counts)[:_MOST_VALUES]:
            if counts[number] >= _LEAST_TILE**2 / 2:
                found[values[number]] = int(counts[number])
    for lines, gone in ((array, mask), (array.T, mask.T)):
        # A few pixels left of a row between places without data are no gap of their own.
        enough = lines.shape[1] - gone.sum(axis=1) >= min(_LEAST_GAP, lines.shape[1])
        whole = ((lines == lines[:, :1]) | gone).all(axis=1) & enough
        for value in lines[whole, 0][:64]:
            if np.isfinite(value):
                found.setdefault(value, 0)
        if gone.any():
            # A row whose first pixel lies in a gap already known.
            middle = lines[:, lines.shape[1] // 2, None]
            whole = ((lines == middle) | gone).all(axis=1) & enough
            for value in middle[whole, 0][:64]:
                if np.isfinite(value):
                    found.setdefault(value, 0)
    if fill_value is not None and np.isfinite(fill_value):
        found.setdefault(fill_value, 0)
    return list(found)


def _mark_constant(same: NDArray[np.bool_], mask: NDArray[np.bool_]) -> None:
    """Add the regions of one value that have the shape of no data."""
    same = same & ~mask
    if int(same.sum()) < _LEAST_GAP:
        return
    framed = np.pad(same | mask, _RADIUS + 1, constant_values=True)
    inner = (slice(_RADIUS + 1, -_RADIUS - 1),) * 2
    joined = _opened(framed)[inner] & same
    alone = _opened(np.pad(same | mask, 1, constant_values=False))[1:-1, 1:-1] & same
    gaps = _gaps(same, mask)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        same.astype(np.uint8), connectivity=4
    )
    shaped = np.bincount(labels[joined | gaps], minlength=count)
    thick = np.bincount(labels[alone], minlength=count)
    area = stats[:, cv2.CC_STAT_AREA]
    sides = stats[:, [cv2.CC_STAT_HEIGHT, cv2.CC_STAT_WIDTH]]
    tile = (sides.min(axis=1) >= _LEAST_TILE) & (area >= 0.995 * sides.prod(axis=1))
    whole = (shaped >= _SHARE * area) & (area >= _LEAST_GAP) | tile
    whole[0] = False
    mask |= whole[labels] | gaps
    partly = (thick > 0) & ~whole
    partly[0] = False
    if partly.any():
        # A large constant area that a fold of the same value runs into.
        mask |= alone & partly[labels]


def _opened(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the part of a region that disks of `_RADIUS` within it cover."""
    # Every such disk holds a whole block of this side: most regions are told apart at once.
    side = _RADIUS // 2
    height, width = (length // side * side for length in region.shape)
    blocks = region[:height, :width].reshape(height // side, side, width // side, side)
    if not blocks.all(axis=(1, 3)).any():
        return np.zeros(region.shape, np.bool_)
    inside = cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    centres = inside > _RADIUS
    if not centres.any():
        return np.zeros(region.shape, np.bool_)
    away = cv2.distanceTransform((~centres).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # The border of a turned area is a staircase: a pixel of it is not covered exactly.
    return (away <= _RADIUS + 1) & region


def _gaps(same: NDArray[np.bool_], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the runs of `same` along rows or columns between borders or places without data."""
    found = np.zeros(same.shape, np.bool_)
    for _ in range(_MOST_JUNCTIONS):
        # A gap may end at a gap found before it.
        rest, closed = same & ~found, mask | found
        more = _runs(rest, closed) | _runs(rest.T, closed.T).T
        if not more.any():
            break
        found |= more
    return found


def _runs(same: NDArray[np.bool_], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the runs of `same` along rows that begin and end at a border or at `mask`."""
    height, width = same.shape
    least = min(_LEAST_GAP, width)
    steps = np.diff(np.pad(same, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    stops = np.nonzero(steps == -1)[1]
    closed = np.pad(mask, ((0, 0), (1, 1)), constant_values=True)
    kept = (stops - starts >= least) & closed[rows, starts] & closed[rows, stops + 1]
    if not kept.any():
        return np.zeros(same.shape, np.bool_)
    edges = np.zeros((height, width + 1), np.int8)
    edges[rows[kept], starts[kept]] = 1
    edges[rows[kept], stops[kept]] = -1
    found = np.cumsum(edges, axis=1, dtype=np.int8)[:, :width].astype(np.bool_)
    return _with_edges(found, same)


def _with_edges(found: NDArray[np.bool_], same: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the strips of whole rows that end along rows.

    Beside a gap, only what crosses it has its value; a straight fold that is
    nearly parallel to the rows goes on in the next one.
    """
    if not found.any():
        return found
    count, labels, stats, _ = cv2.connectedComponentsWithStats(found.astype(np.uint8))
    good = np.zeros(count, np.bool_)
    for number in range(1, count):
        left, top, width, height, _ = stats[number]
        beside = [
            float(same[y, left : left + width].mean())
            for y in (top - 1, top + height)
            if 0 <= y < same.shape[0]
        ]
        good[number] = max(beside, default=0.0) < _MOST_BESIDE
    return good[labels]
