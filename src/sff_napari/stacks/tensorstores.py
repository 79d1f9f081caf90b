"""Read arrays through tensorstore: formats that zarr does not read, here or at an address."""

from __future__ import annotations

import gzip
import json
import os
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import StackError
from sff_napari.stacks.axes import choose_axes
from sff_napari.stacks.chunk_files import COMPRESSED, ChunkFiles
from sff_napari.stacks.description import Readers, StackInfo, VoxelSize
from sff_napari.stacks.pyramids import coarser_levels
from sff_napari.stacks.stack import Stack
from sff_napari.stacks.uris import Place, below, explain_remote, name_of, shown

_CACHE = 256 * 2**20
"""Chunks kept in memory, in bytes: slices that follow each other share them."""
_MAX_JSON = 16 * 2**20
_RETRIES = {"max_retries": 3, "initial_delay": "250ms", "max_delay": "2s"}


def need_tensorstore(place: Place, kind: str) -> Any:
    """Return the module `tensorstore`.

    Raises
    ------
    StackError
        If it is not installed.
    """
    try:
        import tensorstore
    except ImportError as error:
        raise StackError(
            f"Reading {shown(place)} ({kind}) needs tensorstore: install it with "
            '`pip install "sff-napari[formats]"`.'
        ) from error
    return tensorstore


def _context(tensorstore: Any) -> Any:
    limits: dict[str, Any] = {"cache_pool": {"total_bytes_limit": _CACHE}}
    for protocol in ("http", "gcs", "s3"):
        limits[f"{protocol}_request_retries"] = _RETRIES
    return tensorstore.Context(limits)


def _kvstore(place: Place) -> dict[str, Any] | str:
    """Return how tensorstore names a folder."""
    if isinstance(place, Path):
        return {"driver": "file", "path": f"{place.absolute().as_posix()}/"}
    protocol, _, rest = place.partition("://")
    if protocol == "s3" and os.environ.get("FSSPEC_S3_ANON", "").lower() in ("1", "true", "yes"):
        bucket, _, path = rest.partition("/")
        spec: dict[str, Any] = {"driver": "s3", "bucket": bucket, "path": f"{path}/"}
        return {**spec, "aws_credentials": {"type": "anonymous"}}
    return f"{'gs' if protocol == 'gcs' else protocol}://{rest}/"


def read_json(place: Place, name: str, kind: str) -> dict[str, Any] | None:
    """Return a small JSON file in the folder at `place`, or None if there is none.

    Parameters
    ----------
    place : Path or str
        The folder.
    name : str
        Of the file in it.
    kind : str
        What the folder seems to be, for error messages.

    Raises
    ------
    StackError
        If it cannot be read or is not a JSON object.
    """
    if isinstance(place, Path):
        file = place / name
        if not file.is_file():
            return None
        if file.stat().st_size > _MAX_JSON:
            raise StackError(f"{file} has more than {_MAX_JSON >> 20} MiB: it is no {name}.")
        text = file.read_bytes()
    else:
        tensorstore = need_tensorstore(place, kind)
        try:
            store = tensorstore.KvStore.open(
                _kvstore(place), context=_context(tensorstore)
            ).result()
            found = store.read(name).result()
        except ValueError as error:
            raise explain_remote(error, place) from error
        if found.state != "value":
            return None
        text = found.value
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StackError(f"{name} in {shown(place)} is damaged: it is not JSON.") from error
    if not isinstance(value, dict):
        raise StackError(f"{name} in {shown(place)} is damaged: it holds no JSON object.")
    return value


