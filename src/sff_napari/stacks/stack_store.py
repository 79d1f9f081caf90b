"""Show a stack of another kind as the zarr that an overlay changes, chunk by chunk."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    SuffixByteRequest,
)
from zarr.buffer import cpu, default_buffer_prototype
from zarr.codecs import BytesCodec
from zarr.storage import MemoryStore

from sff_napari.errors import StackError
from sff_napari.stacks.layered_store import ReadOnlyStore, content_of
from sff_napari.stacks.ome import image_metadata
from sff_napari.stacks.planes import Planes
from sff_napari.stacks.stack import Stack

SIDE = 512
"""Side of the chunks, px: a fold changes few pixels of larger ones."""


def zarr_over(stack: Stack, count: int | None = None) -> dict[str, bytes]:
    """Return the metadata files of the OME-Zarr that an overlay over a stack is.

    It has the levels of the stack.  Chunks are one slice deep and not
    compressed, so that what lies below a changed one has the same bytes with
    every version of every library.

    Parameters
    ----------
    stack : Stack
        Of any kind.
    count : int, optional
        How many of its levels, the finest first.
    """
    store = MemoryStore()
    found = [stack, *(level.stack for level in stack.levels)][:count]
    factors = [(1.0, 1.0), *((level.rows, level.columns) for level in stack.levels)][:count]
    ome = image_metadata(factors, stack.voxel_size, stack.name, offset=stack.offset)
    zarr.create_group(store, zarr_format=3, attributes={"ome": ome})
    for number, level in enumerate(found):
        depth, height, width = level.shape
        zarr.create_array(
            store,
            name=str(number),
            shape=(depth, height, width),
            chunks=(1, min(SIDE, height), min(SIDE, width)),
            dtype=level.dtype,
            fill_value=0,
            compressors=None,
            dimension_names=["z", "y", "x"],
            zarr_format=3,
        )
    return content_of(store)


@dataclass(frozen=True)
class _Level:
    planes: Planes
    chunks: tuple[int, ...]
    grid: tuple[int, ...]
    dtype: np.dtype[Any]


class StackStore(ReadOnlyStore):
    """The arrays of the zarr that `zarr_over` describes, read only.

    Parameters
    ----------
    stack : Stack
        The stack; closed with the store.
    arrays : mapping of str to bytes
        ``zarr.json`` of the array of each level by its path, the finest first.
    called : str
        What error messages call the overlay.

    Raises
    ------
    StackError
        If the overlay was made for another stack.
    """

    def __init__(self, stack: Stack, arrays: Mapping[str, bytes], called: str) -> None:
        super().__init__(read_only=True)
        self.stack = stack
        self._is_open = True
        self._levels: dict[str, _Level] = {}
        self._documents = {f"{path}/zarr.json": data for path, data in arrays.items()}
        for number, (path, document) in enumerate(arrays.items()):
            self._levels[path] = self._level(number, document, called)

    def _level(self, number: int, document: bytes, called: str) -> _Level:
        try:
            array = zarr.open_array(MemoryStore({"zarr.json": cpu.Buffer.from_bytes(document)}))
            codecs = array.metadata.codecs  # type: ignore[union-attr]
            is_uncompressed = len(codecs) == 1 and isinstance(codecs[0], BytesCodec)
            named = array.metadata.encode_chunk_key((0, 1, 2)) == "c/0/1/2"
            if not (is_uncompressed and named and array.chunks[0] == 1):
                raise ValueError("it was stored in another way")
            dtype = np.dtype(array.dtype).newbyteorder("<")
        except Exception as error:  # damaged metadata makes the parser raise anything
            raise StackError(
                f"{called} is a damaged overlay: the metadata of level {number} cannot be used."
            ) from error
        found = [self.stack, *(level.stack for level in (self.stack.levels if number else ()))]
        shape, wanted_shape = tuple(array.shape), None
        if number < len(found):
            wanted_shape = found[number].shape
            if shape == wanted_shape and dtype == found[number].dtype.newbyteorder("<"):
                return _Level(Planes(found[number]), array.chunks, array.cdata_shape, dtype)
        raise StackError(
            f"{called} holds changes to a stack with {shape} pixels of {dtype.name}, but "
            f"{self.stack.name} has {wanted_shape or 'no such level'} of {self.stack.dtype.name}: "
            "name the right one with --source."
        )

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __str__(self) -> str:
        return str(self.stack.location or self.stack.name)

    def with_read_only(self, read_only: bool = False) -> StackStore:
        """Return the same store; it cannot be written to."""
        return self

    def close(self) -> None:
        """Close the stack."""
        self.stack.close()
        super().close()

    @property
    def finest(self) -> Planes:
        """The slices of the finest level."""
        return next(iter(self._levels.values())).planes

    def _place(self, key: str) -> tuple[_Level, tuple[int, ...]] | None:
        """Return level and place of a chunk; None if a key names none."""
        path, _, rest = key.partition("/c/")
        parts = rest.split("/")
        if path not in self._levels or not all(p.isdecimal() and len(p) < 10 for p in parts):
            return None
        level, place = self._levels[path], tuple(map(int, parts))
        if len(place) != 3 or any(i >= n for i, n in zip(place, level.grid, strict=True)):
            return None
        return level, place

    def chunk(self, key: str) -> bytes | None:
        """Return the bytes of a chunk; None if there is none of that name.

        Raises
        ------
        StackError
            If the stack cannot be read there.
        """
        found = self._place(key)
        if found is None:
            return None
        level, (z, i, j) = found
        _, height, width = level.chunks
        values = np.zeros((height, width), dtype=level.dtype)
        rows, columns = (
            slice(at * side, min((at + 1) * side, length))
            for at, side, length in zip(
                (i, j), (height, width), level.planes.stack.shape[1:], strict=True
            )
        )
        part = (slice(rows.stop - rows.start), slice(columns.stop - columns.start))
        values[part] = level.planes.read(z, rows, columns)
        return values.tobytes()

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return the bytes of a key, or a part of them."""
        data = self._documents.get(key)
        if data is None and self._place(key) is not None:
            data = await asyncio.to_thread(self.chunk, key)
        if data is None:
            return None
        match byte_range:
            case RangeByteRequest(start, end):
                data = data[start:end]
            case OffsetByteRequest(offset):
                data = data[offset:]
            case SuffixByteRequest(suffix):
                data = data[max(0, len(data) - suffix) :]
        return (prototype or default_buffer_prototype()).buffer.from_bytes(data)

    async def exists(self, key: str) -> bool:
        """Tell whether there is such a key."""
        return key in self._documents or self._place(key) is not None

    async def list(self) -> AsyncIterator[str]:
        """Yield every key."""
        for path, level in self._levels.items():
            yield f"{path}/zarr.json"
            for place in itertools.product(*map(range, level.grid)):
                yield "/".join([path, "c", *map(str, place)])

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield every key that starts with `prefix`."""
        async for key in self.list():
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names directly below `prefix`."""
        parts = [part for part in prefix.split("/") if part]
        if not parts:
            for path in self._levels:
                yield path
        elif parts[0] in self._levels and len(parts) == 1:
            yield "zarr.json"
            yield "c"
        elif parts[0] in self._levels and parts[1] == "c" and len(parts) < 5:
            for number in range(self._levels[parts[0]].grid[len(parts) - 2]):
                yield str(number)
