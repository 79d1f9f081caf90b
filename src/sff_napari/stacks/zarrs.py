"""Stacks in zarr arrays and OME-Zarr groups, formats 2 and 3."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from sff_napari.errors import StackError
from sff_napari.io_atomic import explain
from sff_napari.stacks.axes import choose_axes
from sff_napari.stacks.stack import Stack, VoxelSize
from sff_napari.stacks.units import voxel_size

_MARKERS = ("zarr.json", ".zarray", ".zgroup", ".zattrs")


def is_zarr(path: Path) -> bool:
    """Tell whether a folder is a zarr array or group."""
    return any((path / marker).is_file() for marker in _MARKERS)


def open_zarr(path: Path, select: Mapping[str, int] | None = None) -> Stack:
    """Return the stack in a zarr array, or at the finest level of an OME-Zarr group.

    Parameters
    ----------
    path : Path
        Folder of a zarr array or group, format 2 or 3; OME-Zarr 0.4 or 0.5.
    select : mapping of str to int, optional
        Index on each further axis, e.g. ``{"c": 1}``; 0 where not given.

    Raises
    ------
    StackError
        If it is damaged, holds no image or several, or has an unsupported dtype.
    """
    try:
        node = zarr.open(path, mode="r")
    except OSError as error:
        raise explain(error, path, "read") from error
    except Exception as error:  # damaged metadata makes the parser raise anything
        raise StackError(f"{path} is a damaged zarr: its metadata cannot be read.") from error
    if isinstance(node, zarr.Array):
        return _stack_of(node, path, None, "zarr", _size_of_plain(node), select or {})
    attributes = dict(node.attrs)
    ome = attributes.get("ome", attributes)
    if isinstance(ome, dict) and "multiscales" in ome:
        return _open_multiscale(node, path, ome, select or {})
    if isinstance(ome, dict) and "bioformats2raw.layout" in ome and (path / "0").is_dir():
        return open_zarr(path / "0", select)
    arrays = sorted(name for name, _ in node.arrays())
    if len(arrays) == 1:
        return open_zarr(path / arrays[0], select)
    if not arrays:
        raise StackError(f"{path} is a zarr group without an image: name the array inside it.")
    raise StackError(
        f"{path} is a zarr group of {len(arrays)} arrays: "
        f"name one of them, e.g. {path / arrays[0]}."
    )


def _open_multiscale(
    group: zarr.Group, path: Path, ome: dict[str, Any], select: Mapping[str, int]
) -> Stack:
    try:
        image = ome["multiscales"][0]
        version = str(ome.get("version") or image.get("version") or "0.4")
        finest = image["datasets"][0]
        array = group[finest["path"]]
        names, units = _axes_of(image, len(array.shape))
        scale = [1.0] * len(names)
        known = False
        for found in (finest, image):
            for transform in found.get("coordinateTransformations", []):
                if transform.get("type") == "scale":
                    scale = [a * float(b) for a, b in zip(scale, transform["scale"], strict=True)]
                    known = True
        levels = len(image["datasets"])
    except StackError:
        raise
    except Exception as error:  # metadata written by other programs can be wrong in any way
        raise StackError(
            f"{path} is an OME-Zarr whose metadata cannot be used "
            f"({type(error).__name__}: {error})."
        ) from error
    size = None
    if known and "z" in names:
        places = [names.index(axis) for axis in "zyx"]
        size = voxel_size([scale[i] for i in places], [units[i] for i in places])
    stack = _stack_of(array, path, "".join(names), f"OME-Zarr {version}", size, select)
    stack.details["levels"] = levels
    made = group.attrs.get("sff_napari")
    if isinstance(made, dict):
        stack.details["written by"] = made.get("program", "sff-napari")
        changed = [str(record.get("slice")) for record in made.get("slices", [])]
        stack.details["changed slices"] = ", ".join(changed)
    return stack


def _axes_of(image: dict[str, Any], dimensions: int) -> tuple[list[str], list[str | None]]:
    """Return one lower-case letter and the unit of each axis."""
    axes = image.get("axes") or list("tczyx"[-dimensions:])
    names, units = [], []
    for axis in axes:
        name = axis["name"] if isinstance(axis, dict) else str(axis)
        names.append(name.lower()[:1])
        units.append(axis.get("unit") if isinstance(axis, dict) else None)
    if len(names) != dimensions or len(set(names)) != dimensions:
        raise ValueError(f"{len(names)} axes are named for {dimensions} dimensions")
    return names, units


def _size_of_plain(array: zarr.Array) -> VoxelSize | None:
    """Return the voxel size that plain zarr arrays often carry, e.g. CREMI's ``resolution``."""
    values = array.attrs.get("resolution")
    if isinstance(values, list) and len(values) == 3:
        units = array.attrs.get("units")
        named: list[str | None] = list(units) if isinstance(units, list) else ["nm"] * 3
        if len(named) == 3 and all(isinstance(value, int | float) for value in values):
            return voxel_size(values, named)
    return None


def _stack_of(
    array: zarr.Array,
    path: Path,
    axes: str | None,
    kind: str,
    size: VoxelSize | None,
    select: Mapping[str, int],
) -> Stack:
    dimensions = len(array.shape)
    if axes is None:
        if not 2 <= dimensions <= 5:
            raise StackError(f"{path} has {dimensions} dimensions: a stack has (Z, Y, X).")
        named = getattr(array.metadata, "dimension_names", None)
        axes = "tczyx"[-dimensions:]
        if named and all(named) and len({str(n).lower()[:1] for n in named}) == dimensions:
            letters = "".join(str(name).lower()[0] for name in named)
            if "y" in letters and "x" in letters:
                axes = letters
    kind = f"{kind} (format {array.metadata.zarr_format})"
    name = path.stem
    if axes in ("zyx", "yx") and not select:
        stack = Stack.from_array(array, name=name, kind=kind, path=path, axes=axes, voxel_size=size)
    else:
        chosen = choose_axes(axes, array.shape, select, path)

        def load(index: tuple[Any, ...]) -> NDArray[Any]:
            return np.asarray(array[index])

        stack = Stack(
            chosen.reader(load),
            chosen.shape,
            array.dtype,
            kind=kind,
            name=name,
            path=path,
            axes=axes,
            voxel_size=size,
            chunks=tuple(array.chunks),
            details=dict(chosen.details),
            region=chosen.region_reader(load),
        )
    if array.shards is not None:
        stack.details["shards"] = "x".join(map(str, array.shards))
    return stack
