"""Read slices and parts of slices out of NumPy, zarr and dask arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import InputError, SffError, StackError

ReadRegion = Callable[[int, slice, slice], NDArray[Any]]
"""``region(z, rows, columns)`` of `Stack`."""
ReadBlock = Callable[[slice, slice, slice], NDArray[Any]]
"""``block(slices, rows, columns)`` of `Stack`."""

_BLOCK_LIMIT = 512 * 2**20
"""Largest block of chunked slices kept in memory, in bytes."""


def region_reader(array: Any) -> ReadRegion:
    """Return a function that reads a part of a slice of an array (Z, Y, X) or (Y, X)."""
    if len(array.shape) == 2:
        return lambda z, rows, columns: _computed(array[rows, columns])
    return lambda z, rows, columns: _computed(array[z, rows, columns])


def block_reader(array: Any) -> ReadBlock | None:
    """Return a function that reads parts of several slices of an array at once.

    None where that is no quicker than one after another.
    """
    if _chunk_depth(array) == 1:
        return None
    return lambda slices, rows, columns: _computed(array[slices, rows, columns])


def slice_reader(array: Any) -> Callable[[int], NDArray[Any]]:
    """Return a function that reads a slice of an array (Z, Y, X) or (Y, X).

    It may keep the last chunks: one thread at a time calls it.
    """
    if len(array.shape) == 2:
        return lambda z: _computed(array[...])
    depth = _chunk_depth(array)
    size = int(np.prod(array.shape[1:])) * array.dtype.itemsize
    if depth > 1 and depth * size <= _BLOCK_LIMIT:
        return _BlockReader(array, depth)
    return lambda z: _computed(array[z])


class _BlockReader:
    """Reads an array stored in chunks several slices deep, each chunk once."""

    def __init__(self, array: Any, depth: int) -> None:
        self._array = array
        self._depth = depth
        self._first = -1
        self._block: NDArray[Any] | None = None

    def __call__(self, z: int) -> NDArray[Any]:
        first = z - z % self._depth
        if self._block is None or first != self._first:
            self._block = _computed(self._array[first : first + self._depth])
            self._first = first
        block: NDArray[Any] = self._block[z - first]
        return block


def _computed(array: Any) -> NDArray[Any]:
    if hasattr(array, "compute"):
        array = array.compute()
    return np.asarray(array)


def _chunk_depth(array: Any) -> int:
    """Return how many slices a chunk of `array` (Z, Y, X) holds; 1 when it has no chunks."""
    shards = getattr(array, "shards", None)
    chunks = plain_chunks(shards or getattr(array, "chunks", None))
    return int(chunks[0]) if chunks and len(chunks) == 3 else 1


def plain_chunks(chunks: Any) -> tuple[int, ...] | None:
    """Return the shape of the chunks of a zarr or dask array, None without chunks."""
    if not chunks:
        return None
    # dask lists the sizes of all chunks along each axis, zarr gives one number.
    return tuple(int(c[0]) if isinstance(c, tuple) else int(c) for c in chunks)


def part_bounds(part: slice, size: int) -> tuple[int, int]:
    """Return where a part of an axis of `size` begins and ends, in pixels.

    Raises
    ------
    InputError
        If it has a step or holds no pixel.
    """
    first, end, step = part.indices(size)
    if step != 1:
        raise InputError(f"A part of a slice is read without a step: {part} has one.")
    if end <= first:
        raise InputError(f"There is no pixel in {part} of an axis of {size} pixels.")
    return first, end


def checked(read: Callable[[], NDArray[Any]], name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return what `read` gives; every failure names the slice.

    Parameters
    ----------
    read : callable
        Reads.
    name : str
        What errors call it.
    shape : tuple of int
        What it must give.

    Raises
    ------
    StackError
        If it cannot be read or has another shape.
    """
    try:
        array = read()
    except (SffError, MemoryError):
        raise
    except Exception as error:  # decoders of damaged files raise whatever they like
        reason = str(error).strip().splitlines()
        raise StackError(
            f"{name} cannot be read: the file is damaged, truncated or no longer there "
            f"({(reason or [type(error).__name__])[0]})."
        ) from error
    if array.shape != shape:
        raise StackError(f"{name} has shape {array.shape}, but {shape} was expected.")
    return array
