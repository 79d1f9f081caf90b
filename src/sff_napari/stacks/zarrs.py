"""Read stacks in zarr arrays and OME-Zarr groups, formats 2 and 3, here or at an address."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import FsspecStore, ZipStore

from sff_napari.errors import StackError
from sff_napari.io_atomic import explain
from sff_napari.stacks import multiscale
from sff_napari.stacks.axes import choose_axes
from sff_napari.stacks.chunk_files import ChunkFiles
from sff_napari.stacks.codecs import check_codecs, storage_facts
from sff_napari.stacks.description import Readers, StackInfo, VoxelSize
from sff_napari.stacks.inside import images_in, listed
from sff_napari.stacks.layered_store import FilesStore
from sff_napari.stacks.pyramids import coarser_levels
from sff_napari.stacks.stack import Stack
from sff_napari.stacks.units import voxel_size
from sff_napari.stacks.uris import Place, below, explain_remote, name_of, shown, store_options

_MARKERS = ("zarr.json", ".zarray", ".zgroup", ".zattrs")


def is_zarr(path: Path) -> bool:
    """Tell whether a folder is a zarr array or group."""
    return any((path / marker).is_file() for marker in _MARKERS)


def open_zarr(
    place: Place,
    select: Mapping[str, int] | None = None,
    node: zarr.Array | zarr.Group | None = None,
) -> Stack:
    """Return the stack in a zarr array, or at the finest level of an OME-Zarr group.

    Parameters
    ----------
    place : Path or str
        Folder, or checked address, of a zarr array or group, format 2 or 3;
        OME-Zarr 0.4 or 0.5.
    select : mapping of str to int, optional
        Index on each further axis, e.g. ``{"c": 1}``; 0 where not given.
    node : zarr.Array or zarr.Group, optional
        What lies there, if it has been opened already.

    Raises
    ------
    StackError
        If it is damaged, holds no image or several, has an unsupported dtype,
        or was stored with a codec that could run code.
    """
    node = open_node(place) if node is None else node
    if isinstance(node, zarr.Array):
        size = _size_of_plain(node)
        stack = _stack_of(node, place, None, "zarr", size, select or {})
        stack.offset = _offset_of_plain(node, size)
        return stack
    attributes = dict(node.attrs)
    if multiscale.is_image(attributes):
        return _open_multiscale(node, place, attributes, select or {})
    if "bioformats2raw.layout" in multiscale.ome_part(attributes) and "0" in node:
        return open_zarr(below(place, "0"), select)
    try:
        arrays = sorted(name for name, _ in node.arrays())
        inside = listed(place, images_in(node))
    except Exception as error:  # web servers cannot list a folder
        raise StackError(
            f"{shown(place)} is a zarr group whose arrays cannot be listed: name one of them."
        ) from error
    if len(arrays) == 1:
        return open_zarr(below(place, arrays[0]), select)
    if not arrays:
        if inside:
            raise StackError(f"{shown(place)} is a zarr group: name an image inside it: {inside}.")
        raise StackError(
            f"{shown(place)} is a zarr group without an image: name the array inside it."
        )
    raise StackError(
        f"{shown(place)} is a zarr group of {len(arrays)} arrays: name one of them: {inside}."
    )


def open_node(place: Place) -> zarr.Array | zarr.Group:
    """Return the zarr array or group at a place, for reading.

    Raises
    ------
    StackError
        If there is none, or its metadata cannot be read.
    """
    try:
        if isinstance(place, Path):
            if place.is_file():
                return _open_zip(place)
            return zarr.open(FilesStore(place), mode="r")
        store = FsspecStore.from_url(place, storage_options=store_options(place), read_only=True)
        return zarr.open(store, mode="r")
    except StackError:
        raise
    except Exception as error:  # damaged metadata makes the parser raise anything
        if isinstance(error, OSError) and isinstance(place, Path):
            raise explain(error, place, "read") from error
        if isinstance(error, OSError | ImportError) or not isinstance(place, Path):
            raise explain_remote(error, str(place)) from error
        raise StackError(f"{place} is a damaged zarr: its metadata cannot be read.") from error


def _open_zip(place: Path) -> zarr.Array | zarr.Group:
    """Return what a zip file holds, at its top or in the folder that it was made of."""
    with zipfile.ZipFile(place) as file:
        names = file.namelist()
    homes = sorted(
        {name.rpartition("/")[0] for name in names if name.rpartition("/")[2] in _MARKERS}, key=len
    )
    if not homes:
        raise StackError(f"{place} holds no zarr: unpack it and name what is inside.")
    return zarr.open(ZipStore(place, mode="r"), path=homes[0] or None, mode="r")


def find_node(address: str) -> zarr.Array | zarr.Group | None:
    """Return the zarr array or group at an address, None if there is none.

    Raises
    ------
    StackError
        If the address cannot be read.
    """
    try:
        return open_node(address)
    except StackError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def _open_multiscale(
    group: zarr.Group, place: Place, attributes: dict[str, Any], select: Mapping[str, int]
) -> Stack:
    try:
        first = multiscale.ome_part(attributes)["multiscales"][0]["datasets"][0]["path"]
        array = _array_in(group, str(first))
        image = multiscale.parse(attributes, array.ndim)
    except StackError:
        raise
    except Exception as error:  # metadata written by other programs can be wrong in any way
        raise StackError(
            f"{shown(place)} is an OME-Zarr whose metadata cannot be used "
            f"({type(error).__name__}: {error})."
        ) from error
    kind = f"OME-Zarr {image.version}"
    openers = [
        _level_opener(group, place, dataset.path, image.axes, kind, select)
        for dataset in image.datasets[1:]
    ]
    stack = _stack_of(
        array, place, image.axes, kind, image.voxel_size, select, openers, image.datasets[0].path
    )
    stack.offset = multiscale.offset_of(image)
    stack.details["levels"] = len(image.datasets)
    made = group.attrs.get("sff_napari")
    if isinstance(made, dict):
        stack.details["written by"] = made.get("program", "sff-napari")
        changed = [str(record.get("slice")) for record in made.get("slices", [])]
        stack.details["changed slices"] = ", ".join(changed)
    return stack


def _level_opener(
    group: zarr.Group,
    place: Place,
    path: str,
    axes: str,
    kind: str,
    select: Mapping[str, int],
) -> Callable[[], Stack]:
    return lambda: _stack_of(_array_in(group, path), place, axes, kind, None, select, (), path)


def _array_in(group: zarr.Group, path: str) -> zarr.Array:
    node = group[path]
    if not isinstance(node, zarr.Array):
        raise TypeError(f"{path} is no array")
    return node


def _size_of_plain(array: zarr.Array) -> VoxelSize | None:
    """Return the voxel size that plain zarr arrays often carry, e.g. CREMI's ``resolution``."""
    values = array.attrs.get("resolution")
    if isinstance(values, list) and len(values) == 3:
        units = array.attrs.get("units")
        named: list[str | None] = list(units) if isinstance(units, list) else ["nm"] * 3
        if len(named) == 3 and all(isinstance(value, int | float) for value in values):
            return voxel_size(values, named)
    return None


