"""Autosave: what a person does goes to disk as it happens, in a thread of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from sff_napari.errors import SffError, StackError
from sff_napari.napari_plugin.workers import sentence
from sff_napari.sessions import FoldRecord, Identity, Index, Sidecar, SliceRecord, session_places
from sff_napari.sessions.lock import Holder, SessionLock

_DELAY_MS = 600
_NUMBERS = tuple(f"-{number}" for number in range(2, 10))
"""Ends of the names of further sessions of the same stack."""

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
        self.rival: Holder | None = None
        """Who else is working on this stack."""
        self._lock: SessionLock | None = None
        self._folders: dict[Index, SliceRecord] = {}
        self._closed = False

    # -- opening ----------------------------------------------------------------------

    def open(
        self, name: str, identity: Identity, source: str | None, chosen: str | None
    ) -> Sidecar | None:
        """Find the session of a stack, or choose the place for a new one.

        Where somebody else is working on the session, a copy of it is offered:
        nobody writes to the session of another.

        Returns
        -------
        Sidecar or None
            An earlier session to offer; nothing is written until it is answered.
        """
        places = session_places(name, identity, source, chosen)
        every = [Path(f"{place}{part}") for place in places for part in ("", *_NUMBERS)]
        copied: Sidecar | None = None
        for place in every:
            lock = SessionLock(place)
            if not lock.path.exists() and not place.exists():
                continue
            found = self._load(place, identity)
            mine = _acquired(lock)
            if found is not None and mine:
                self.offered = found
                self._take(Sidecar(place, identity), lock)
                return found
            lock.release()
            if not mine and lock.holder is not None and self.rival is None:
                self.rival = lock.holder
            copied = copied or found
        self._take(*self._free(every, identity))
        self.offered = copied
        return copied

    def _load(self, place: Path, identity: Identity) -> Sidecar | None:
        """Return the session in a folder if it belongs to the stack and holds something."""
        if not (place / "session.json").exists():
            return None
        try:
            found = Sidecar.load(place)
        except StackError as error:
            self.failed.emit(str(error))
            return None
        own = found.identity == identity and (found.folds or found.slices or found.searched)
        return found if own else None

    def _free(self, places: list[Path], identity: Identity) -> tuple[Sidecar, SessionLock | None]:
        """Return the first place that nobody uses and that can be written to."""
        for place in places:
            if (place / "session.json").exists():
                continue
            parent = next(p for p in place.parents if p.exists())
            if not os.access(parent, os.W_OK):
                continue
            lock = SessionLock(place)
            if _acquired(lock):
                return Sidecar(place, identity), lock
        # Too many viewers for the numbers: a name that nobody has.
        return Sidecar(places[-1].with_name(f"{places[-1].name}-{uuid4().hex[:6]}"), identity), None

    def _take(self, sidecar: Sidecar, lock: SessionLock | None) -> None:
        if self._lock is not None and self._lock is not lock:
            self._lock.release()
        self.sidecar, self._lock = sidecar, lock

    @property
    def offers_copy(self) -> bool:
        """Whether the offered session stays where it is, with somebody else."""
        offered, sidecar = self.offered, self.sidecar
        return offered is not None and sidecar is not None and offered.path != sidecar.path

    def take_up(self) -> Sidecar | None:
        """Continue the offered session, or a copy of it, and return it.

        Raises
        ------
        StackError
            If the copy cannot be written.
        """
        if self.offers_copy and self.offered is not None and self.sidecar is not None:
            self.offered = self.offered.copied_to(self.sidecar.path)
        found, self.offered = self.offered, None
        if found is not None:
            self.sidecar = found
            self._folders = {i: r for i, r in found.slices.items() if r.folder is not None}
        return found

    def start_anew(self) -> None:
        """Set the offered session aside under another name and begin an empty one."""
        copy = self.offers_copy
        found, self.offered = self.offered, None
        if found is None or self.sidecar is None:
            return
        self.answered.emit()
        if copy:
            return
        try:
            found.set_aside()
        except StackError as error:
            numbered = [Path(f"{found.path}{part}") for part in _NUMBERS]
            self._take(*self._free(numbered, found.identity))
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
        if self._lock is not None:
            self._lock.release()


def _acquired(lock: SessionLock) -> bool:
    """Take a lock; a folder that cannot be written to belongs to somebody else."""
    try:
        return lock.acquire()
    except OSError:
        return False
