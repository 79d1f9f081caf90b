"""Autosave: what a person does goes to disk as it happens, in a thread of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from sff_napari.errors import SffError, StackError
from sff_napari.napari_plugin.workers.job import sentence
from sff_napari.sessions import FoldRecord, Identity, Index, Sidecar, SliceRecord, session_places
from sff_napari.sessions.lock import Holder, SessionLock

_DELAY_MS = 400
_NUMBERS = tuple(f"-{number}" for number in range(2, 10))
"""Ends of the names of further sessions of the same stack."""


@dataclass(frozen=True)
class Snapshot:
    """What is saved.

    Parameters
    ----------
    folds : list of FoldRecord
        All lines.
    slices : list of SliceRecord
        All results.
    searched : set
        Slices in which folds were looked for.
    settings : dict
        State of the form, and the slice that is shown.
    needed : set of str
        Folders of stored slices that an undo may need.
    """

    folds: list[FoldRecord]
    slices: list[SliceRecord]
    searched: set[Index]
    settings: dict[str, Any]
    needed: set[str] = field(default_factory=set)


class Autosave(QObject):
    """Saves one stack's session.

    Parameters
    ----------
    collect : callable
        Returns what is to be saved; called in the main thread.
    purpose : str
        See `session_places`.
    """

    saved = Signal(str)
    failed = Signal(str)
    kept = Signal(str)
    """The folder in which a slice was stored."""
    answered = Signal(bool)
    """The offer to continue is over; whether it was a copy of another's session."""

    def __init__(self, collect: Callable[[], Snapshot], purpose: str = "") -> None:
        super().__init__()
        self._collect = collect
        self._purpose = purpose
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
        self._pending: dict[str, tuple[SliceRecord, dict[str, NDArray[Any]]]] = {}
        """Results that are not on disk yet, by the folders they will have."""
        self._written: set[str] = set()
        """Folders of this run: they stay until it ends, an undo may need them."""
        self._closed = False
        self._begun = False
        """Whether there is something of this stack on disk, or will be soon."""

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
        places = session_places(name, identity, source, chosen, self._purpose)
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
        # Placements are a person's work, too; what else the settings hold is not.
        work = (found.folds, found.slices, found.searched, found.settings.get("placements"))
        return found if found.identity == identity and any(work) else None

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
            self._begun = True
        return found

    def start_anew(self) -> None:
        """Set the offered session aside under another name and begin an empty one."""
        copy = self.offers_copy
        found, self.offered = self.offered, None
        if found is None or self.sidecar is None:
            return
        self.answered.emit(copy)
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

    def note_place(self) -> None:
        """Save soon which slice is shown, if there is any work on the stack at all."""
        if self._begun and self.offered is None:
            self.schedule()

    def save_at_once(self) -> None:
        """Save without waiting for more changes."""
        if self.sidecar is not None and self.offered is not None:
            self.start_anew()
        self.save_now()

    def save_soon(self) -> None:
        """Save now what waits to be saved."""
        with suppress(RuntimeError):  # where Qt ended first, there is no timer left
            if not (self._timer.isActive() or self._pending):
                return
        self.save_now()

    def save_now(self) -> None:
        """Hand the present state to the writing thread."""
        with suppress(RuntimeError):
            self._timer.stop()
        sidecar = self.sidecar
        if sidecar is None or self._closed or self.offered is not None:
            return
        snapshot = self._collect()
        self._begun = True
        try:
            self._writer.submit(self._write, sidecar, snapshot)
        except RuntimeError:
            # Python is ending and takes no more work for threads.
            self._write(sidecar, snapshot)

    def keep(self, record: SliceRecord, arrays: dict[str, NDArray[Any]]) -> None:
        """Take the arrays of a result; they are stored with the next save.

        Parameters
        ----------
        record : SliceRecord
            With the name of its folder.
        arrays : dict
            See `Sidecar.keep`.
        """
        if record.folder is None or self._closed:
            return
        self._pending[record.folder] = (record, dict(arrays))

    def read(self, folder: str, key: str) -> NDArray[Any] | None:
        """Return an array of a result from disk, or None."""
        pending = self._pending.get(folder)
        if pending is not None and key in pending[1]:
            return pending[1][key]
        sidecar = self.sidecar
        if sidecar is None:
            return None
        try:
            return sidecar.read_folder(folder, key)
        except SffError as error:
            self.failed.emit(str(error))
            return None

    @property
    def unsaved(self) -> int:
        """How many results are not on disk yet."""
        return len(self._pending)

    def _write(self, sidecar: Sidecar, snapshot: Snapshot) -> None:
        """Write a snapshot; runs in the writing thread, which alone changes the sidecar."""
        try:
            for folder, (record, arrays) in list(self._pending.items()):
                if not sidecar.holds(folder):
                    sidecar.store(record, arrays)
                self._written.add(folder)
                self._pending.pop(folder, None)
                self.kept.emit(folder)
            sidecar.folds = snapshot.folds
            sidecar.searched = snapshot.searched
            sidecar.settings = snapshot.settings
            sidecar.slices = {
                record.index: record
                if sidecar.holds(record.folder)
                else record.with_changes(folder=None)
                for record in snapshot.slices
            }
            sidecar.save(snapshot.needed | self._written)
            self.saved.emit(f"Saved {datetime.now():%H:%M:%S} in {sidecar.path}")
        except Exception as error:  # the thread must live on, and the person must know
            with suppress(RuntimeError):
                self.failed.emit(sentence(error))

    def wait(self) -> None:
        """Wait until everything handed over so far is on disk."""
        if not self._closed:
            self._writer.submit(lambda: None).result()

    def close(self) -> None:
        """Save what is left and end the writing thread."""
        if self._closed:
            return
        self.save_soon()
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
