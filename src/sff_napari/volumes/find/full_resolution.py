"""Measure a line that was found at a reduced scale at full scale, block by block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sff_napari.arrays import MIN_SIDE
from sff_napari.detection import snap_fold
from sff_napari.detection.vertices import to_fold
from sff_napari.errors import FoldError, InputError
from sff_napari.folds import Fold
from sff_napari.stacks import Stack
from sff_napari.volumes.find.line_merging import Course

PIECE = 1536.0
"""Length of the line that is measured at a time, px."""
_OVERLAP = 192.0
"""How far the blocks reach beyond what is taken of them, px."""
_MARGIN = 192
"""Tissue around a block that is read with it, px: more than a wide fold needs at its sides."""
_LEAST_CONFIRMED = 0.5
"""A line of which less than this share is seen at full scale is no fold."""
_SPACING = 8.0
"""Distance between the points that describe a block to start with, px."""


def refined(stack: Stack, z: int, line: Course, factor: int) -> Fold | None:
    """Return a line measured at full scale; None if it is not seen there.

    Only the tissue along the line is read, so memory depends neither on the
    size of the slice nor on the length of the line.

    Parameters
    ----------
    stack : Stack
        The volume.
    z : int
        The slice.
    line : Course
        As found at the reduced scale, in pixels of the stack.
    factor : int
        The reduction: how far the line may be off, px.

    Raises
    ------
    StackError
        If the slice cannot be read.
    """
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line.points, axis=0), axis=1))])
    length = float(along[-1])
    count = max(1, round(length / PIECE))
    edges = np.linspace(0.0, length, count + 1)
    found: list[Course] = []
    confirmed = 0.0
    for number in range(count):
        first, last = float(edges[number]), float(edges[number + 1])
        is_first, is_last = number == 0, number == count - 1
        start = first if is_first else first - _OVERLAP
        stop = last if is_last else last + _OVERLAP
        rough = _between(line, along, start, stop)
        seen = _snapped(stack, z, rough, factor)
        if seen is not None:
            confirmed += last - first
        part = _cut(rough if seen is None else seen, line, along, first, last, is_first, is_last)
        if len(part.points) > 1:
            found.append(part)
    if confirmed < _LEAST_CONFIRMED * length or not found:
        return None
    points = np.concatenate([part.points for part in found])
    widths = np.concatenate([part.half_widths for part in found])
    return to_fold(points, widths, stack.shape[1:], score=line.score, source="detected")


def _between(line: Course, along: NDArray[np.float64], start: float, stop: float) -> Course:
    places = np.linspace(start, stop, max(3, int((stop - start) / _SPACING) + 1))
    points = np.stack([np.interp(places, along, line.points[:, i]) for i in range(2)], axis=1)
    return Course(points, np.interp(places, along, line.half_widths), line.score)


def _snapped(stack: Stack, z: int, rough: Course, factor: int) -> Course | None:
    """Return the dark ridge along a rough line at full scale, None if there is none."""
    width = float(np.max(rough.half_widths))
    margin = int(_MARGIN + 2 * width)
    low = np.floor(rough.points.min(axis=0)).astype(int) - margin
    high = np.ceil(rough.points.max(axis=0)).astype(int) + margin
    top, left = np.maximum(low, 0)
    bottom, right = np.minimum(high, stack.shape[1:])
    if min(bottom - top, right - left) < MIN_SIDE:
        return None
    image = stack.read(z, slice(top, bottom), slice(left, right))
    drawn = Fold(
        [(float(y), float(x)) for y, x in rough.points[:: _every(rough)] - (top, left)],
        max(float(np.median(rough.half_widths)), 0.5),
    )
    try:
        snapped = snap_fold(image, drawn, reach=8.0 + 4.0 * factor)
    except (InputError, FoldError):
        return None  # a blank part, or a line that only touches it
    if snapped is drawn:
        return None
    return Course.of(snapped.with_changes(score=rough.score), (float(top), float(left)))


def _every(rough: Course) -> int:
    """Return how many points apart the vertices of a drawn line are."""
    return max(1, min(8, (len(rough.points) - 1) // 2))


def _cut(
    block: Course,
    line: Course,
    along: NDArray[np.float64],
    first: float,
    last: float,
    is_first: bool,
    is_last: bool,
) -> Course:
    """Return the part of a block beside the stretch of the line that it stands for."""
    squared = ((block.points[:, None] - line.points[None]) ** 2).sum(axis=2)
    place = along[squared.argmin(axis=1)]
    way = block if place[-1] >= place[0] else block.reversed()
    place = place if place[-1] >= place[0] else place[::-1]
    keep = np.ones(len(place), np.bool_)
    if not is_first:
        keep &= place >= first
    if not is_last:
        keep &= place < last
    return Course(way.points[keep], way.half_widths[keep], way.score)
