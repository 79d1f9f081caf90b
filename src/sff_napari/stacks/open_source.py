"""Open whatever a path or an address names, but overlays."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np

from sff_napari.errors import StackError
from sff_napari.io_atomic import explain
from sff_napari.stacks import hdf5, images, mrc, n5, precomputed, tiff, zarrs
from sff_napari.stacks.axes import choose_axes
from sff_napari.stacks.description import Readers, StackInfo
from sff_napari.stacks.stack import Stack
from sff_napari.stacks.uris import Place, checked_address, is_address, shown

_PREFIXES = ("precomputed", "n5", "zarr", "zarr2", "zarr3")
"""How Neuroglancer writes what lies at an address: ``precomputed://gs://bucket/volume``."""


def open_source(path: str | os.PathLike[str], select: Mapping[str, int] | None = None) -> Stack:
    """Open a stack that stands on its own; parameters and errors as in `open_stack`.

    An overlay is opened as the zarr that it is, without the volume below it.
    """
    stack = _open(path, select)
    stack.select = dict(select or {})
    return stack


def local_path(path: str | os.PathLike[str]) -> Path | None:
    """Return the path on this machine that a path or a ``file://`` address names, else None."""
    if not is_address(path):
        return Path(path).expanduser()
    address = os.fspath(path)
    prefix, _, rest = address.partition("://")
    if prefix.lower() in _PREFIXES:
        address = rest
    if address.lower().startswith("file://"):
        return Path(url2pathname(urlsplit(address).path)).expanduser()
    return None


def _open(path: str | os.PathLike[str], select: Mapping[str, int] | None) -> Stack:
    if is_address(path):
        return _open_address(os.fspath(path), select)
    place = Path(path).expanduser()
    try:
        exists, is_folder = place.exists(), place.is_dir()
    except OSError as error:
        raise explain(error, place, "read") from error
    if not exists:
        within = hdf5.split_path(place)
        if within is not None:
            return hdf5.open_hdf5(*within, select)
        raise StackError(f"There is nothing at {place}: check the path.")
    if is_folder:
        return _open_folder(place, select)
    return _open_file(place, select)


def _open_folder(place: Path, select: Mapping[str, int] | None) -> Stack:
    if zarrs.is_zarr(place):
        return zarrs.open_zarr(place, select)
    if place.suffix.lower() == ".zarr":
        raise StackError(f"{place} is a damaged zarr: it has no metadata.")
    try:
        found = _open_other(place, select)
    except OSError as error:
        raise explain(error, place, "read") from error
    return images.open_folder(place, select) if found is None else found


def _open_other(place: Place, select: Mapping[str, int] | None) -> Stack | None:
    """Return the precomputed volume or N5 at a place, None if it is neither."""
    info = precomputed.info_of(place)
    if info is not None:
        return precomputed.open_precomputed(place, info, select)
    attributes = n5.attributes_of(place)
    return None if attributes is None else n5.open_n5(place, attributes, select)


def _open_file(place: Path, select: Mapping[str, int] | None) -> Stack:
    suffix = place.suffix.lower()
    try:
        with place.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise explain(error, place, "read") from error
    if place.stat().st_size == 0:
        raise StackError(f"{place} is an empty file.")
    if suffix in tiff.SUFFIXES:
        return tiff.open_tiff(place, select)
    if suffix in images.SUFFIXES:
        return images.open_image(place, select)
    if suffix in hdf5.SUFFIXES:
        return hdf5.open_hdf5(place, "", select)
    if suffix in mrc.SUFFIXES:
        return mrc.open_mrc(place, select)
    if suffix == ".zip":
        return zarrs.open_zarr(place, select)
    if suffix == ".npy":
        return _open_npy(place, select)
    raise StackError(
        f"{place} is no stack that can be read: use TIFF, zarr, N5, precomputed, "
        "HDF5, MRC, a folder of images, or .npy."
    )


def _open_address(address: str, select: Mapping[str, int] | None) -> Stack:
    prefix, _, rest = address.partition("://")
    named = prefix.lower() in _PREFIXES
    if named:
        address = rest
        if not is_address(address):
            raise StackError(f"{prefix}:// must be followed by an address such as https://...")
    if address.lower().startswith("file://"):
        return open_source(url2pathname(urlsplit(address).path), select)
    place = checked_address(address)
    if not named or prefix.lower().startswith("zarr"):
        node = zarrs.find_node(place)
        if node is not None:
            return zarrs.open_zarr(place, select, node)
        if named:
            raise StackError(f"There is no zarr at {shown(place)}: check the address.")
    found = _open_other(place, select)
    if found is None:
        raise StackError(
            f"There is no zarr, N5 or precomputed volume at {shown(place)}: check the address, "
            "or download the stack if it is of another kind."
        )
    return found


def _open_npy(path: Path, select: Mapping[str, int] | None) -> Stack:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise StackError(f"{path} is not a NumPy array file, or it is truncated.") from error
    about: dict[str, Any] = {"name": path.stem, "kind": "NumPy file", "path": path}
    if array.ndim <= 3 and not select:
        return Stack.from_array(array, **about)
    if array.ndim > 5:
        raise StackError(f"{path} has {array.ndim} dimensions: a stack has (Z, Y, X).")
    axes = "tczyx"[-array.ndim :]
    chosen = choose_axes(axes, array.shape, select or {}, path)
    return Stack(
        Readers(chosen.reader(array.__getitem__), region=chosen.region_reader(array.__getitem__)),
        StackInfo(chosen.shape, array.dtype, axes=axes, details=chosen.details, **about),
    )
