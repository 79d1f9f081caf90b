"""Cut a large slice into blocks along its folds, and joining them again without a seam.

What a fold does to tissue fades with the distance from its line, so a block
that no fold comes near stays as it is.  A block is restored with tissue around
it.  Pieces overlap by a band in which one fades into the next; the shares of
all blocks sum to one at every pixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sff_napari.folds import Curve, Fold
from sff_napari.folds.fold import MAX_VERTICES

DEFAULT_TILE = 2048
"""Side up to which a slice is restored in one piece, px."""
REACH = 512
"""Distance from a fold line, px, beyond which tissue is taken as not displaced."""
BAND = 32
"""Half of the width, px, over which a block fades into the next."""
_DENSE = 16.0
"""Distance, px, of the vertices of a line that is cut, unless they would be too many."""
_MARGIN = 128
"""Pixels beyond what a block reads up to which the fold line is kept: its curve needs them."""

_CLOSE = 64
"""Pixels beside a block within which a line runs through it: lines drawn by hand may lie off."""
_CONTEXT = 128
"""Pixels around a block of a slice that is made as a whole."""

Span = tuple[int, int]


@dataclass(frozen=True)
class Block:
    """A part of a slice that is restored on its own.

    Parameters
    ----------
    number : int
        Among the blocks of the slice, row by row.
    rows, columns : (first, end)
        What it writes, px.
    read_rows, read_columns : (first, end)
        What it reads, px.
    row_seams, column_seams : (first, second)
        Where it fades into the blocks before and after it, px; None at the
        end of the slice.
    """

    number: int
    rows: Span
    columns: Span
    read_rows: Span
    read_columns: Span
    row_seams: tuple[int | None, int | None] = (None, None)
    column_seams: tuple[int | None, int | None] = (None, None)

    @property
    def pixels(self) -> int:
        """How many pixels it reads of a slice."""
        return (self.read_rows[1] - self.read_rows[0]) * (
            self.read_columns[1] - self.read_columns[0]
        )

    def core(self, shape: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return top, bottom, left and right of what belongs to no other block of a slice."""
        top, bottom = self.row_seams
        left, right = self.column_seams
        return (
            top or 0,
            shape[0] if bottom is None else bottom,
            left or 0,
            shape[1] if right is None else right,
        )

    @property
    def alone(self) -> bool:
        """Whether it is the whole slice."""
        return self.row_seams == self.column_seams == (None, None)

    def share(self, rows: Span, columns: Span) -> NDArray[np.float32]:
        """Return how much this block counts in a part of the slice, (rows, columns) in [0, 1]."""
        return np.multiply.outer(
            _ramp(rows, self.row_seams), _ramp(columns, self.column_seams)
        ).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Return the block as plain JSON types."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Block:
        """Return the block that `to_dict` described."""
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in record.items()
        }
        return cls(**values)


def _ramp(span: Span, seams: tuple[int | None, int | None]) -> NDArray[np.float64]:
    place = np.arange(*span) + 0.5
    share = np.ones(len(place))
    if seams[0] is not None:
        share = np.clip((place - (seams[0] - BAND)) / (2 * BAND), 0, 1)
    if seams[1] is not None:
        share = share * (1 - np.clip((place - (seams[1] - BAND)) / (2 * BAND), 0, 1))
    return share


def cut(
    shape: tuple[int, int], tile: int, folds: Sequence[Fold]
) -> list[tuple[Block, tuple[Fold, ...]]]:
    """Return the blocks of a slice that folds come near, each with the folds as it sees them.

    Parameters
    ----------
    shape : (Y, X)
        Of the slice.
    tile : int
        Side of the blocks, px; a slice that is no larger stays whole.
    folds : sequence of Fold
        In pixels of the slice.

    Returns
    -------
    list of (Piece, tuple of Fold)
        The folds in pixels of what the block reads.
    """
    found = []
    given = tuple(folds)
    folds = [_dense(fold) for fold in folds]
    for block in _pieces(shape, tile, REACH):
        if block.alone:
            return [(block, given)]
        top, bottom, left, right = block.core(shape)
        near = (top - REACH, bottom + REACH, left - REACH, right + REACH)
        if any(_touches(fold, near) for fold in folds):
            seen = tuple(one for fold in folds for one in _seen(fold, block))
            if seen:
                found.append((block, seen))
    return found


def windows(
    shape: tuple[int, int], tile: int, folds: Sequence[Fold]
) -> list[tuple[Block, list[tuple[int, Fold]]]]:
    """Return the blocks of a slice that fold lines run through.

    Parameters
    ----------
    shape, tile, folds
        As in `cut`.

    Returns
    -------
    list of (Piece, list of (int, Fold))
        The number of each fold that the block sees, and the fold in pixels of
        what the block reads; one that leaves and comes back is there twice.
    """
    found = []
    folds = [_dense(fold) for fold in folds]
    for block in _pieces(shape, tile, REACH):
        top, bottom, left, right = block.core(shape)
        near = (top - _CLOSE, bottom + _CLOSE, left - _CLOSE, right + _CLOSE)
        if any(_touches(fold, near) for fold in folds):
            seen = [
                (number, one) for number, fold in enumerate(folds) for one in _seen(fold, block)
            ]
            if seen:
                found.append((block, seen))
    return found


