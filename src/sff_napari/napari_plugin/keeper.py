"""Autosave: what a person does goes to disk as it happens, in a thread of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from sff_napari.errors import SffError, StackError
from sff_napari.napari_plugin.workers import sentence
from sff_napari.sessions import FoldRecord, Identity, Index, Sidecar, SliceRecord, session_places

_DELAY_MS = 600
_OPEN: set[Path] = set()
"""Sessions in use in this process: two viewers never write to the same one."""

Snapshot = tuple[list[FoldRecord], list[SliceRecord], set[Index], dict[str, Any]]


class Keeper(QObject):
    """Saves one stack's session.

    Parameters
    ----------
    collect : callable
        Returns lines, slice records, searched slices and form, in the main thread.
    """

    saved = Signal(str)
    failed = Signal(str)
    kept = Signal(object, str)
    """Slice, and the folder it was stored in."""
    answered = Signal()
    """The offer to continue is over."""

    def __init__(self, collect: Callable[[], Snapshot]) -> None:
        super().__init__()
        self._collect = collect
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sff-session")
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY_MS)
        self._timer.timeout.connect(self.save_now)
        self.sidecar: Sidecar | None = None
        self.offered: Sidecar | None = None
        self._folders: dict[Index, SliceRecord] = {}
        self._closed = False

    # -- opening ----------------------------------------------------------------------

    def open(
        self, name: str, identity: Identity, source: str | None, chosen: str | None
    ) -> Sidecar | None:
        """Find the session of a stack, or choose the place for a new one.

        Returns
        -------
        Sidecar or None
            An earlier session to offer; nothing is written until it is answered.
        """
        places = session_places(name, identity, source, chosen)
        for place in places:
            if place in _OPEN or not (place / "session.json").exists():
                continue
            try:
                found = Sidecar.load(place)
            except StackError as error:
                self.failed.emit(str(error))
                continue
            if found.identity == identity and (found.folds or found.slices or found.searched):
                self.offered = found
                self._take(Sidecar(place, identity))
                return found
        self._take(Sidecar(self._free(places), identity))
        return None

    def _free(self, places: list[Path]) -> Path:
        for place in places:
            if place in _OPEN or (place / "session.json").exists():
                continue
            parent = next(p for p in place.parents if p.exists())
            if os.access(parent, os.W_OK):
                return place
        last = places[-1]
        for number in range(2, 1000):
            place = last.with_name(f"{last.name}-{number}")
            if place not in _OPEN and not place.exists():
                return place
        return last

    def _take(self, sidecar: Sidecar) -> None:
        self.sidecar = sidecar
        _OPEN.add(sidecar.path)

    def take_up(self) -> Sidecar | None:
        """Continue the offered session and return it."""
        found, self.offered = self.offered, None
        if found is not None:
            self.sidecar = found
            self._folders = {i: r for i, r in found.slices.items() if r.folder is not None}
        return found

    def start_anew(self) -> None:
        """Set the offered session aside under another name and begin an empty one."""
        found, self.offered = self.offered, None
        if found is None or self.sidecar is None:
            return
        self.answered.emit()
        try:
            found.set_aside()
        except StackError as error:
            _OPEN.discard(self.sidecar.path)
            self._take(Sidecar(self._free([found.path]), found.identity))
            self.failed.emit(str(error))

    # -- saving -----------------------------------------------------------------------

    @property
    def place(self) -> Path | None:
        """The session's folder."""
        return None if self.sidecar is None else self.sidecar.path

    def schedule(self) -> None:
        """Save soon; many changes in a row are one save."""
        if self.sidecar is None or self._closed:
            return
        if self.offered is not None:
            self.start_anew()
        if not self._timer.isActive():
            self._timer.start()

    def save_now(self) -> None:
        """Hand the present state to the writing thread."""
        self._timer.stop()
        sidecar = self.sidecar
        if sidecar is None or self._closed or self.offered is not None:
            return
        snapshot = self._collect()
        self._writer.submit(self._write, sidecar, snapshot)

    def keep(self, record: SliceRecord, arrays: dict[str, NDArray[Any]]) -> None:
        """Store an accepted slice at once."""
        if self.sidecar is None or self._closed:
            return
        if self.offered is not None:
            self.start_anew()
        self._timer.stop()
        self._writer.submit(self._write, self.sidecar, self._collect(), record, dict(arrays))

    def forget(self, index: Index) -> None:
        """Delete the stored arrays of a slice that was rejected."""
        self._writer.submit(self._folders.pop, index, None)
        self.schedule()

    def read(self, index: Index, key: str) -> NDArray[Any] | None:
        """Return an array of an accepted slice from disk, or None."""
        sidecar = self.sidecar
        if sidecar is None:
            return None
        try:
            return sidecar.read(index, key)
        except SffError as error:
            self.failed.emit(str(error))
            return None

    def _write(
        self,
        sidecar: Sidecar,
        snapshot: Snapshot,
        record: SliceRecord | None = None,
        arrays: dict[str, NDArray[Any]] | None = None,
    ) -> None:
        """Write a snapshot; runs in the writing thread, which alone changes the sidecar."""
        folds, slices, searched, settings = snapshot
        try:
            sidecar.folds = folds
            sidecar.searched = searched
            sidecar.settings = settings
            sidecar.slices = self._with_folders(slices)
            if record is not None and arrays is not None:
                stored = sidecar.keep(record, arrays)
                self._folders[record.index] = stored
                self.kept.emit(record.index, stored.folder or "")
            else:
                sidecar.save()
            self.saved.emit(f"Saved {datetime.now():%H:%M:%S} in {sidecar.path}")
        except Exception as error:  # the thread must live on, and the person must know
            with suppress(RuntimeError):
                self.failed.emit(sentence(error))

    def _with_folders(self, slices: list[SliceRecord]) -> dict[Index, SliceRecord]:
        """Return what ``session.json`` says of each slice.

        Where an accepted slice is on disk and a newer result is not accepted
        yet, the accepted one stays named, marked stale.
        """
        out: dict[Index, SliceRecord] = {}
        for record in slices:
            old = self._folders.get(record.index)
            if old is None or record.state == "rejected":
                out[record.index] = record.with_changes(folder=None)
            elif record.state == "accepted":
                out[record.index] = record.with_changes(folder=old.folder)
            else:
                out[record.index] = old.with_changes(state="stale")
        for index, old in self._folders.items():
            out.setdefault(index, old)
        return out

    def wait(self) -> None:
        """Wait until everything handed over so far is on disk."""
        if not self._closed:
            self._writer.submit(lambda: None).result()

    def close(self) -> None:
        """Save what is left and end the writing thread."""
        if self._closed:
            return
        if self._timer.isActive():
            self.save_now()
        self._closed = True
        self._writer.shutdown(wait=True)
        if self.sidecar is not None:
            _OPEN.discard(self.sidecar.path)
