"""Opening whatever a path names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sff_napari.errors import StackError
from sff_napari.io_atomic import explain
from sff_napari.stacks import images, tiff, zarrs
from sff_napari.stacks.stack import Stack


def open_stack(path: str | os.PathLike[str], select: Mapping[str, int] | None = None) -> Stack:
    """Open a stack; its slices are read when they are asked for.

    Parameters
    ----------
    path : path-like
        A TIFF file (one page a slice), a folder of equally sized grey images,
        a zarr array or OME-Zarr group, a ``.npy`` file, or a single image.
    select : mapping of str to int, optional
        Index on axes other than z, y and x, e.g. ``{"c": 1}`` for the second
        channel of a TIFF or zarr; the first where not given.

    Returns
    -------
    Stack
        With shape (Z, Y, X); ``stack[z]`` reads one slice (Y, X).

    Raises
    ------
    StackError
        If there is nothing at `path`, or it cannot be used, and why.
    """
    if "://" in os.fspath(path):
        raise StackError(f"{path} is an address: download the stack, or mount it as a folder.")
    place = Path(path).expanduser()
    try:
        exists, is_folder = place.exists(), place.is_dir()
    except OSError as error:
        raise explain(error, place, "read") from error
    if not exists:
        raise StackError(f"There is nothing at {place}: check the path.")
    suffix = place.suffix.lower()
    if is_folder:
        if zarrs.is_zarr(place):
            return zarrs.open_zarr(place, select)
        if suffix == ".zarr":
            raise StackError(f"{place} is a damaged zarr: it has no metadata.")
        return images.open_folder(place)
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
        return images.open_image(place)
    if suffix == ".npy":
        return _open_npy(place)
    raise StackError(
        f"{place} is no stack that can be read: use TIFF, zarr, a folder of images, or .npy."
    )


def _open_npy(path: Path) -> Stack:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise StackError(f"{path} is not a NumPy array file, or it is truncated.") from error
    return Stack.from_array(array, name=path.stem, kind="NumPy file", path=path)
