"""Write displacements for other tools: zarr or precomputed, x first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from sff_napari.io_atomic import atomic_folder, uninterrupted
from sff_napari.progress import Reporter
from sff_napari.volumes.exports.precomputed import PrecomputedWriter
from sff_napari.volumes.exports.source import TILE, ExportSource, Field

NOTE = (
    "Relative inverse coordinate map: channels (dx, dy) in px of full resolution; the restored "
    "pixel at (x, y) was read from the damaged slice at (x + dx, y + dy). NaN where there is no "
    "source, 0 where nothing moved."
)


def write_field(
    target: Path,
    source: ExportSource,
    *,
    overwrite: bool = False,
    progress: Callable[[float, str], None] | None = None,
) -> Path:
    """Write the displacement of a restored volume.

    Parameters
    ----------
    target : Path
        A name ending in ``.zarr`` gives a zarr array (2, Z, Y, X) float32 of
        format 2, as SOFIMA stores coordinate maps; any other name a
        precomputed volume with two channels.  Both hold (dx, dy).
    source : ExportSource
        A restored volume.
    overwrite : bool
        Whether an existing folder is replaced.
    progress : callable, optional
        See `sff_napari.progress`.

    Raises
    ------
    InputError
        If the volume was not restored, or its voxel size is not known and
        precomputed needs it.
    StackError
        If it cannot be written.
    """
    field = source.need_field()
    if target.suffix.lower() == ".zarr":
        with atomic_folder(target, overwrite=overwrite) as partial:
            fill_zarr_field(partial, source, Reporter(progress))
        return target
    size = source.need_voxel_size()
    with atomic_folder(target, overwrite=overwrite) as partial:
        writer = PrecomputedWriter(
            partial, source.shape, "float32", size, channels=2, offset=source.offset
        )
        _each(
            field,
            Reporter(progress),
            lambda z, rows, columns, values: writer.write(0, z, rows, columns, values),
        )
    return target


def fill_zarr_field(folder: Path, source: ExportSource, report: Reporter) -> None:
    """Write the displacement of a restored volume as a zarr array into an empty folder.

    Parameters
    ----------
    folder : Path
        Becomes the array.
    source : ExportSource
        A restored volume.
    report : Reporter
        Told of the progress.
    """
    field = source.need_field()
    depth, height, width = source.shape
    with uninterrupted():
        array = zarr.create_array(
            folder,
            shape=(2, depth, height, width),
            chunks=(2, 1, min(TILE, height), min(TILE, width)),
            dtype="float32",
            fill_value=0,
            zarr_format=2,
            attributes={
                "description": NOTE,
                "axes": ["channel", "z", "y", "x"],
                "voxel_offset": list(source.offset),
            },
            overwrite=True,
        )

    def write(z: int, rows: slice, columns: slice, values: NDArray[np.float32]) -> None:
        with uninterrupted():
            array[:, z, rows, columns] = values

    _each(field, report, write)


def _each(
    field: Field,
    report: Reporter,
    write: Callable[[int, slice, slice, NDArray[np.float32]], None],
) -> None:
    """Hand over every part in which something moved, as (dx, dy)."""
    tiles = field.tiles()
    for number, z in enumerate(field.slices):
        report(number / len(field.slices), f"slice {z}")
        for rows, columns in tiles:
            values = field.read(z, rows, columns)
            if values.any():  # NaN counts as true
                write(z, rows, columns, values[::-1])
    report(1.0, "written")
