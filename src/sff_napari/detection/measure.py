"""Measure a fold line at full scale: its two edges, its centre, its ends, its appearance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sff_napari.arrays import GreyScale
from sff_napari.detection.binarise import Darkness
from sff_napari.detection.straightened_band import (
    Points,
    inside_share,
    lengths_along,
    resampled,
    smooth,
    straighten,
)

_STEP = 2.0
"""Distance between the samples along the line, full-scale px."""
_NOISE_LENGTH = 9
"""Samples averaged along the line before edges are looked for."""
EDGE_LENGTH = 15
"""Samples over which an edge's position is made robust by a median, while lines are judged."""
LONG_EDGE_LENGTH = 35
"""The same for lines that are folds: structures that touch the band no longer pull at it."""


@dataclass(frozen=True)
class Measured:
    """A line measured at full scale.

    Parameters
    ----------
    points : ndarray, (N, 2)
        The centre of the dark band, (y, x) in full-scale px, `_STEP` apart.
    half_widths : ndarray, (N,)
        Distance from the centre to its edges, px.
    depth : ndarray, (N,)
        How much darker the band is than the darker of its two sides, as a share of the
        distance from tissue to black.
    dark : ndarray, (N,)
        Darkness of the band, 0 = tissue, 1 = black.
    solid : ndarray, (N,)
        Share of the band's pixels that are dark.
    two_sided : ndarray, (N,) bool
        Where there is tissue on both sides.
    offsets : ndarray, (N, 2)
        Raw distances to the two edges found at each sample, NaN where none was.
    """

    points: Points
    half_widths: NDArray[np.float64]
    depth: NDArray[np.float64]
    dark: NDArray[np.float64]
    solid: NDArray[np.float64]
    two_sided: NDArray[np.bool_]
    offsets: NDArray[np.float64]

    @property
    def length(self) -> float:
        """Length of the line, px."""
        return float(lengths_along(self.points)[-1])


class Slice:
    """A slice at full scale, sampled along lines without converting all of it.

    Parameters
    ----------
    array : ndarray, (Y, X)
        The slice as `arrays.as_slice` gives it.
    darkness : Darkness
        The same slice, reduced.
    """

    def __init__(self, array: NDArray[Any], darkness: Darkness) -> None:
        self.shape: tuple[int, int] = (array.shape[0], array.shape[1])
        self.darkness = darkness
        self._scale = GreyScale.of(array)
        self._array = array

    def strip(self, points: Points, offsets: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return grey values in the working range beside a line, (N, K); NaN outside the slice."""
        found = straighten(self._array, points, offsets)
        unit = (found - np.float32(self._scale.low)) / np.float32(
            self._scale.high - self._scale.low
        )
        unit[~inside_share(self.shape, points, offsets)] = np.nan
        factor = self.darkness.factor
        if not self.darkness.valid.all():
            reduced = (points + 0.5) / factor - 0.5
            known = straighten(self.darkness.valid.astype(np.uint8), reduced, offsets / factor)
            unit[known < 0.5] = np.nan
        return unit

    def darkness_at(self, points: Points) -> NDArray[np.float32]:
        """Return the darkness at single points (..., 2), 0 as the tissue there and 1 as black.

        NaN where there is no image.
        """
        rows, columns = np.moveaxis(np.rint(points).astype(np.intp), -1, 0)
        height, width = self.shape
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
        unit = self._array[rows, columns].astype(np.float32) - np.float32(self._scale.low)
        unit /= np.float32(self._scale.high - self._scale.low)
        reduced = self.darkness
        last = np.array(reduced.tissue.shape) - 1
        rows = np.minimum(rows // reduced.factor, last[0])
        columns = np.minimum(columns // reduced.factor, last[1])
        tissue = reduced.tissue[rows, columns]
        depth = np.maximum(tissue - reduced.black, reduced.least_depth)
        known = inside & reduced.valid[rows, columns]
        return np.where(known, (tissue - unit) / depth, np.nan).astype(np.float32)


def measure(
    view: Slice,
    points: Points,
    half_widths: NDArray[np.float64],
    *,
    rounds: int = 3,
    edge_length: int = EDGE_LENGTH,
) -> Measured | None:
    """Return the dark band that a line follows, measured at full scale.

    Parameters
    ----------
    view : Slice
        The slice.
    points : ndarray, (N, 2)
        The line, within a few px of the centre of the band, (y, x) in px.
    half_widths : ndarray, (N,)
        Rough half widths at the points, px.
    rounds : int
        How often the line is moved to the centre and measured again.
    edge_length : int
        Samples over which the edges are made robust.

    Returns
    -------
    Measured or None
        None if the line has no dark band.
    """
    line = resampled(points, _STEP)
    width = _stretched(np.maximum(half_widths, 2.0), len(line))
    for turn in range(rounds):
        if len(line) < 8:
            return None
        edges = _edges(view, line, width)
        both = _robust(edges, edge_length)
        if both is None:
            return None
        left, right = both
        centre = smooth((left + right) / 2, 4.0 if turn else 8.0)
        half = np.maximum((right - left) / 2, 0.5)
        tangent = np.gradient(line, axis=0)
        tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
        line = line + centre[:, None] * np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
        if turn < rounds - 1:
            line = resampled(line, _STEP)
            width = _stretched(np.maximum(smooth(half, 6.0), 1.0), len(line))
    return _described(view, line, smooth(half, 4.0), edges)


def finished(view: Slice, line: Measured) -> Measured:
    """Return a line that is a fold, measured once more with edges that are smoother."""
    again = measure(view, line.points, line.half_widths, rounds=1, edge_length=LONG_EDGE_LENGTH)
    return line if again is None else again


def _stretched(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return values along a line at `count` evenly spaced places."""
    return np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(values)), values)


