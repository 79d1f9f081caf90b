"""Gather what is exported: the folds of a volume, and what a restoration moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from sff_napari.errors import InputError
from sff_napari.folds import Fold
from sff_napari.stacks import VoxelSize, open_stack, read_folds
from sff_napari.stacks.overlay import store_at
from sff_napari.volumes.run.folder import Folder
from sff_napari.volumes.run.restored_volume import PLAN, read_plan
from sff_napari.volumes.verify.provenance import all_slices
from sff_napari.volumes.verify.records import read_slices

TILE = 1024
"""Side of the parts in which a displacement is read, px."""


class Field:
    """Where the pixels of restored slices come from.

    Parameters
    ----------
    array : zarr.Array, (Z, 2, Y, X) float32
        ``(dy, dx)`` in px: the restored pixel at x was read from the damaged
        slice at x + (dy, dx).  NaN where there is no source, 0 where nothing
        moved.
    slices : list of int
        The restored ones.
    """

    def __init__(self, array: zarr.Array, slices: list[int]) -> None:
        self.slices = slices
        self._array = array

    def read(self, z: int, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Return the displacement (2, rows, columns) in a part of slice `z`, as stored."""
        return np.asarray(self._array[z, :, rows, columns], dtype=np.float32)

    def tiles(self) -> list[tuple[slice, slice]]:
        """Return the parts that cover a slice, row after row."""
        height, width = self._array.shape[2:]
        return [
            (slice(y, min(y + TILE, height)), slice(x, min(x + TILE, width)))
            for y in range(0, height, TILE)
            for x in range(0, width, TILE)
        ]


@dataclass(frozen=True)
class ExportSource:
    """A volume as exports see it.

    Parameters
    ----------
    name : str
        Of the volume.
    shape : (Z, Y, X)
        In px.
    voxel_size : (z, y, x) or None
        In nm.
    names : tuple of str
        Of the slices.
    folds : mapping of int to tuple of Fold
        The folds of each slice that has some.
    field : Field or None
        What a restoration moved, if the volume was restored.
    offset : (z, y, x)
        Where the first voxel lies in the frame of the data set, in voxels.
    """

    name: str
    shape: tuple[int, int, int]
    voxel_size: VoxelSize | None
    names: tuple[str, ...]
    folds: Mapping[int, tuple[Fold, ...]]
    field: Field | None
    offset: tuple[float, float, float] = (0, 0, 0)

    @property
    def frame(self) -> dict[str, Any]:
        """Where the volume lies, plain JSON types, for formats that cannot say it themselves."""
        return {
            "axes": ["z", "y", "x"],
            "voxel_offset": list(self.offset),
            "voxel_size_nm": None if self.voxel_size is None else list(self.voxel_size),
            "coordinates": "px from the first voxel; add voxel_offset for those of the data set",
        }

    def need_field(self) -> Field:
        """Return the displacement.

        Raises
        ------
        InputError
            If the volume was not restored.
        """
        if self.field is None:
            raise InputError(
                f"{self.name} holds no displacement: name a volume that `sff-napari restore` wrote."
            )
        return self.field

    def need_voxel_size(self) -> VoxelSize:
        """Return the size (z, y, x) of a voxel in nm.

        Raises
        ------
        InputError
            If it is not known.
        """
        if self.voxel_size is None:
            raise InputError(
                f"The voxel size of {self.name} is not known, but this format needs it: "
                "give --voxel-size Z,Y,X in nm."
            )
        return self.voxel_size


def open_source(
    place: Path | str,
    folds: Path | None = None,
    voxel_size: VoxelSize | None = None,
    select: Mapping[str, int] | None = None,
) -> ExportSource:
    """Return a volume with its folds.

    Parameters
    ----------
    place : Path or str
        A volume that was restored, or any stack.
    folds : Path, optional
        Folds file; a restored volume knows its own.
    voxel_size : (z, y, x), optional
        In nm; the stack's own where not given.
    select : mapping of str to int, optional
        See `open_stack`; a restored volume knows its own.

    Raises
    ------
    InputError
        If the volume was not restored and no folds file is given.
    StackError
        If something cannot be read.
    """
    if select is None or not select:
        select = _select_of(place)
    with open_stack(place, select) as stack:
        shape, name = stack.shape, stack.name
        size = voxel_size or stack.voxel_size
        offset = stack.offset
        names = stack.slice_names or tuple(f"slice_{z:05d}" for z in range(shape[0]))
    found: dict[int, tuple[Fold, ...]] = {}
    field = None
    if isinstance(place, Path) and place.is_dir():
        found, field = _restored(place)
    if folds is not None:
        file = read_folds(folds)
        file.check(shape)
        found = dict(file.folds)
    elif field is None:
        raise InputError(f"{name} was not restored by sff-napari: name its folds with --folds.")
    return ExportSource(name, shape, size, names, found, field, offset)


def _select_of(place: Path | str) -> dict[str, int]:
    """Return what a restored volume was restored of: index on further axes."""
    if isinstance(place, Path) and (place / PLAN).is_file():
        return dict(read_plan(place)["select"])
    return {}


def _restored(place: Path) -> tuple[dict[int, tuple[Fold, ...]], Field | None]:
    """Return the folds and the displacement of a volume that was restored; nothing of others."""
    if (place / PLAN).is_file():
        plan = read_plan(place)
        records: dict[int, Any] = {
            z: record for z, record in all_slices(place).items() if record["status"] == "restored"
        }
        # An overlay holds the displacement of its own slices; the rest lies below.
        layered = plan["overlay"] and len(records) > len(read_slices(Folder(place)))
        store = store_at(str(place)) if layered else place
        array = zarr.open_array(store, path=plan["displacement"], mode="r")
        return _folds_of(records), Field(array, sorted(records))
    return {}, None


def _folds_of(records: Mapping[int, Mapping[str, Any]]) -> dict[int, tuple[Fold, ...]]:
    return {
        z: tuple(
            Fold.from_dict(fold)
            for one in (record, *record.get("earlier", ()))
            for fold in one["folds"]
        )
        for z, record in records.items()
    }
