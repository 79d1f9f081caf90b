"""Read those slices of a stack that are asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import StackError
from sff_napari.no_data import find_no_data
from sff_napari.stacks.array_readers import (
    block_reader,
    checked,
    part_bounds,
    plain_chunks,
    region_reader,
    slice_reader,
)
from sff_napari.stacks.chunk_files import Part
from sff_napari.stacks.description import Readers, StackInfo
from sff_napari.stacks.pyramids import Level
from sff_napari.stacks.slice_numbers import parse_slices
from sff_napari.stacks.uris import shown

SUPPORTED = ("uint8", "uint16", "float16", "float32", "float64")
_RUN = 4096
"""Pixels of a row worth reading together where rows are stored one after another."""


class Stack:
    """A stack of equally sized grey slices, read one by one.

    Use `open_stack` for files and `Stack.from_array` for arrays.

    Parameters
    ----------
    readers : Readers
        What reads it.
    about : StackInfo
        What it is; all of it can be asked of the stack by the same names.

    Raises
    ------
    StackError
        If the dtype is not supported or the stack has no pixels.

    See Also
    --------
    sff_napari.stacks.open_stack : Opens files.
    sff_napari.stacks.write_stack : Writes a stack.

    Examples
    --------
    >>> import numpy as np
    >>> from sff_napari.stacks import Stack
    >>> stack = Stack.from_array(np.zeros((3, 64, 80), np.uint8))
    >>> len(stack), stack.shape, stack[1].shape
    (3, (3, 64, 80), (64, 80))
    """

    def __init__(self, readers: Readers, about: StackInfo) -> None:
        depth, height, width = (int(n) for n in about.shape)
        self.shape: tuple[int, int, int] = (depth, height, width)
        # Readers may give big-endian values: everything after them sees the native order.
        self.dtype: np.dtype[Any] = np.dtype(about.dtype).newbyteorder("=")
        self.kind = about.kind
        self.name = about.name
        self.path = about.path
        self.axes = about.axes
        self.voxel_size = about.voxel_size
        self.chunks = about.chunks
        self.details = dict(about.details or {})
        self.fill_value = about.fill_value
        self.kept = dict(about.kept or {})
        self.offset = about.offset
        self.positions = about.positions
        self.slice_names = about.slice_names
        self.select: dict[str, int] = {}
        self.location = about.location
        if self.location is None and self.path is not None:
            self.location = str(self.path)
        self._readers = readers
        self._close = readers.close
        self._coarser: tuple[Level, ...] | None = None
        self._called = self.name if self.location is None else shown(self.location)
        self._lock = threading.Lock()
        if self.dtype.name not in SUPPORTED:
            raise StackError(
                f"{self._called} has dtype {self.dtype.name}, which is not supported: "
                f"convert it to one of {', '.join(SUPPORTED)}."
            )
        if min(self.shape) < 1:
            raise StackError(f"{self._called} has no pixels (shape {self.shape}).")

    @classmethod
    def from_array(
        cls,
        array: Any,
        *,
        name: str = "array",
        kind: str = "array",
        absent: Callable[[int], list[Part]] | None = None,
        levels: Callable[[], tuple[Level, ...]] | None = None,
        **about: Any,
    ) -> Stack:
        """Return a stack that reads from an array.

        Parameters
        ----------
        array : array_like, (Z, Y, X) or (Y, X)
            NumPy, dask or zarr array; dask and zarr are read slice by slice.
        name, kind : str
            See `StackInfo`.
        absent, levels : callable, optional
            See `Readers`.
        **about : any
            Further parameters of `StackInfo`: ``path``, ``axes``, ``voxel_size``, ...

        Raises
        ------
        StackError
            If it has another number of dimensions or an unsupported dtype.
        """
        if not hasattr(array, "shape") or not hasattr(array, "dtype"):
            array = np.asarray(array)
        dimensions = len(array.shape)
        if dimensions not in (2, 3):
            called = about.get("location") or about.get("path") or name
            raise StackError(
                f"{shown(called)} has {dimensions} dimensions: "
                "a stack has (Z, Y, X), a single slice (Y, X)."
            )
        about.setdefault("axes", "zyx"[-dimensions:])
        about.setdefault("chunks", plain_chunks(getattr(array, "chunks", None)))
        shape = (1,) * (3 - dimensions) + tuple(array.shape)
        readers = Readers(
            slice_reader(array),
            region=region_reader(array),
            block=block_reader(array) if dimensions == 3 else None,
            absent=absent,
            levels=levels,
        )
        return cls(readers, StackInfo(shape, array.dtype, kind=kind, name=name, **about))

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[z] for z in range(len(self)))

    def __getitem__(self, z: int) -> NDArray[Any]:
        """Return slice `z` as a new array (Y, X).

        Raises
        ------
        IndexError
            If there is no such slice.
        StackError
            If it cannot be read.
        """
        index = self._index(z)

        def read() -> NDArray[Any]:
            # Readers of whole slices share a file or keep the last block: one at a time.
            with self._lock:
                return np.array(self._readers.plane(index), dtype=self.dtype)

        return self._checked(read, index, self.shape[1:])

    def read(self, z: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Return a part of slice `z` as a new array; several threads may call it at once.

        From a zarr only the chunks are read that the part touches, from an
        uncompressed TIFF or a ``.npy`` file only its rows, from a compressed
        TIFF or an image file the slice.

        Parameters
        ----------
        z : int
            The slice.
        rows, columns : slice
            The part: ``slice(first, last + 1)`` in pixels, cut to the slice as
            NumPy does; without a step.

        Returns
        -------
        ndarray, (rows, columns)
            In the dtype of the stack.

        Raises
        ------
        IndexError
            If there is no such slice.
        InputError
            If a step is asked for, or no pixel.
        StackError
            If it cannot be read.
        """
        index = self._index(z)
        top, bottom = part_bounds(rows, self.shape[1])
        left, right = part_bounds(columns, self.shape[2])
        part = (slice(top, bottom), slice(left, right))
        region = self._readers.region
        if region is None:
            return np.array(self[index][part])
        return self._checked(
            lambda: np.array(region(index, *part), dtype=self.dtype),
            index,
            (bottom - top, right - left),
        )

    def read_block(self, first: int, last: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Return a part of the slices from `first` to `last`, both included, as a new array.

        Chunks that hold several of the slices are read once.

        Parameters
        ----------
        first, last : int
            The slices.
        rows, columns : slice
            As in `read`.

        Returns
        -------
        ndarray, (slices, rows, columns)
            In the dtype of the stack.

        Raises
        ------
        IndexError, InputError, StackError
            As `read`.
        """
        block = self._readers.block
        if block is None or first == last:
            return np.stack([self.read(z, rows, columns) for z in range(first, last + 1)])
        start, end = self._index(first), self._index(last)
        top, bottom = part_bounds(rows, self.shape[1])
        left, right = part_bounds(columns, self.shape[2])
        part = (slice(start, end + 1), slice(top, bottom), slice(left, right))
        return self._checked(
            lambda: np.array(block(*part), dtype=self.dtype),
            start,
            (end + 1 - start, bottom - top, right - left),
        )

    def absent_parts(self, z: int) -> list[Part]:
        """Return the parts of slice `z`, as rows and columns, that are not stored.

        They read as the fill value.  Only known of volumes on this machine
        that are stored in chunks.

        Raises
        ------
        IndexError
            If there is no such slice.
        StackError
            If a chunk is a link that leads nowhere.
        """
        index = self._index(z)
        return [] if self._readers.absent is None else self._readers.absent(index)

    def no_data(self, z: int, image: NDArray[Any] | None = None) -> NDArray[np.bool_] | None:
        """Return where slice `z` holds no data, (Y, X) bool; None where all of it does.

        Parameters
        ----------
        z : int
            The slice.
        image : ndarray, (Y, X), optional
            The slice, if it has been read already.
        """
        mask = find_no_data(self[z] if image is None else image, self.fill_value)
        for rows, columns in self.absent_parts(z):
            mask = np.zeros(self.shape[1:], np.bool_) if mask is None else mask
            mask[rows, columns] = True
        return mask

    def _index(self, z: int) -> int:
        index = int(z)
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.name} has {len(self)} slices: there is no slice {index}.")
        return index % len(self)

    def _checked(
        self, read: Callable[[], NDArray[Any]], index: int, shape: tuple[int, ...]
    ) -> NDArray[Any]:
        return checked(read, f"Slice {index} of {self._called}", shape)

    def __repr__(self) -> str:
        return f"<Stack {self.name}: {self.kind}, {self.shape}, {self.dtype}>"

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files that are held open."""
        if self._close is not None:
            self._close()

    def on_close(self, close: Callable[[], None]) -> None:
        """Have something else closed with the stack, in place of what was closed before."""
        self._close = close

    @property
    def levels(self) -> tuple[Level, ...]:
        """Coarser versions of the stack, the finer ones first; none where it has no pyramid."""
        if self._coarser is None:
            self._coarser = () if self._readers.levels is None else self._readers.levels()
        return self._coarser

    @property
    def reads_parts(self) -> bool:
        """Whether `read` reads little more than the part asked for."""
        return self._readers.region is not None

    @property
    def stored_depth(self) -> int:
        """How many slices a chunk holds."""
        if self._readers.block is None or self.chunks is None or len(self.chunks) != len(self.axes):
            return 1
        axis = str(self.details.get("slices on axis", "z"))
        return self.chunks[self.axes.index(axis)] if axis in self.axes else 1

    @property
    def tile(self) -> tuple[int, int]:
        """Rows and columns of a slice that are stored together, in pixels."""
        axes = self.axes
        if self.chunks is None or len(self.chunks) != len(axes):
            return (1, min(_RUN, self.shape[2])) if self.reads_parts else self.shape[1:]
        return self.chunks[axes.index("y")], self.chunks[axes.index("x")]

    def parse_slices(self, text: str | None) -> list[int]:
        """Return the slices that a text such as ``"3,7-9"`` names; all without a text.

        Raises
        ------
        InputError
            If the text cannot be read or names a slice that does not exist.
        """
        return parse_slices(text, len(self))