def _edges(view: Slice, line: Points, width: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distances (N, 2) of both edges from the line, NaN where none is found."""
    reach = 1.6 * float(width.max()) + 12
    offsets = np.arange(-np.ceil(reach) - 14, np.ceil(reach) + 15)
    strip = view.strip(line, offsets)
    known = np.isfinite(strip)
    filled = np.where(known, strip, 0).astype(np.float32)
    weight = cv2.blur(known.astype(np.float32), (1, _NOISE_LENGTH))
    profile = cv2.blur(filled, (1, _NOISE_LENGTH)) / np.maximum(weight, 1e-3)
    profile = cv2.GaussianBlur(profile, (3, 1), 0.6)
    bad = weight < 0.3
    width = width[:, None]
    core = np.abs(offsets)[None, :] <= np.maximum(1.0, 0.5 * width)
    inside = _along(_masked_median(profile, bad | ~core), 8.0)
    found = np.full((len(line), 2), np.nan)
    middle = len(offsets) // 2
    outside = np.abs(offsets)[None, :]
    zone = (outside > 1.25 * width + 2) & (outside <= 1.25 * width + 16)
    flanks = [
        _masked_median(profile, bad | ~zone | (sign * offsets < 0)[None, :], 6) for sign in (-1, 1)
    ]
    for side, sign in ((0, -1), (1, 1)):
        outward = profile[:, middle::sign]
        missing = bad[:, middle::sign]
        # Next to the border of the slice a side may be seen, but too little of it to be judged.
        own, other = flanks[side], flanks[1 - side]
        flank = _along(np.where(np.isfinite(own), own, other), 16.0)
        if not np.isfinite(flank).any():
            continue
        level = inside + 0.5 * (flank - inside)
        above = (outward > level[:, None]) & ~missing
        above[:, 0] = False
        # A speck of grain inside the band is no edge: two samples in a row must be bright.
        above[:, :-1] &= above[:, 1:]
        index = above.argmax(axis=1)
        rows = np.flatnonzero(index > 0)
        at = index[rows]
        low, high = outward[rows, at - 1], outward[rows, at]
        share = np.clip((level[rows] - low) / np.maximum(high - low, 1e-6), 0, 1)
        place = at - 1 + share
        ok = (flank[rows] - inside[rows]) > 0
        found[rows[ok], side] = sign * place[ok]
    return found


def _masked_median(
    values: NDArray[np.float32], missing: NDArray[np.bool_], least: int = 1
) -> NDArray[np.float64]:
    """Return the median of each row without its missing values, NaN with fewer than `least`."""
    order = np.sort(np.where(missing, np.nan, values), axis=1)
    counts = (~missing).sum(axis=1)
    middle = order[np.arange(len(order)), np.maximum(counts - 1, 0) // 2].astype(np.float64)
    middle[counts < least] = np.nan
    return middle


def _along(values: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Return values (N,) smoothed along the line with NaN filled from their neighbours."""
    known = np.isfinite(values)
    if not known.any():
        return values
    index = np.arange(len(values))
    filled = np.interp(index, index[known], values[known])
    reach = int(min(3 * sigma, len(values) - 1))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(filled, reach, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def _robust(
    edges: NDArray[np.float64], edge_length: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return both edges without outliers: running median, gaps filled; None without edges."""
    both = np.isfinite(edges).all(axis=1)
    if both.sum() < 6:
        return None
    # Where one edge lies beyond the border of the slice, the width is that of the nearest
    # place where both are seen.
    index = np.arange(len(edges))
    width = np.interp(index, index[both], (edges[both, 1] - edges[both, 0]))
    edges = edges.copy()
    for side, other, sign in ((0, 1, -1.0), (1, 0, 1.0)):
        alone = ~np.isfinite(edges[:, side]) & np.isfinite(edges[:, other])
        edges[alone, side] = edges[alone, other] + sign * width[alone]
    sides = []
    for side in range(2):
        values = edges[:, side]
        known = np.isfinite(values)
        filled = np.interp(index, index[known], values[known])
        count = min(edge_length, len(filled) // 2 * 2 - 1)
        padded = np.pad(filled, count // 2, mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, count)
        sides.append(np.median(windows, axis=1))
    return sides[0], sides[1]


def _described(
    view: Slice, line: Points, half: NDArray[np.float64], edges: NDArray[np.float64]
) -> Measured:
    """Return the appearance of the band along the line, and cut its ends to where it is."""
    reach = np.ceil(1.3 * float(np.percentile(half, 95)) + 14)
    offsets = np.arange(-reach, reach + 1)
    level = level_beside(view, line, offsets)
    away = np.abs(offsets)[None, :]
    core = away <= np.maximum(0.75 * half, 1.0)[:, None]
    dark = _mean_where(level, core)
    solid = _mean_where((level > 0.5).astype(np.float32), core & np.isfinite(level))
    sides = []
    for sign in (-1, 1):
        zone = (sign * offsets > 0)[None, :] & (away > half[:, None] + 2.5)
        zone &= away <= (half + 12)[:, None]
        zone &= np.isfinite(level)
        side = _mean_where(level, zone)
        side[zone.sum(axis=1) < 4] = np.nan
        sides.append(side)
    # Along the border of the slice one side has no tissue: the other one has to do.
    darker = np.fmax(*sides)
    two_sided = np.isfinite(sides[0]) & np.isfinite(sides[1])
    depth = np.nan_to_num(np.clip(dark, 0, 1.2) - darker, nan=0.0)
    return Measured(line, half, depth, dark, solid, two_sided, edges)


def level_beside(
    view: Slice, line: Points, offsets: NDArray[np.float64], aside: float = -6.0
) -> NDArray[np.float32]:
    """Return the darkness beside a line at full scale, (N, K), NaN where there is no image.

    Parameters
    ----------
    view : Slice
        The slice.
    line : ndarray, (N, 2)
        The line, (y, x) in px.
    offsets : ndarray, (K,)
        Signed distances from the line, px.
    aside : float
        How far beyond the largest offset the brightness of the tissue is taken, px.
    """
    strip = view.strip(line, offsets)
    factor = view.darkness.factor
    beside = np.array([-1.0, 1.0]) * (float(np.abs(offsets).max()) + aside)
    places = (line + 0.5) / factor - 0.5
    tissue = straighten(view.darkness.tissue, places, beside / factor, 0.0).max(axis=1)
    depth = np.maximum(tissue - view.darkness.black, view.darkness.least_depth)
    return np.asarray((tissue[:, None] - strip) / depth[:, None], np.float32)


def darkness_of(
    view: Slice, line: Points, reach: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the darkness within `reach` px of a line, (N, K), and where there is image."""
    offsets = np.arange(-np.floor(reach) - 14, np.floor(reach) + 15)
    # Beside a wide band at the border the tissue is best judged from farther away.
    level = level_beside(view, line, offsets, aside=40.0)[:, 14:-14]
    return np.nan_to_num(level, nan=0.0), np.isfinite(level)


def _mean_where(values: NDArray[np.float32], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    where = where & np.isfinite(values)
    total = np.where(where, values, 0).sum(axis=1)
    return np.asarray(total / np.maximum(where.sum(axis=1), 1), np.float64)


def at_full_scale(points: Points, factor: int) -> Points:
    """Return points of a reduced slice in full-scale px."""
    return (points + 0.5) * factor - 0.5
