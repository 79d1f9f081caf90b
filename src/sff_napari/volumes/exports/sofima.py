"""Write what SOFIMA takes: a mask of pixels to leave out, and a coordinate map."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import zarr

from sff_napari.io_atomic import atomic_folder, uninterrupted, write_json
from sff_napari.progress import Reporter
from sff_napari.volumes.exports.fields import fill_zarr_field
from sff_napari.volumes.exports.masks import TILE, FoldMasks
from sff_napari.volumes.exports.source import ExportSource


def write_sofima(
    folder: Path,
    source: ExportSource,
    masks: FoldMasks,
    *,
    overwrite: bool = False,
    progress: Callable[[float, str], None] | None = None,
) -> Path:
    """Write a folder with ``mask.zarr`` and, of a restored volume, ``map.zarr``.

    Parameters
    ----------
    folder : Path
        To make.  ``mask.zarr`` is (Z, Y, X) bool at the resolution of the
        volume, True where SOFIMA must not look for a flow; ``map.zarr`` a
        relative inverse coordinate map (2, Z, Y, X).
    source : ExportSource
        The volume.
    masks : FoldMasks
        Its folds.
    overwrite : bool
        Whether an existing folder is replaced.
    progress : callable, optional
        See `sff_napari.progress`.

    Raises
    ------
    StackError
        If it cannot be written.
    """
    report = Reporter(progress)
    half = report.part(0.0, 0.5 if source.field is not None else 1.0)
    with atomic_folder(folder, overwrite=overwrite) as partial:
        depth, height, width = masks.shape
        with uninterrupted():
            array = zarr.create_array(
                partial / "mask.zarr",
                shape=(depth, height, width),
                chunks=(1, min(TILE, height), min(TILE, width)),
                dtype="bool",
                fill_value=False,
                zarr_format=2,
                attributes={
                    "description": "True in folds: leave these pixels out.",
                    "voxel_offset": list(source.offset),
                },
            )
        for number, z in enumerate(masks.slices):
            half(number / len(masks.slices), f"slice {z}")
            for rows, columns in masks.tiles(z):
                values = masks.read(z, rows, columns)
                if values.any():
                    with uninterrupted():
                        array[z, rows, columns] = values
        write_json(partial / "frame.json", source.frame)
        if source.field is not None:
            fill_zarr_field(partial / "map.zarr", source, report.part(0.5, 1.0))
    report(1.0, "written")
    return folder
