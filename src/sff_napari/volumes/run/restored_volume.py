"""Open a volume that is being made: its plan on disk, what it was, and what it is now."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import Store

from sff_napari.arrays import is_constant
from sff_napari.errors import StackError
from sff_napari.no_data import find_no_data
from sff_napari.stacks import open_stack
from sff_napari.stacks.layered_store import MISSING, FilesStore, LayeredStore
from sff_napari.stacks.overlay import store_at, store_below
from sff_napari.stacks.planes import Planes
from sff_napari.stacks.stack_store import StackStore
from sff_napari.volumes.plan.keys import joined, safe_key
from sff_napari.volumes.run.folder import ORIGINALS, RECORDS, Folder
from sff_napari.volumes.write.chunk_grid import ChunkGrid, ChunkIndex
from sff_napari.volumes.write.layout import Layout, LayoutLevel, read_documents
from sff_napari.volumes.write.raw_bytes import raw

PLAN = f"{RECORDS}/plan.json"
FORMAT = "sff-napari-volume"
VERSION = 1
_MOST_NO_DATA = 0.95
"""A part of a neighbour that lacks more than this is not used."""
MAX_PLAN = 16 * 2**20
"""Larger than any plan: such a file is broken or hostile."""


@dataclass(frozen=True)
class PixelSource:
    """Where the pixels come from that a result does not hold itself.

    Parameters
    ----------
    kind : {"self", "zarr", "stack"}
        Nowhere else; a zarr store, whose bytes can be taken as they are; or
        anything else that `open_stack` reads.
    place : str
        Folder or address.
    select : mapping of str to int, optional
        Index on further axes.
    """

    kind: str
    place: str = ""
    select: tuple[tuple[str, int], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the origin as plain JSON types."""
        return {"kind": self.kind, "place": self.place, "select": dict(self.select)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> PixelSource:
        """Return the origin that `to_dict` described."""
        select = tuple((str(k), int(v)) for k, v in record["select"].items())
        return cls(str(record["kind"]), str(record["place"]), select)


SELF = PixelSource("self")


def read_plan(root: Path) -> dict[str, Any]:
    """Return the plan of a result.

    Raises
    ------
    StackError
        If there is none, or it is damaged or made by a newer version.
    """
    path = root / PLAN
    try:
        if path.stat().st_size > MAX_PLAN:
            raise StackError(f"{path} is too large for a plan: it is damaged.")
        plan = json.loads(path.read_text(encoding="utf-8"))
        _check_plan(plan, path)
    except FileNotFoundError as error:
        raise StackError(f"{root} is no volume that sff-napari restored.") from error
    except StackError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StackError(f"{path} is damaged: it cannot be used.") from error
    return dict(plan)


def _check_plan(plan: Any, path: Path) -> None:
    if plan["format"] != FORMAT:
        raise StackError(f"{path} is not the plan of a restored volume.")
    if int(plan["version"]) > VERSION:
        raise StackError(f"{path} was made by a newer version: update sff-napari.")
    sides = (*plan["labels"], plan["displacement"], plan.get("confidence", ""))
    for key in (*plan["arrays"], *sides, plan["group"]):
        if key:
            safe_key(key)
    if not isinstance(plan["axes"], str) or not isinstance(plan["overlay"], bool):
        raise StackError(f"{path} is damaged: it cannot be used.")
    for chosen in (plan["select"], plan["source"]["select"]):
        {str(name): int(at) for name, at in chosen.items()}
    # An overlay over a stack that is no zarr has its levels at its top.
    if plan["overlay"] and not (plan["zarr"] or all(path.isalnum() for path in plan["arrays"])):
        raise StackError(f"{path} is damaged: it cannot be used.")


class RestoredVolume:
    """A result and where its pixels come from; made anew in every process.

    Parameters
    ----------
    root : Path
        Folder of the result, perhaps unfinished.
    origin : PixelSource
        Where the pixels come from that it does not hold.
    """

    def __init__(self, root: Path, origin: PixelSource) -> None:
        self.root = root
        self.origin = origin
        self.plan = read_plan(root)
        self.folder = Folder(root)
        self.overlay: bool = self.plan["overlay"]
        self.imported: bool = not self.plan["zarr"] and not self.overlay
        self.layout = Layout.read(
            self.folder.get,
            self.plan["axes"],
            self.plan["select"],
            (self.plan["group"], self.plan["arrays"]),
        )
        self.labels = Layout.read(
            self.folder.get, self.plan["axes"], {}, ("", self.plan["labels"])
        ).levels
        self.displacement = self._cells(self.plan["displacement"])
        # Not every method can tell, and earlier versions did not store it.
        confidence = self.plan.get("confidence", "")
        self.confidence = self._cells(confidence) if confidence else None
        self.source: Store | None = None
        self._planes: Planes | None = None
        if origin.kind == "zarr":
            self.source = store_at(origin.place)
        elif origin.kind == "stack" and self.overlay:
            self.source = store_below(root, self.plan, origin.place)
            self._planes = self.source.finest if isinstance(self.source, StackStore) else None
        self._lock = threading.Lock()
        own_files = FilesStore(root)
        originals = FilesStore(root / ORIGINALS)
        below = [own_files] if self.source is None else [self.source]
        self._before = LayeredStore([originals, *below], marked=True)
        self._now = LayeredStore([own_files] if self.source is None else [own_files, self.source])

    def _cells(self, path: str) -> ChunkGrid:
        return ChunkGrid(path, read_documents(self.folder.get, path))

    @property
    def planes(self) -> Planes:
        """The slices of the origin."""
        with self._lock:
            if self._planes is None:
                self._planes = Planes(open_stack(self.origin.place, dict(self.origin.select)))
            return self._planes

    def level(self, number: int) -> LayoutLevel:
        """Return a level, 0 the finest."""
        return self.layout.levels[number]

    def before(self, chunks: ChunkGrid) -> zarr.Array:
        """Return an array as it was."""
        return zarr.open_array(self._before, path=chunks.path, mode="r")

    def now(self, chunks: ChunkGrid) -> zarr.Array:
        """Return an array as it is."""
        return zarr.open_array(self._now, path=chunks.path, mode="r")

    def labels_now(self, chunks: ChunkGrid) -> zarr.Array:
        """Return an array of the synthesised pixels as it is."""
        return zarr.open_array(FilesStore(self.root), path=chunks.path, mode="r")

    def read_before(self, z: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Return a part of slice `z` as it was, (rows, columns) in the native byte order."""
        if self.origin.kind == "stack":
            return self.planes.read(z, rows, columns)
        level = self.layout.finest
        array = self.before(level.chunks)
        read = level.axes.region_reader(lambda index: np.asarray(array[index]))
        return np.array(read(z, rows, columns), dtype=self.layout.dtype)

    def neighbours_before(
        self, neighbours: Mapping[str, int], rows: slice, columns: slice
    ) -> dict[str, NDArray[Any]]:
        """Return that part of the neighbours, slices by name, as they were.

        One that is not there, or shows nothing in this part, is left out.
        """
        found = {}
        for name, z in neighbours.items():
            image = self.read_before(z, rows, columns)
            if _shows_tissue(image):
                found[name] = image
        return found

    def bytes_before(self, number: int, place: ChunkIndex) -> bytes | None:
        """Return what a chunk of a level held; None if it was missing.

        Raises
        ------
        StackError
            If it cannot be read.
        """
        level = self.level(number)
        key = level.chunks.key(place)
        kept = self.folder.get(joined(ORIGINALS, key))
        if kept is not None:
            return kept
        if self.folder.has(joined(ORIGINALS, key + MISSING)):
            return None
        if self.source is not None:
            return raw(self.source, key)
        if self.origin.kind == "stack" and number == 0:
            return self._encoded(level, place)
        return self.folder.get(key)

    def _encoded(self, level: LayoutLevel, place: ChunkIndex) -> bytes:
        """Return what a chunk of an imported stack holds."""
        box = level.chunks.box(place)
        values = np.empty([part.stop - part.start for part in box], dtype=self.layout.dtype)
        for z in level.slices_of(place):
            found = level.plane_of(place, z)
            if found is not None:
                index, rows, columns = found
                values[index] = self.planes.read(z, rows, columns)
        return level.chunks.encode(place, values)

    def keep_before(self, key: str, data: bytes | None) -> None:
        """Keep what a key held before it changes; an overlay leaves that to its source."""
        if self.overlay or self.kept(key):
            return
        if data is None:
            self.folder.put(joined(ORIGINALS, key + MISSING), b"")
        else:
            self.folder.put(joined(ORIGINALS, key), data)

    def kept(self, key: str) -> bool:
        """Tell whether a key is known to have changed."""
        if self.overlay:
            return self.folder.has(key)
        original = joined(ORIGINALS, key)
        return self.folder.has(original) or self.folder.has(original + MISSING)

    def put_back(self, key: str, data: bytes | None) -> None:
        """Store what a key held before, and forget that it had changed."""
        if self.overlay or data is None:
            self.folder.remove(key)
        elif self.folder.get(key) != data:
            self.folder.put(key, data)
        original = joined(ORIGINALS, key)
        for name in (original, original + MISSING):
            if self.folder.has(name):
                self.folder.remove(name)


def _shows_tissue(image: NDArray[Any]) -> bool:
    if is_constant(image):
        return False
    mask = find_no_data(image)
    return mask is None or float(mask.mean()) < _MOST_NO_DATA


_jobs: dict[tuple[Any, ...], RestoredVolume] = {}
_opening = threading.Lock()


def open_restored_volume(root: Path, origin: PixelSource) -> RestoredVolume:
    """Return the job in a folder; opened once in each process."""
    try:
        stat = (root / PLAN).stat()
    except OSError as error:
        raise StackError(f"{root} is no volume that sff-napari restored.") from error
    key = (str(root), origin, stat.st_mtime_ns, stat.st_ino)
    with _opening:
        if key not in _jobs:
            _jobs.clear()
            _jobs[key] = RestoredVolume(root, origin)
        return _jobs[key]
