"""One writer for each session: a lock file beside the session's folder.

The system holds the lock and lets go of it when the process ends, however it
ends.  So a file that a killed napari left behind locks nothing.  What the
file says (process, computer) is for people.
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

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_FAR = 1 << 20
"""Windows bars others from reading what is locked: a byte far behind the text is locked."""


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
        here = self.host == socket.gethostname()
        if here and self.pid == os.getpid():
            return "another viewer of this napari"
        place = "this computer" if here else self.host
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
        self._file: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None

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
        while self._file is None:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                _lock(file)
            except OSError:
                self.holder = _read(file)
                os.close(file)
                return False
            # Somebody may have deleted the file between opening and locking it.
            if not _is_same(file, self.path):
                os.close(file)
                continue
            self._file = file
        me = Holder(os.getpid(), socket.gethostname(), datetime.now(UTC).isoformat("T", "seconds"))
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, json.dumps(vars(me)).encode())
        self.holder = me
        return True

    def release(self) -> None:
        """Let others have it."""
        file, self._file = self._file, None
        if file is None:
            return
        if sys.platform == "win32":
            # An open file cannot be deleted there.
            os.close(file)
            with suppress(OSError):
                self.path.unlink()
            return
        with suppress(OSError):
            self.path.unlink()
        os.close(file)


def _lock(file: int) -> None:
    if sys.platform == "win32":
        os.lseek(file, _FAR, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_same(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except OSError:
        return False


def _read(file: int) -> Holder:
    """Return what the lock file says; unknown while it is being written."""
    try:
        os.lseek(file, 0, os.SEEK_SET)
        raw: dict[str, Any] = json.loads(os.read(file, 4096))
        return Holder(int(raw["pid"]), str(raw["host"]), str(raw["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Holder()