def cut_all(shape: tuple[int, int], tile: int, around: int = _CONTEXT) -> list[Block]:
    """Return all blocks of a slice, which read so many pixels around; else as in `cut`."""
    return list(_pieces(shape, tile, around))


def _pieces(shape: tuple[int, int], tile: int, around: int) -> Iterator[Block]:
    rows, columns = (_spans(side, tile) for side in shape)
    if len(rows) == len(columns) == 1:
        whole = (0, shape[0]), (0, shape[1])
        yield Block(0, *whole, *whole)
        return
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(columns):
            yield Block(
                i * len(columns) + j,
                _grown(top, bottom, shape[0], BAND),
                _grown(left, right, shape[1], BAND),
                _grown(top, bottom, shape[0], around),
                _grown(left, right, shape[1], around),
                (top or None, bottom if bottom < shape[0] else None),
                (left or None, right if right < shape[1] else None),
            )


def _dense(fold: Fold) -> Fold:
    """Return a fold with so many vertices that its curve hardly differs from straight between."""
    if fold.is_straight:
        return fold
    curve = Curve.of(fold, "cpu")
    count = max(len(fold.vertices), min(int(curve.length / _DENSE) + 2, MAX_VERTICES))
    along = np.linspace(0, curve.length, count)
    points, _ = curve.at(torch.tensor(along, dtype=torch.float32))
    widths = fold.half_widths
    if widths is not None:
        widths = np.interp(along, curve.vertices_along, widths).tolist()
    return fold.with_changes(vertices=points.T.tolist(), half_widths=widths)


def _spans(length: int, tile: int) -> list[Span]:
    count = -(-length // tile)
    edges = [round(i * length / count) for i in range(count + 1)]
    return list(pairwise(edges))


def _grown(first: int, end: int, length: int, by: int) -> Span:
    return max(0, first - by), min(length, end + by)


def _touches(fold: Fold, box: tuple[float, float, float, float]) -> bool:
    enter, leave = _inside(np.asarray(fold.vertices), box)
    return bool((enter <= leave).any())


def _inside(
    points: NDArray[Any], box: tuple[float, float, float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where each segment of a line enters and leaves a box, as shares of its length."""
    start, step = points[:-1].astype(float), np.diff(points.astype(float), axis=0)
    enter, leave = np.zeros(len(start)), np.ones(len(start))
    for axis, (low, high) in enumerate(((box[0], box[1]), (box[2], box[3]))):
        with np.errstate(divide="ignore", invalid="ignore"):
            one = (low - start[:, axis]) / step[:, axis]
            two = (high - start[:, axis]) / step[:, axis]
        parallel = step[:, axis] == 0
        outside = parallel & ((start[:, axis] < low) | (start[:, axis] > high))
        enter = np.maximum(enter, np.where(parallel, 0.0, np.minimum(one, two)))
        leave = np.minimum(leave, np.where(parallel, 1.0, np.maximum(one, two)))
        leave = np.where(outside, -1.0, leave)
    return enter, leave


def _seen(fold: Fold, block: Block) -> list[Fold]:
    """Return the parts of a fold near what a block reads, in pixels of what it reads."""
    top, bottom = block.read_rows
    left, right = block.read_columns
    points = np.asarray(fold.vertices, dtype=float)
    widths = np.asarray(fold.half_widths or [fold.half_width] * len(points), dtype=float)
    enter, leave = _inside(
        points, (top - _MARGIN, bottom + _MARGIN, left - _MARGIN, right + _MARGIN)
    )
    runs: list[list[tuple[float, float, float]]] = []
    open_run = False
    for i in np.flatnonzero(enter < leave):
        ends = [
            (*(points[i] + t * (points[i + 1] - points[i])), widths[i] + t * np.diff(widths)[i])
            for t in (enter[i], leave[i])
        ]
        if not (open_run and runs and enter[i] == 0 and _same(runs[-1][-1], ends[0])):
            runs.append([ends[0]])
        runs[-1].append(ends[1])
        open_run = bool(leave[i] == 1)
    shape = (bottom - top, right - left)
    found = []
    for run in runs:
        kept = [run[0], *(b for a, b in pairwise(run) if not _same(a, b))]
        if len(kept) < 2:
            continue
        one = fold.with_changes(
            vertices=[(y - top, x - left) for y, x, _ in kept],
            half_widths=None if fold.half_widths is None else [w for _, _, w in kept],
        )
        if _touches(one, (-0.5, shape[0] - 0.5, -0.5, shape[1] - 0.5)):
            found.append(one)
    return found


def _same(a: tuple[float, float, float], b: tuple[float, float, float]) -> bool:
    return math.dist(a[:2], b[:2]) < 1e-3
