"""Open a stack: whatever a path or an address names, overlays with what lies below them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from sff_napari.stacks import overlay, zarrs
from sff_napari.stacks.open_source import local_path, open_source
from sff_napari.stacks.stack import Stack


def open_stack(path: str | os.PathLike[str], select: Mapping[str, int] | None = None) -> Stack:
    """Open a stack; its slices are read when they are asked for.

    Parameters
    ----------
    path : path-like or str
        A TIFF file (one page a slice), a folder of equally sized grey images,
        a zarr array or OME-Zarr group, an N5 dataset or group, a Neuroglancer
        precomputed volume, an HDF5 file (``FILE.h5`` or ``FILE.h5/volumes/raw``),
        an MRC file, a zipped zarr, a ``.npy`` file, or a single image; or the address
        ``http(s)://``, ``s3://`` or ``gs://`` of a zarr, N5 or precomputed volume.
    select : mapping of str to int, optional
        Index on axes other than those of the slices, e.g. ``{"c": 1}`` for the
        second channel; the first where not given.  ``{"t": -1}`` takes t for
        the axis that counts the slices.

    Returns
    -------
    Stack
        With shape (Z, Y, X); ``stack[z]`` reads one slice (Y, X).

    Raises
    ------
    StackError
        If there is nothing at `path`, or it cannot be used, and why.

    See Also
    --------
    sff_napari.stacks.write_stack : Writes one.
    sff_napari.stacks.Stack : What it returns.

    Examples
    --------
    >>> from sff_napari.stacks import open_stack
    >>> with open_stack("cells.zarr") as stack:
    ...     print(stack.shape, stack.dtype, stack.voxel_size, stack[2].shape)
    (14, 320, 320) uint8 (40.0, 4.0, 4.0) (320, 320)
    """
    place = local_path(path)
    is_zarr = False
    with suppress(OSError):  # what cannot be looked at is explained when it is opened
        is_zarr = place is not None and place.is_dir() and zarrs.is_zarr(place)
    layered = overlay.open_overlay(place, select) if place is not None and is_zarr else None
    stack = open_source(path, select) if layered is None else layered
    stack.select = dict(select or {})
    return stack
