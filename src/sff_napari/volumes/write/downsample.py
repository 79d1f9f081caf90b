"""Write coarser levels: anew only above what changed, in the way the volume was made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from sff_napari.volumes.restore.patches import different
from sff_napari.volumes.run.restored_volume import RestoredVolume
from sff_napari.volumes.run.task import WriteCoarseChunk, WriteCoarseLabel
from sff_napari.volumes.write.chunk_grid import Box, ChunkIndex
from sff_napari.volumes.write.chunks import finish, finished, settle, store_sparse
from sff_napari.volumes.write.layout import LayoutLevel

_SAMPLE = 64
_ALIKE = 0.99
"""Share of pixels that must agree for a way of down-sampling to count as recognised."""


def _blocks(values: NDArray[Any], factors: tuple[int, ...]) -> NDArray[Any]:
    """Return (coarse shape..., pixels of a block); a block cut by the border repeats its edge."""
    pads = [(0, -n % f) for n, f in zip(values.shape, factors, strict=True)]
    if any(after for _, after in pads):
        values = np.pad(values, pads, mode="edge")
    split = [part for n, f in zip(values.shape, factors, strict=True) for part in (n // f, f)]
    count = len(factors)
    order = [*range(0, 2 * count, 2), *range(1, 2 * count, 2)]
    blocks = values.reshape(split).transpose(order)
    return blocks.reshape(*blocks.shape[:count], -1)


def _mean(blocks: NDArray[Any]) -> NDArray[Any]:
    kind = np.float64 if blocks.dtype.itemsize > 4 else np.float32
    return blocks.mean(axis=-1, dtype=kind)


def _rounded(blocks: NDArray[Any]) -> NDArray[Any]:
    return np.rint(_mean(blocks)) if blocks.dtype.kind in "ui" else _mean(blocks)


_DOWNSAMPLING_METHODS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "mean": _rounded,
    "mean, rounded down": _mean,
    "mean, halves up": lambda blocks: np.floor(_mean(blocks) + 0.5),
    "first pixel": lambda blocks: blocks[..., 0],
    "last pixel": lambda blocks: blocks[..., -1],
    "median": lambda blocks: np.median(blocks, axis=-1),
    "maximum": lambda blocks: blocks.max(axis=-1),
    "minimum": lambda blocks: blocks.min(axis=-1),
}
DOWNSAMPLING_METHODS = tuple(_DOWNSAMPLING_METHODS)
"""Names of the ways of down-sampling that are recognised."""


def reduce(values: NDArray[Any], factors: tuple[int, ...], way: str) -> NDArray[Any]:
    """Return an array at a coarser level, in its own dtype.

    Parameters
    ----------
    values : ndarray
        Pixels that start at a multiple of the factors.
    factors : tuple of int
        For each axis.
    way : str
        One of `DOWNSAMPLING_METHODS`.
    """
    return _DOWNSAMPLING_METHODS[way](_blocks(values, factors)).astype(values.dtype)


def recognise(fine: zarr.Array, coarse: zarr.Array, level: LayoutLevel) -> str | None:
    """Return how a level was made from the next finer one; None if it cannot be told.

    Parameters
    ----------
    fine, coarse : zarr.Array
        The two levels.
    level : LayoutLevel
        The coarse one.
    """
    methods = list(
        DOWNSAMPLING_METHODS
        if fine.dtype.kind in "ui"
        else [w for w in DOWNSAMPLING_METHODS if "," not in w]
    )
    seen = False
    for share in (0.5, 0.25, 0.75):
        box = tuple(
            slice(start := max(0, min(int(n * share), n - _SAMPLE)), min(start + _SAMPLE, n))
            if axis in (level.axes.rows, level.axes.columns)
            else slice(min(int(n * share), n - 1), min(int(n * share), n - 1) + 1)
            for axis, n in enumerate(coarse.shape)
        )
        below = np.asarray(fine[finer(box, level.factors, fine.shape)])
        stored = np.asarray(coarse[box])
        if below.min() == below.max():
            continue
        found = {
            way: _alike(_cut(reduce(below, level.factors, way), stored), stored) for way in methods
        }
        methods = [way for way in methods if found[way] >= _ALIKE]
        seen = True
    return methods[0] if seen and methods else None


def _cut(values: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    return values[tuple(slice(0, n) for n in like.shape)]


def _alike(a: NDArray[Any], b: NDArray[Any]) -> float:
    if a.dtype.kind == "f":
        return float(np.isclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True).mean())
    return float((a == b).mean())


def finer(box: Box, factors: tuple[int, ...], shape: tuple[int, ...]) -> Box:
    """Return the pixels of the next finer level that a box of pixels stands for."""
    return tuple(
        slice(part.start * f, min(part.stop * f, n))
        for part, f, n in zip(box, factors, shape, strict=True)
    )


def above(level: LayoutLevel, finer_level: LayoutLevel, places: set[ChunkIndex]) -> set[ChunkIndex]:
    """Return the chunks of a level that stand for pixels of chunks of the next finer one."""
    found: set[ChunkIndex] = set()
    for place in places:
        box = tuple(
            slice(min(part.start // f, n - 1), min(-(-part.stop // f), n))
            for part, f, n in zip(
                finer_level.chunks.box(place), level.factors, level.chunks.shape, strict=True
            )
        )
        found.update(level.chunks.touching(box))
    return found


def write_coarse(volume: RestoredVolume, task: WriteCoarseChunk) -> dict[str, Any]:
    """Write a chunk of a coarser level.

    Pixels above what did not change keep their value, however they were made.

    Parameters
    ----------
    volume : RestoredVolume
        The volume.
    task : WriteCoarseChunk
        What to do.

    Returns
    -------
    dict
        How many pixels were written, and the rows of the record.

    Raises
    ------
    SffError
        If a chunk cannot be read.
    Stop
        If it cannot be written.
    """
    done = finished(volume, task.key)
    if done is not None:
        return {"pixels": 0, "rows": done}
    level, below = volume.level(task.level), volume.level(task.level - 1)
    place: ChunkIndex = task.place
    part = finer(level.chunks.box(place), level.factors, below.chunks.shape)
    dtype = volume.layout.dtype
    now = np.asarray(volume.now(below.chunks)[part]).astype(dtype)
    was = np.asarray(volume.before(below.chunks)[part]).astype(dtype)
    way = volume.plan["reduction"]
    shape = tuple(n.stop - n.start for n in level.chunks.box(place))

    def cut(values: NDArray[Any]) -> NDArray[Any]:
        return values[tuple(slice(0, n) for n in shape)]

    made = cut(reduce(now, level.factors, way))
    if volume.source is None and volume.origin.kind == "stack":
        original = cut(reduce(was, level.factors, way))
        before: bytes | None = level.chunks.encode(place, original)
    else:
        before = volume.bytes_before(task.level, place)
        original = level.chunks.decode(place, before)
    changed = cut(reduce(different(now, was).astype(np.uint8), level.factors, "maximum")) > 0
    values = np.where(changed, made, original)
    rows = settle(volume, level.chunks, place, before, original, values)
    finish(volume, task.key, rows)
    return {"pixels": int(values.size), "rows": rows}


def write_coarse_label(volume: RestoredVolume, task: WriteCoarseLabel) -> dict[str, Any]:
    """Write a chunk of a coarser level of the synthesised pixels: all that holds one.

    Parameters
    ----------
    volume : RestoredVolume
        The volume.
    task : WriteCoarseLabel
        What to do.

    Returns
    -------
    dict
        The rows of the record.

    Raises
    ------
    Stop
        If it cannot be written.
    """
    done = finished(volume, task.key)
    if done is not None:
        return {"rows": done}
    level, below = volume.labels[task.level], volume.labels[task.level - 1]
    place: ChunkIndex = task.place
    box = level.chunks.box(place)
    part = finer(box, level.factors, below.chunks.shape)
    fine = np.asarray(volume.labels_now(below.chunks)[part])
    values = reduce(fine, level.factors, "maximum")[tuple(slice(0, n.stop - n.start) for n in box)]
    rows = store_sparse(volume, level.chunks, place, values)
    finish(volume, task.key, rows)
    return {"rows": rows}
