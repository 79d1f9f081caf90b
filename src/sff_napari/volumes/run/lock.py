"""Let one run at a time write to a result."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sff_napari.io_atomic import explain
from sff_napari.volumes.run.errors import Stop
from sff_napari.volumes.run.folder import RECORDS

_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}
"""What network disks say that know no locks."""


class Lock:
    """Keeps two runs from writing the same result at the same time.

    The system holds the lock, on a file beside the result, and lets go of it
    when the process ends, however it ends.

    Parameters
    ----------
    root : Path
        Folder of the result; it need not exist.

    Raises
    ------
    Stop
        If another run is at work.
    """

    def __init__(self, root: Path) -> None:
        # Beside the result: within, it would be in the way where the folder is renamed or emptied.
        path = root.with_name(f".{root.name}.lock")
        if not os.access(root.parent, os.W_OK) and (root / RECORDS).is_dir():
            path = root / RECORDS / "run.lock"
        self._path = path
        self._lock = FileLock(path, timeout=0)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise Stop(f"Another run is at work on {root}: wait for it or end it.") from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise Stop(str(explain(error, root))) from error

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        # An open file cannot be removed on Windows; elsewhere nobody may take it in between.
        if sys.platform != "win32":
            self._remove()
        self._lock.release()
        if sys.platform == "win32":
            self._remove()

    def _remove(self) -> None:
        with suppress(OSError):
            self._path.unlink()
