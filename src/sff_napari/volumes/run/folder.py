"""Keep the files of a result in its folder: each appears whole, by one rename."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from sff_napari.io_atomic import explain
from sff_napari.volumes.plan.keys import safe_key
from sff_napari.volumes.run.errors import Stop

RECORDS = "sff_napari"
"""Name of the folder in a result that holds its record."""
WORK = f"{RECORDS}/work"
"""What is needed only until the run is complete."""
ORIGINALS = f"{RECORDS}/originals"
"""The bytes that changed chunks had before."""

_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


class Folder:
    """Files of a result by key.

    Parameters
    ----------
    root : Path
        The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._scratch = root / WORK / "tmp"

    def path(self, key: str) -> Path:
        """Return where the file of a key lies."""
        return self.root / safe_key(key)

    def has(self, key: str) -> bool:
        """Tell whether there is a file."""
        return self.path(key).is_file()

    def get(self, key: str) -> bytes | None:
        """Return a file's content; None where there is none."""
        try:
            return self.path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def put(self, key: str, data: bytes, *, lasting: bool = True) -> None:
        """Write a file.

        Parameters
        ----------
        key : str
            Its name.
        data : bytes
            Its content.
        lasting : bool
            Whether it must be on the disk itself before it appears.

        Raises
        ------
        Stop
            If it cannot be written.
        """
        partial = self._partial(key)
        try:
            with partial.open("xb") as file:
                file.write(data)
                if lasting:
                    file.flush()
                    os.fsync(file.fileno())
            self._place(partial, key)
        except OSError as error:
            raise Stop(str(explain(error, self.path(key)))) from error
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    def copy(self, key: str, source: Path) -> None:
        """Copy a file, unless it is there already with the same size.

        Raises
        ------
        OSError
            If `source` cannot be read.
        Stop
            If it cannot be written.
        """
        target = self.path(key)
        size = source.stat().st_size
        with suppress(OSError):
            if target.stat().st_size == size:
                return
        partial = self._partial(key)
        try:
            shutil.copyfile(source, partial)
            self._place(partial, key)
        except OSError as error:
            # Copying inside the system names the source also where the target is full.
            is_source = error.filename is not None and Path(str(error.filename)) == source
            if is_source and error.errno not in _CANNOT_WRITE:
                raise
            raise Stop(str(explain(error, target))) from error
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    def remove(self, key: str) -> None:
        """Remove a file, and the folders that it leaves empty."""
        path = self.path(key)
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == self.root:
                break
            try:
                folder.rmdir()
            except OSError:
                break

    def clear_work(self) -> None:
        """Remove what only an unfinished run needs."""
        shutil.rmtree(self.root / WORK, ignore_errors=True)

    def clear_scratch(self) -> None:
        """Remove what a killed run left half written."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _partial(self, key: str) -> Path:
        safe_key(key)
        partial = self._scratch / uuid.uuid4().hex
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Stop(str(explain(error, self.root))) from error
        return partial

    def _place(self, partial: Path, key: str) -> None:
        target = self.path(key)
        try:
            replace(partial, target)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            replace(partial, target)


def replace(partial: Path, target: Path) -> None:
    """Put a complete file in its place, in one step."""
    partial.replace(target)
