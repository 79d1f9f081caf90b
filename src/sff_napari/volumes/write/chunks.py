"""The tasks that write chunks: each is written by exactly one task, from all that touches it."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
    paste_sides,
)
from sff_napari.volumes.run.folder import WORK
from sff_napari.volumes.run.restored_volume import Job
from sff_napari.volumes.write.chunk_grid import Cells, Place
from sff_napari.volumes.write.derived_arrays import STEP
from sff_napari.volumes.write.layout import Level

Rows = list[dict[str, Any]]
"""What became of chunks: ``key``, and the checksums ``before`` and ``after`` (None: no chunk)."""


def result_key(key: str) -> str:
    """Return the name of the file that says that a task is done, and with what result."""
    return f"{WORK}/done/{key[:2]}/{key}.json"


def finished(job: Job, key: str) -> Rows | None:
    """Return what a task wrote, None if it has not been done."""
    found = job.folder.get(result_key(key))
    return None if found is None else list(json.loads(found))


def finish(job: Job, key: str, rows: Rows) -> None:
    """Say that a task is done."""
    job.folder.put(result_key(key), json.dumps(rows).encode())


def write_cell(job: Job, task: Mapping[str, Any]) -> dict[str, Any]:
    """Write a chunk of the finest level with all patches that touch it.

    Parameters
    ----------
    job : Job
        The volume.
    task : mapping
        ``key``, ``place`` (of the cell), ``patches`` (keys by slice), and
        ``reset``: the slices that are first set to what they were.

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
    level = job.layout.finest
    place: Place = tuple(task["place"])
    key = level.cells.key(place)
    done = finished(job, task["key"])
    if done is not None:
        return {"pixels": 0, "rows": done}
    before = job.bytes_before(0, place)
    original = level.cells.decode(place, before)
    values = original.copy()
    stored = job.folder.get(key) if job.kept(key) else None
    if stored is not None:
        # Slices that are not done anew keep what an earlier run made of them.
        values = level.cells.decode(place, stored)
        for z in task["reset"]:
            found = level.plane_of(place, z)
            if found is not None:
                values[found[0]] = original[found[0]]
    for z, keys in task["patches"].items():
        patches = [load_patch(job, one) for one in keys]
        _paste(level, place, values, int(z), patches)
    rows = settle(job, level.cells, place, before, original, values)
    finish(job, task["key"], rows)
    return {"pixels": int(values.size), "rows": rows}


def _paste(level: Level, place: Place, values: NDArray[Any], z: int, patches: list[Patch]) -> None:
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
    job: Job,
    cells: Cells,
    place: Place,
    before: bytes | None,
    original: NDArray[Any],
    values: NDArray[Any],
) -> Rows:
    """Store the pixels of a cell, or its very bytes if they are as they were."""
    key = cells.key(place)
    if not different(values, original).any():
        if job.kept(key):
            job.put_back(key, before)
        elif not job.overlay and before is not None and job.folder.get(key) != before:
            job.folder.put(key, before, lasting=False)
        return [{"key": key, "before": checksum(before), "after": checksum(before)}]
    data = cells.encode(place, values)
    job.keep_before(key, before)
    if job.folder.get(key) != data:
        job.folder.put(key, data)
    return [{"key": key, "before": checksum(before), "after": checksum(data)}]


def write_sides(job: Job, task: Mapping[str, Any]) -> dict[str, Any]:
    """Write the synthesised pixels, the displacement and the confidence of one block of a slice.

    Parameters
    ----------
    job : Job
        The volume.
    task : mapping
        ``key``, ``z``, ``block`` (row and column of the block), ``patches``.

    Returns
    -------
    dict
        The rows of the record.

    Raises
    ------
    Stop
        If they cannot be written.
    """
    done = finished(job, task["key"])
    if done is not None:
        return {"rows": done}
    z, (i, j) = task["z"], task["block"]
    cells = job.displacement
    place: Place = (z, 0, i, j)
    box = cells.box(place)
    rows, columns = (box[2].start, box[2].stop), (box[3].start, box[3].stop)
    shape = (rows[1] - rows[0], columns[1] - columns[0])
    synthesised = np.zeros(shape, dtype=np.uint8)
    flow = np.zeros((2, *shape), dtype=np.float32)
    patches = [load_patch(job, one) for one in task["patches"]]
    paste_sides(synthesised, flow, rows, columns, patches)
    # Finer steps say nothing and take twenty times the space.
    flow = np.round(flow / STEP) * np.float32(STEP)
    label = job.labels[0]
    label_place = [0] * len(label.cells.shape)
    if label.axes.slices is not None:
        label_place[label.axes.slices] = z
    label_place[label.axes.rows], label_place[label.axes.columns] = i, j
    turned = synthesised.T if label.transposed else synthesised
    label_box = label.cells.box(tuple(label_place))
    written = [
        *store_sparse(job, cells, place, flow[None]),
        *store_sparse(
            job,
            label.cells,
            tuple(label_place),
            turned.reshape([part.stop - part.start for part in label_box]),
        ),
    ]
    if job.confidence is not None:
        confidence = np.full(shape, SURE, dtype=np.uint8)
        paste_confidence(confidence, rows, columns, patches)
        written += store_sparse(job, job.confidence, (z, i, j), confidence[None], SURE)
    finish(job, task["key"], written)
    return {"rows": written}


def store_sparse(
    job: Job, cells: Cells, place: Place, values: NDArray[Any], empty: int = 0
) -> Rows:
    """Store the pixels of a cell that did not exist before; one that is all `empty` is left out."""
    key = cells.key(place)
    if not (values != empty).any():
        if job.folder.has(key):
            job.folder.remove(key)
        return [{"key": key, "before": None, "after": None}]
    data = cells.encode(place, values)
    if job.folder.get(key) != data:
        job.folder.put(key, data)
    return [{"key": key, "before": None, "after": checksum(data)}]
