"""One run at a time over a result."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from sff_napari.io_atomic import explain
from sff_napari.volumes.run.errors import Stop
from sff_napari.volumes.run.folder import WORK


class Lock:
    """Keeps two runs from writing the same result at the same time.

    Parameters
    ----------
    root : Path
        Folder of the result.

    Raises
    ------
    Stop
        If another run is at work.
    """

    def __init__(self, root: Path) -> None:
        self._file: Any = None
        try:
            import fcntl
        except ImportError:  # Windows
            return
        path = root / WORK / "lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w")
        except OSError as error:
            raise Stop(str(explain(error, root))) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise Stop(f"Another run is at work on {root}: wait for it or end it.") from error
        except OSError:  # a network disk that knows no locks
            return

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