class Box:
    """An array with the axes (x, y, z, ...) as a stack reads it.

    Parameters
    ----------
    place : Path or str
        Of the folder.
    driver : str
        Of tensorstore.
    inside : str
        Path within the folder.
    settings : mapping, optional
        Further members of the specification.

    Raises
    ------
    StackError
        If it cannot be opened.
    """

    def __init__(
        self,
        place: Place,
        driver: str,
        inside: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        tensorstore = need_tensorstore(place, driver)
        folder = below(place, inside) if inside else place
        self._place = place
        spec = {"driver": driver, "kvstore": _kvstore(folder), **(settings or {})}
        try:
            opened = tensorstore.open(
                spec, read=True, open=True, context=_context(tensorstore)
            ).result()
        except ValueError as error:
            raise self._explained(error) from error
        origin = tuple(int(first) for first in opened.domain.inclusive_min)
        self.origin = origin
        self._array = opened[tensorstore.d[:].translate_to[0]]
        self.files: ChunkFiles | None = None
        self._open_copy: Callable[[], Any] | None = None
        self._copy: _Copy | None = None
        self._lock = threading.Lock()
        self.shape: tuple[int, ...] = tuple(int(n) for n in opened.shape)
        self.dtype: np.dtype[Any] = np.dtype(opened.dtype.numpy_dtype)
        self.chunks: tuple[int, ...] = tuple(
            int(n) for n in opened.chunk_layout.read_chunk.shape or self.shape
        )
        write = opened.chunk_layout.write_chunk.shape
        self.shards: tuple[int, ...] | None = (
            tuple(int(n) for n in write) if write and tuple(write) != self.chunks else None
        )

    def watch(self, files: ChunkFiles, open_in: Callable[[Any, Any], Any]) -> None:
        """Look at the files of the chunks before they are read, on this machine.

        Parameters
        ----------
        files : ChunkFiles
            The files.
        open_in : callable
            ``open_in(tensorstore, context)`` opens the array anew in the
            memory of a context, for chunks whose files are compressed once
            more.
        """
        self.files = files
        self._open_copy = lambda: _Copy(need_tensorstore(self._place, ""), open_in)

    def __getitem__(self, index: Sequence[int | slice]) -> NDArray[Any]:
        if self.files is not None:
            paths = {place: self.files.find(place) for place in self.files.places(tuple(index))}
            packed = [path for path in paths.values() if path and path.suffix == COMPRESSED]
            if packed and self._open_copy is not None:
                with self._lock:
                    self._copy = self._copy or self._open_copy()
                    return self._read_copy(self._copy, paths, tuple(index))
        try:
            found: NDArray[Any] = self._array[tuple(index)].read().result()
        except ValueError as error:
            raise self._explained(error) from error
        return found

    def _read_copy(
        self, copy: _Copy, found: Mapping[tuple[int, ...], Path | None], index: tuple[Any, ...]
    ) -> NDArray[Any]:
        assert self.files is not None
        chunks: dict[str, bytes] = {}
        for place, path in found.items():
            if path is None:
                continue
            try:
                data = path.read_bytes()
                chunks[self.files.name(place)] = (
                    gzip.decompress(data) if path.suffix == COMPRESSED else data
                )
            except (OSError, EOFError, zlib.error) as error:
                raise StackError(f"{path} cannot be read: it is damaged ({error}).") from error
        try:
            return copy.read(chunks, index)
        except ValueError as error:
            raise self._explained(error) from error

    def _explained(self, error: ValueError) -> StackError:
        # After the first bracket stand the specification and places in tensorstore's own source.
        reason = ValueError(str(error).partition(" [")[0])
        if isinstance(self._place, Path):
            return StackError(f"{self._place} cannot be read: {str(reason)[:300].rstrip('.')}.")
        return explain_remote(reason, self._place)


class _Copy:
    """The array in memory; it holds the chunks of one read."""

    def __init__(self, tensorstore: Any, open_in: Callable[[Any, Any], Any]) -> None:
        context = tensorstore.Context({"cache_pool": {"total_bytes_limit": 0}})
        self._store = tensorstore.KvStore.open({"driver": "memory"}, context=context).result()
        opened, self._prefix = open_in(tensorstore, context)
        self._array = opened[tensorstore.d[:].translate_to[0]]

    def read(self, chunks: Mapping[str, bytes], index: tuple[Any, ...]) -> NDArray[Any]:
        for name, data in chunks.items():
            self._store.write(self._prefix + name, data).result()
        try:
            found: NDArray[Any] = self._array[index].read().result()
        finally:
            for name in chunks:
                self._store.write(self._prefix + name, None).result()
        return found


def stack_of_box(
    box: Box,
    place: Place,
    kind: str,
    axes: str,
    select: Mapping[str, int],
    size: VoxelSize | None,
    details: Mapping[str, Any],
    openers: Sequence[Callable[[], Stack]],
    offset: tuple[float, float, float] = (0, 0, 0),
) -> Stack:
    """Return the stack that reads a box.

    Parameters
    ----------
    box : Box
        The array.
    place : Path or str
        What the stack is opened again by.
    kind, axes, details
        See `Stack`.
    select : mapping of str to int
        Index on each further axis.
    size : (z, y, x) or None
        Of a voxel in nm.
    openers : sequence of callable
        Each opens a coarser level.
    offset : (z, y, x)
        Where the first voxel lies, in voxels.

    Raises
    ------
    StackError
        If it is no stack: no x or y, or an unsupported dtype.
    """
    chosen = choose_axes(axes, box.shape, select, shown(place))
    known = {key: value for key, value in details.items() if value is not None}
    files = box.files
    return Stack(
        Readers(
            chosen.reader(box.__getitem__),
            region=chosen.region_reader(box.__getitem__),
            block=chosen.block_reader(
                box.__getitem__, 1 if chosen.slices is None else box.chunks[chosen.slices]
            ),
            levels=lambda: coarser_levels(chosen.shape, openers),
            absent=None if files is None else lambda z: files.absent_parts(chosen, z),
        ),
        StackInfo(
            chosen.shape,
            box.dtype,
            kind=kind,
            name=name_of(place),
            path=place if isinstance(place, Path) else None,
            location=str(place),
            axes=axes,
            voxel_size=size,
            offset=offset,
            chunks=box.chunks,
            details={**known, **chosen.details},
        ),
    )