def _offset_of_plain(array: zarr.Array, size: VoxelSize | None) -> tuple[float, float, float]:
    """Return CREMI's ``offset``, which is in the units of the resolution, in voxels."""
    values = array.attrs.get("offset")
    if size is None or not isinstance(values, list) or len(values) != 3:
        return 0.0, 0.0, 0.0
    if not all(isinstance(value, int | float) for value in values):
        return 0.0, 0.0, 0.0
    z, y, x = (float(value) / step for value, step in zip(values, size, strict=True))
    return z, y, x


def _axes_of_plain(array: zarr.Array, place: Place) -> str:
    dimensions = array.ndim
    if not 2 <= dimensions <= 5:
        raise StackError(f"{shown(place)} has {dimensions} dimensions: a stack has (Z, Y, X).")
    named = getattr(array.metadata, "dimension_names", None)
    if named and all(named) and len({str(n).lower()[:1] for n in named}) == dimensions:
        letters = "".join(str(name).lower()[0] for name in named)
        if "y" in letters and "x" in letters:
            return letters
    return "tczyx"[-dimensions:]


def fill_value_of(array: zarr.Array) -> float | None:
    """Return what an array declares for places without data; None where that says nothing."""
    for name in ("_FillValue", "nodata", "missing_value"):
        value = array.attrs.get(name)
        if isinstance(value, int | float):
            return float(value)
    try:
        value = float(array.fill_value)
    except (TypeError, ValueError):
        return None
    # Zero is only what zarr fills in where nobody chose anything.
    return value if np.isfinite(value) and value != 0 else None


def _zipped(place: Place) -> str:
    return "zipped " if isinstance(place, Path) and place.is_file() else ""


def _files_of(array: zarr.Array) -> ChunkFiles | None:
    """Return the files of the chunks of an array on this machine."""
    store = array.store
    if not isinstance(store, FilesStore):
        return None
    return ChunkFiles(
        store.root / array.path if array.path else store.root,
        tuple(array.shape),
        tuple(array.shards or array.chunks),
        lambda place: str(array.metadata.encode_chunk_key(place)),
    )


def _stack_of(
    array: zarr.Array,
    place: Place,
    axes: str | None,
    kind: str,
    size: VoxelSize | None,
    select: Mapping[str, int],
    openers: list[Callable[[], Stack]] | tuple[()] = (),
    inside: str = "",
) -> Stack:
    """Return the stack in an array; `inside` is its path within the group at `place`."""
    check_codecs(array, shown(place))
    axes = axes or _axes_of_plain(array, place)
    chosen = choose_axes(axes, array.shape, select, shown(place))
    about: dict[str, Any] = {
        "name": name_of(place),
        # What is zipped cannot be copied chunk by chunk: it counts as a stack of another kind.
        "kind": f"{_zipped(place)}{kind} (format {array.metadata.zarr_format})",
        "path": place if isinstance(place, Path) else None,
        "location": str(place),
        "axes": axes,
        "voxel_size": size,
        "details": {**storage_facts(array), **chosen.details},
        "fill_value": fill_value_of(array),
    }
    files = _files_of(array)
    more: dict[str, Any] = {
        "levels": lambda: coarser_levels(chosen.shape, openers),
        "absent": None if files is None else lambda z: files.absent_parts(chosen, z),
    }
    if axes in ("zyx", "yx") and not select:
        return Stack.from_array(array, **more, **about)

    def load(index: tuple[Any, ...]) -> NDArray[Any]:
        return np.asarray(array[index])

    return Stack(
        Readers(
            chosen.reader(load),
            region=chosen.region_reader(load),
            block=chosen.block_reader(
                load, 1 if chosen.slices is None else int(array.chunks[chosen.slices])
            ),
            **more,
        ),
        StackInfo(chosen.shape, array.dtype, chunks=tuple(array.chunks), **about),
    )
