"""Copy what is not changed: the stored bytes as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from sff_napari.errors import StackError
from sff_napari.io_atomic import explain
from sff_napari.stacks.layered_store import FilesStore
from sff_napari.volumes.run.errors import Stop, sentence
from sff_napari.volumes.run.folder import RECORDS
from sff_napari.volumes.run.restored_volume import RestoredVolume
from sff_napari.volumes.run.task import CopyKeys, ImportChunks
from sff_napari.volumes.write.raw_bytes import keys_of, raw

_FILES = 128
"""Files one task copies."""


def keys_below(volume: RestoredVolume) -> Iterator[str]:
    """Yield every key of the source but those of a record of its own."""
    source = volume.source
    if isinstance(source, FilesStore):
        for path in source.root.rglob("*"):
            key = path.relative_to(source.root).as_posix()
            # A link that leads nowhere is a chunk that cannot be read, not one that is absent.
            stored = path.is_file() or (path.is_symlink() and not path.exists())
            if not key.startswith(f"{RECORDS}/") and stored:
                yield key
    elif source is not None:
        keys: Iterable[str] = ()
        with suppress(Exception):  # web servers cannot list a folder, or list nothing
            keys = keys_of(source)
        # Then every chunk is asked for that there can be.
        keys = keys or _possible_keys(volume)
        yield from (key for key in keys if not key.startswith(f"{RECORDS}/"))


def _possible_keys(volume: RestoredVolume) -> Iterator[str]:
    for level in volume.layout.levels:
        everywhere = tuple(slice(0, n) for n in level.chunks.shape)
        yield from (level.chunks.key(place) for place in level.chunks.touching(everywhere))


def batches(items: Iterable[Any], size: int = _FILES) -> Iterator[list[Any]]:
    """Yield lists of up to `size` items."""
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def copy_keys(volume: RestoredVolume, task: CopyKeys) -> dict[str, Any]:
    """Copy the bytes of some keys, undecoded.

    Parameters
    ----------
    volume : RestoredVolume
        The volume.
    task : CopyKeys
        What to do.

    Returns
    -------
    dict
        ``bytes`` copied, and ``lost``: the keys that could not be read, each
        with a sentence.

    Raises
    ------
    Stop
        If they cannot be written.
    """
    done, lost = 0, {}
    for key in task.keys:
        try:
            if isinstance(volume.source, FilesStore):
                path = Path(volume.source.root) / key
                volume.folder.copy(key, path)
                done += path.stat().st_size
            elif volume.source is not None and not volume.folder.has(key):
                data = raw(volume.source, key)
                if data is not None:
                    volume.folder.put(key, data, lasting=False)
                    done += len(data)
        except Stop:
            raise
        except StackError as error:
            lost[key] = sentence(error)
        except OSError as error:
            lost[key] = sentence(explain(error, key, "read"))
    return {"bytes": done, "lost": lost}


def import_chunks(volume: RestoredVolume, task: ImportChunks) -> dict[str, Any]:
    """Write chunks of the finest level from a stack of another kind.

    Parameters
    ----------
    volume : RestoredVolume
        The volume.
    task : ImportChunks
        What to do.

    Returns
    -------
    dict
        As `copy_keys`.

    Raises
    ------
    Stop
        If they cannot be written.
    """
    done, lost = 0, {}
    chunks = volume.layout.finest.chunks
    for place in task.places:
        key = chunks.key(place)
        try:
            if not volume.folder.has(key):
                data = volume.bytes_before(0, place) or b""
                volume.folder.put(key, data, lasting=False)
            box = chunks.box(place)
            count = 1
            for part in box:
                count *= part.stop - part.start
            done += count * chunks.dtype.itemsize
        except Stop:
            raise
        except (StackError, MemoryError) as error:
            lost[key] = sentence(error)
    return {"bytes": done, "lost": lost}
