"""Read stacks in N5 containers, through tensorstore: zarr 3 reads them no more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sff_napari.errors import StackError
from sff_napari.stacks.chunk_files import ChunkFiles
from sff_napari.stacks.description import VoxelSize
from sff_napari.stacks.inside import folders_with, listed
from sff_napari.stacks.stack import Stack
from sff_napari.stacks.tensorstores import Box, read_json, stack_of_box
from sff_napari.stacks.units import voxel_size
from sff_napari.stacks.uris import Place, below, shown

KIND = "N5"
_MOST_LEVELS = 24


def attributes_of(place: Place) -> dict[str, Any] | None:
    """Return the attributes of an N5 dataset or group; None where there are none.

    Raises
    ------
    StackError
        If they cannot be read.
    """
    return read_json(place, "attributes.json", KIND)


def open_n5(
    place: Place, attributes: Mapping[str, Any], select: Mapping[str, int] | None = None
) -> Stack:
    """Return the stack in an N5 dataset, or at level ``s0`` of an N5 group.

    Parameters
    ----------
    place : Path or str
        Folder or checked address.
    attributes : mapping
        What `attributes_of` returned.
    select : mapping of str to int, optional
        Index on each further axis; 0 where not given.

    Raises
    ------
    StackError
        If it is damaged, or a group without levels ``s0``, ``s1``, ...
    """
    if "dimensions" in attributes:
        return _stack_of(place, "", attributes, attributes, select or {}, [])
    found: list[tuple[str, dict[str, Any]]] = []
    while len(found) < _MOST_LEVELS:
        inside = f"s{len(found)}"
        level = attributes_of(below(place, inside))
        if level is None or "dimensions" not in level:
            break
        found.append((inside, level))
    if not found:
        images = _images_in(place) if isinstance(place, Path) else []
        if len(images) == 1:
            only = below(place, images[0])
            about = attributes_of(only) or {}
            # BigDataViewer says at the time point how large a voxel is.
            return open_n5(only, {**attributes, **about}, select)
        names = listed(place, images)
        raise StackError(
            f"{shown(place)} is an N5 group without levels s0, s1, ...: "
            + (f"name an image inside it: {names}." if names else "name the dataset inside it.")
        )
    openers = [_opener(place, inside, level, select or {}) for inside, level in found[1:]]
    stack = _stack_of(place, found[0][0], found[0][1], attributes, select or {}, openers)
    stack.details["levels"] = len(found)
    return stack


def _images_in(place: Path) -> list[str]:
    """Return the datasets below a group, and the groups of levels, which count as one."""

    def is_one(folder: Path) -> bool:
        about = attributes_of(folder)
        if about is not None and "dimensions" in about:
            return True
        levels = attributes_of(folder / "s0")
        return levels is not None and "dimensions" in levels

    return folders_with(place, is_one)


def _opener(
    place: Place, inside: str, level: Mapping[str, Any], select: Mapping[str, int]
) -> Callable[[], Stack]:
    return lambda: _stack_of(place, inside, level, {}, select, [])


def _stack_of(
    place: Place,
    inside: str,
    attributes: Mapping[str, Any],
    group: Mapping[str, Any],
    select: Mapping[str, int],
    openers: list[Callable[[], Stack]],
) -> Stack:
    box = Box(place, "n5", inside)
    dimensions = len(box.shape)
    if isinstance(place, Path):
        folder = place / inside if inside else place
        box.files = ChunkFiles(
            folder, box.shape, box.chunks, lambda at: "/".join(str(part) for part in at)
        )
    if not 2 <= dimensions <= 5:
        raise StackError(f"{shown(place)} has {dimensions} dimensions: a stack has x, y and z.")
    # N5 counts its axes from the one that changes fastest.
    axes = _named_axes(attributes, dimensions) or "xyzct"[:dimensions]
    compression = attributes.get("compression")
    codec = compression.get("type") if isinstance(compression, dict) else None
    size = _size_of({**group, **attributes}, axes)
    return stack_of_box(box, place, KIND, axes, select, size, {"codecs": codec}, openers)


def _named_axes(attributes: Mapping[str, Any], dimensions: int) -> str | None:
    """Return the axes that a dataset names, one letter each, if they can be used."""
    named = attributes.get("axes")
    if not isinstance(named, list) or len(named) != dimensions:
        return None
    letters = "".join(str(name).lower()[:1] for name in named)
    usable = len(set(letters)) == dimensions and {"x", "y"} <= set(letters)
    return letters if usable else None


def _size_of(attributes: Mapping[str, Any], axes: str) -> VoxelSize | None:
    """Return the voxel size: ``pixelResolution`` or ``resolution``, one value an axis."""
    found = attributes.get("pixelResolution", attributes.get("resolution"))
    unit: Any = attributes.get("units", "nm")
    if isinstance(found, dict):
        unit = found.get("unit", unit)
        found = found.get("dimensions")
    if not isinstance(found, list) or not set("xyz") <= set(axes) or len(found) < 3:
        return None
    units = unit if isinstance(unit, list) else [unit] * len(found)
    try:
        places = [axes.index(axis) for axis in "zyx"]
        return voxel_size([float(found[i]) for i in places], [str(units[i]) for i in places])
    except (IndexError, TypeError, ValueError):
        return None
