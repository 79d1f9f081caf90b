"""Write landmarks for BigWarp: where points of the restored slice lie in the damaged one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sff_napari.folds import Curve, Fold
from sff_napari.io_atomic import atomic_folder, write_json
from sff_napari.progress import Reporter
from sff_napari.volumes.exports.source import TILE, ExportSource, Field

_ALONG = 96.0
"""Distance between landmarks along a fold, px."""
_BESIDE = (0.0, 16.0, 48.0, 128.0, 320.0)
"""Distances of landmarks from the hidden region on both sides of a fold, px."""
_FARTHEST = 400.0
"""A fold hides no more than this on one side, px."""
_GRID = 8
"""Landmarks along a side of the slice that hold the rest in place."""

Point = tuple[float, float]


def write_landmarks(
    folder: Path,
    source: ExportSource,
    *,
    overwrite: bool = False,
    progress: Callable[[float, str], None] | None = None,
) -> Path:
    """Write a folder with one landmarks file a restored slice.

    A file has no head; its columns are name, active, moving x, moving y,
    target x, target y, all in quotes, in px.  Moving is the damaged slice,
    target the restored one; (0, 0) is the first pixel of the slice, and
    ``frame.json`` says where that lies.

    Parameters
    ----------
    folder : Path
        To make.
    source : ExportSource
        A restored volume.
    overwrite : bool
        Whether an existing folder is replaced.
    progress : callable, optional
        See `sff_napari.progress`.

    Raises
    ------
    InputError
        If the volume was not restored.
    StackError
        If it cannot be written.
    """
    field = source.need_field()
    report = Reporter(progress)
    with atomic_folder(folder, overwrite=overwrite) as partial:
        for number, z in enumerate(field.slices):
            report(number / len(field.slices), f"slice {z}")
            rows = landmarks(field, z, source.folds.get(z, ()), source.shape[1:])
            text = "".join(
                ",".join(f'"{chunk}"' for chunk in (f"Pt-{i}", "true", *row)) + "\n"
                for i, row in enumerate(rows)
            )
            (partial / f"{source.names[z]}.csv").write_text(text, encoding="ascii")
        write_json(partial / "frame.json", source.frame)
    report(1.0, "written")
    return folder


def landmarks(
    field: Field, z: int, folds: tuple[Fold, ...], shape: tuple[int, int]
) -> list[tuple[float, float, float, float]]:
    """Return the landmarks of a slice: moving x, moving y, target x, target y, in px.

    Parameters
    ----------
    field : Field
        The displacement.
    z : int
        The slice.
    folds : tuple of Fold
        Its folds.
    shape : (Y, X)
        Of the slice.
    """

    @lru_cache(maxsize=8)
    def tile(row: int, column: int) -> NDArray[np.float32]:
        return field.read(
            z,
            slice(row * TILE, min((row + 1) * TILE, shape[0])),
            slice(column * TILE, min((column + 1) * TILE, shape[1])),
        )

    def moved(point: Point) -> tuple[float, float] | None:
        y, x = round(point[0]), round(point[1])
        if not (0 <= y < shape[0] and 0 <= x < shape[1]):
            return None
        dy, dx = (float(d) for d in tile(y // TILE, x // TILE)[:, y % TILE, x % TILE])
        return None if np.isnan(dy + dx) else (dy, dx)

    found: dict[tuple[int, int], tuple[float, float, float, float]] = {}
    for point in _points(folds, shape, lambda at: moved(at) is not None):
        shift = moved(point)
        if shift is not None:
            y, x = round(point[0]), round(point[1])
            found[y, x] = (x + shift[1], y + shift[0], float(x), float(y))
    return list(found.values())


def _points(
    folds: tuple[Fold, ...], shape: tuple[int, int], has_source: Callable[[Point], bool]
) -> Iterator[Point]:
    for y in np.linspace(0, shape[0] - 1, _GRID):
        for x in np.linspace(0, shape[1] - 1, _GRID):
            yield float(y), float(x)
    for fold in folds:
        curve = Curve.of(fold, dtype=torch.float64)
        count = max(2, int(curve.length / _ALONG) + 1)
        along = torch.linspace(0, curve.length, count, dtype=torch.float64)
        points, ways = curve.at(along)
        for (y, x), (wy, wx) in zip(points.T.tolist(), ways.T.tolist(), strict=True):
            for side in (1.0, -1.0):
                reach = fold.widest
                while reach < _FARTHEST and not has_source(
                    (y + side * reach * wx, x - side * reach * wy)
                ):
                    reach += 4.0
                for beside in _BESIDE:
                    far = side * (reach + beside)
                    yield y + far * wx, x - far * wy
