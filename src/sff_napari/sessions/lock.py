"""Let one viewer at a time write to a session: a lock file beside the session's folder.

The system holds the lock and lets go of it when the process ends, however it
ends.  So a file that a killed napari left behind locks nothing.  A second file
says who holds it (process, computer), for people.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout


@dataclass(frozen=True)
class Holder:
    """Who works on a session.

    Parameters
    ----------
    pid : int
        Number of the process; 0 if unknown.
    host : str
        Name of the computer.
    since : str
        When it began, ISO 8601 in UTC.
    """

    pid: int = 0
    host: str = ""
    since: str = ""

    def __str__(self) -> str:
        if not self.pid:
            return "another viewer"
        is_this_computer = self.host == socket.gethostname()
        if is_this_computer and self.pid == os.getpid():
            return "another viewer of this napari"
        place = "this computer" if is_this_computer else self.host
        return f"another napari (process {self.pid} on {place})"


class SessionLock:
    """The right to write to a session.

    Parameters
    ----------
    session : Path
        The session's folder; it need not exist.
    """

    def __init__(self, session: Path) -> None:
        self.path = session.with_name(session.name + ".lock")
        self.holder: Holder | None = None
        # Threads take turns to save, and any of them may have been the one that took the lock.
        self._lock = FileLock(self.path, timeout=0, thread_local=False)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock.is_locked

    def acquire(self) -> bool:
        """Take the lock if nobody else has it.

        Returns
        -------
        bool
            False if somebody else works on the session (see `holder`).

        Raises
        ------
        OSError
            If the lock file cannot be made.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.held:
            try:
                self._lock.acquire()
            except Timeout:
                self.holder = _read(self._about)
                return False
        me = Holder(os.getpid(), socket.gethostname(), datetime.now(UTC).isoformat("T", "seconds"))
        with suppress(OSError):  # only people read it
            self._about.write_text(json.dumps(vars(me)), encoding="utf-8")
        self.holder = me
        return True

    def release(self) -> None:
        """Let others have it."""
        if not self.held:
            return
        with suppress(OSError):
            self._about.unlink()
        # An open file cannot be removed on Windows; elsewhere nobody may take it in between.
        if sys.platform != "win32":
            self._remove()
        self._lock.release()
        if sys.platform == "win32":
            self._remove()

    @property
    def _about(self) -> Path:
        """The file that says who holds the lock: what is locked cannot be read on Windows."""
        return self.path.with_name(self.path.name + ".json")

    def _remove(self) -> None:
        with suppress(OSError):
            self.path.unlink()


def _read(path: Path) -> Holder:
    """Return what the file beside a lock says; unknown while it is being written."""
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Holder(int(raw["pid"]), str(raw["host"]), str(raw["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Holder()
