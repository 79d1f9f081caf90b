"""Divide a zarr array as it is stored: into chunks or, where there are shards, shards."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr import AsyncArray
from zarr.buffer import cpu
from zarr.storage import MemoryStore, StorePath

from sff_napari.errors import StackError
from sff_napari.stacks.zarr_private import ArrayConfig
from sff_napari.volumes.plan.keys import joined

ChunkIndex = tuple[int, ...]
"""Position of a chunk in the grid of chunks, one number an axis."""
Box = tuple[slice, ...]
"""Pixels, one slice an axis."""

METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")


class ChunkGrid:
    """The grid of chunks of one array; a chunk is what is stored under one key.

    Parameters
    ----------
    path : str
        Of the array in its store.
    documents : mapping of str to bytes
        The array's own metadata files by name.

    Raises
    ------
    StackError
        If the metadata cannot be used.
    """

    def __init__(self, path: str, documents: Mapping[str, bytes]) -> None:
        self.path = path
        try:
            array = zarr.open_array(
                MemoryStore({name: _buffer(data) for name, data in documents.items()}), mode="r"
            )
        except Exception as error:  # damaged metadata makes the parser raise anything
            raise StackError(f"The metadata of the array {path!r} cannot be used.") from error
        self.array = array
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.size: tuple[int, ...] = tuple(array.shards or array.chunks)
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)
        self._metadata = array.metadata
        self._sharded = array.shards is not None

    def name(self, place: ChunkIndex) -> str:
        """Return the key of a chunk, below the array."""
        return str(self._metadata.encode_chunk_key(place))

    def key(self, place: ChunkIndex) -> str:
        """Return the key of a chunk, in the store of the array."""
        return joined(self.path, self.name(place))

    def box(self, place: ChunkIndex) -> Box:
        """Return the pixels of a chunk."""
        return tuple(
            slice(i * size, min((i + 1) * size, length))
            for i, size, length in zip(place, self.size, self.shape, strict=True)
        )

    @property
    def grid(self) -> tuple[int, ...]:
        """How many chunks there are along each axis."""
        return tuple(-(-n // size) for n, size in zip(self.shape, self.size, strict=True))

    def touching(self, box: Box) -> Iterator[ChunkIndex]:
        """Yield the chunks that hold some of the pixels of a box, which lies in the array."""
        ranges = [
            range(part.start // size, (part.stop - 1) // size + 1)
            for part, size in zip(box, self.size, strict=True)
        ]
        return itertools.product(*ranges)

    def decode(self, place: ChunkIndex, data: bytes | None) -> NDArray[Any]:
        """Return the pixels of a chunk, a new array in the native byte order.

        Parameters
        ----------
        place : tuple of int
            The chunk.
        data : bytes or None
            What is stored; the fill value without.

        Raises
        ------
        StackError
            If the bytes cannot be decoded.
        """
        content = {} if data is None else {self.name(place): _buffer(data)}
        try:
            values = np.asarray(self._with(content)[self.box(place)])
        except Exception as error:  # codecs raise what they like
            raise StackError(
                f"The chunk {self.key(place)} is damaged and cannot be decoded."
            ) from error
        return np.array(values, dtype=self.dtype.newbyteorder("="))

    def encode(self, place: ChunkIndex, values: NDArray[Any]) -> bytes:
        """Return what is to be stored for the pixels of a chunk."""
        # An empty shard part stays left out, as in the original; a chunk is always written.
        for empty in (not self._sharded, True):
            content: dict[str, Any] = {}
            self._with(content, empty)[self.box(place)] = values
            if self.name(place) in content:
                return bytes(content[self.name(place)].to_bytes())
        raise StackError(f"The chunk {self.key(place)} could not be encoded.")

    def _with(self, content: dict[str, Any], empty: bool = False) -> zarr.Array:
        _single_threaded()
        store = MemoryStore(content)
        config = ArrayConfig(order="C", write_empty_chunks=empty)
        return zarr.Array(
            AsyncArray(metadata=self._metadata, store_path=StorePath(store), config=config)
        )


def _buffer(data: bytes) -> Any:
    return cpu.Buffer.from_bytes(data)


def _single_threaded() -> None:
    """Make Blosc write the same bytes every time: its threads store blocks as they finish."""
    from numcodecs import blosc

    blosc.use_threads = False
