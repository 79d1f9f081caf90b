"""Write chunks: each by exactly one task, from all patches that touch it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.volumes.plan.keys import checksum
from sff_napari.volumes.restore.block import load_patch
from sff_napari.volumes.restore.patches import (
    SURE,
    Patch,
    different,
    paste,
    paste_confidence,
    paste_derived,
)
from sff_napari.volumes.run.folder import WORK
from sff_napari.volumes.run.restored_volume import RestoredVolume
from sff_napari.volumes.run.task import WriteChunk, WriteDerivedBlock
from sff_napari.volumes.write.chunk_grid import ChunkGrid, ChunkIndex
from sff_napari.volumes.write.derived_arrays import STEP
from sff_napari.volumes.write.layout import LayoutLevel

Rows = list[dict[str, Any]]
"""What became of chunks: ``key``, and the checksums ``before`` and ``after`` (None: no chunk)."""


def result_key(key: str) -> str:
    """Return the name of the file that says that a task is done, and with what result."""
    return f"{WORK}/done/{key[:2]}/{key}.json"


def finished(volume: RestoredVolume, key: str) -> Rows | None:
    """Return what a task wrote, None if it has not been done."""
    found = volume.folder.get(result_key(key))
    return None if found is None else list(json.loads(found))


def finish(volume: RestoredVolume, key: str, rows: Rows) -> None:
    """Say that a task is done."""
    volume.folder.put(result_key(key), json.dumps(rows).encode())


def write_chunk(volume: RestoredVolume, task: WriteChunk) -> dict[str, Any]:
    """Write a chunk of the finest level with all patches that touch it.

    Parameters
    ----------
    volume : RestoredVolume
        The volume.
    task : WriteChunk
        What to do.

    Returns
    -------
    dict
        How many pixels were written, and the rows of the record.

    Raises
    ------
    SffError
        If the chunk cannot be read.
    Stop
        If it cannot be written.
    """
    level = volume.layout.finest
    place: ChunkIndex = task.place
    key = level.chunks.key(place)
    done = finished(volume, task.key)
    if done is not None:
        return {"pixels": 0, "rows": done}
    before = volume.bytes_before(0, place)
    original = level.chunks.decode(place, before)
    values = original.copy()
    stored = volume.folder.get(key) if volume.kept(key) else None
    if stored is not None:
        # Slices that are not done anew keep what an earlier run made of them.
        values = level.chunks.decode(place, stored)
        for z in task.reset:
            found = level.plane_of(place, z)
            if found is not None:
                values[found[0]] = original[found[0]]
    for z, keys in task.patches.items():
        patches = [load_patch(volume, one) for one in keys]
        _paste(level, place, values, z, patches)
    rows = settle(volume, level.chunks, place, before, original, values)
    finish(volume, task.key, rows)
    return {"pixels": int(values.size), "rows": rows}


def _paste(
    level: LayoutLevel, place: ChunkIndex, values: NDArray[Any], z: int, patches: list[Patch]
) -> None:
    found = level.plane_of(place, z)
    if found is None:
        return
    index, rows, columns = found
    plane = values[index]
    paste(
        plane.T if level.transposed else plane,
        (rows.start, rows.stop),
        (columns.start, columns.stop),
        patches,
    )


def settle(
    volume: RestoredVolume,
    chunks: ChunkGrid,
    place: ChunkIndex,
    before: bytes | None,
    original: NDArray[Any],
    values: NDArray[Any],
) -> Rows:
    """Store the pixels of a chunk, or its very bytes if they are as they were."""
    key = chunks.key(place)
    if not different(values, original).any():
        if volume.kept(key):
            volume.put_back(key, before)
        elif not volume.overlay and before is not None and volume.folder.get(key) != before:
            volume.folder.put(key, before, lasting=False)
        return [{"key": key, "before": checksum(before), "after": checksum(before)}]
    data = chunks.encode(place, values)
    volume.keep_before(key, before)
    if volume.folder.get(key) != data:
        volume.folder.put(key, data)
    return [{"key": key, "before": checksum(before), "after": checksum(data)}]


def write_derived_block(volume: RestoredVolume, task: WriteDerivedBlock) -> dict[str, Any]:
    """Write the synthesised pixels, the displacement and the confidence of one block of a slice.

    Parameters
    ----------
    volume : RestoredVolume
        The volume.
    task : WriteDerivedBlock
        What to do.

    Returns
    -------
    dict
        The rows of the record.

    Raises
    ------
    Stop
        If they cannot be written.
    """
    done = finished(volume, task.key)
    if done is not None:
        return {"rows": done}
    z, (i, j) = task.z, task.place
    chunks = volume.displacement
    place: ChunkIndex = (z, 0, i, j)
    box = chunks.box(place)
    rows, columns = (box[2].start, box[2].stop), (box[3].start, box[3].stop)
    shape = (rows[1] - rows[0], columns[1] - columns[0])
    synthesised = np.zeros(shape, dtype=np.uint8)
    flow = np.zeros((2, *shape), dtype=np.float32)
    patches = [load_patch(volume, one) for one in task.patches]
    paste_derived(synthesised, flow, rows, columns, patches)
    # Finer steps say nothing and take twenty times the space.
    flow = np.round(flow / STEP) * np.float32(STEP)
    label = volume.labels[0]
    label_place = [0] * len(label.chunks.shape)
    if label.axes.slices is not None:
        label_place[label.axes.slices] = z
    label_place[label.axes.rows], label_place[label.axes.columns] = i, j
    turned = synthesised.T if label.transposed else synthesised
    label_box = label.chunks.box(tuple(label_place))
    written = [
        *store_sparse(volume, chunks, place, flow[None]),
        *store_sparse(
            volume,
            label.chunks,
            tuple(label_place),
            turned.reshape([part.stop - part.start for part in label_box]),
        ),
    ]
    if volume.confidence is not None:
        confidence = np.full(shape, SURE, dtype=np.uint8)
        paste_confidence(confidence, rows, columns, patches)
        written += store_sparse(volume, volume.confidence, (z, i, j), confidence[None], SURE)
    finish(volume, task.key, written)
    return {"rows": written}


def store_sparse(
    volume: RestoredVolume,
    chunks: ChunkGrid,
    place: ChunkIndex,
    values: NDArray[Any],
    empty: int = 0,
) -> Rows:
    """Store the pixels of a chunk that is new; one that is all `empty` is left out."""
    key = chunks.key(place)
    if not (values != empty).any():
        if volume.folder.has(key):
            volume.folder.remove(key)
        return [{"key": key, "before": None, "after": None}]
    data = chunks.encode(place, values)
    if volume.folder.get(key) != data:
        volume.folder.put(key, data)
    return [{"key": key, "before": None, "after": checksum(data)}]
