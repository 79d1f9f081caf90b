"""Write files and folders so that a reader sees all of the old or all of the new.

What is being written lies beside its target under a hidden name until it is
complete and on the disk; then one rename puts it in place.  A kill at any
moment leaves the target as it was.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from sff_napari.errors import StackError

_REASONS = {
    errno.ENOSPC: "the disk is full: free some space or choose another place",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another place",
    errno.EACCES: "there is no permission for it: choose another place or change its rights",
    errno.EPERM: "the system does not permit it: choose another place or change its rights",
    errno.EROFS: "the disk is read-only: choose another place",
    errno.ENOENT: "its folder does not exist: create it first",
    errno.ENOTDIR: "a part of its path is a file, not a folder: choose another place",
    errno.ENAMETOOLONG: "its name is too long: choose a shorter one",
}

_MANY = 500
"""Files in a folder from which on they are not made sure of one by one."""


def explain(error: OSError, path: str | os.PathLike[str], doing: str = "written") -> StackError:
    """Return `error` as one sentence a person can act on.

    Parameters
    ----------
    error : OSError
        What the system said.
    path : path-like
        The file or folder the user named.
    doing : str
        What could not be done with it, e.g. ``"written"`` or ``"read"``.
    """
    if isinstance(error, StackError):
        return error
    reason = _REASONS.get(error.errno or 0)
    if reason is None:
        reason = (error.strerror or str(error) or "the system gives no reason").rstrip(".")
    return StackError(f"{os.fspath(path)} could not be {doing}: {reason}.")


def partial_name(path: Path) -> Path:
    """Return the hidden sibling of `path` that holds it while it is written."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a name to write a file under; it becomes `path` when the block ends well.

    Parameters
    ----------
    path : path-like
        The file to write; replaced if it exists.

    Yields
    ------
    Path
        A name in the same folder.  The file is removed when the block fails.

    Raises
    ------
    StackError
        If the file cannot be written: no space, no permission, no folder.
    """
    target = Path(path)
    partial = partial_name(target)
    try:
        if target.is_dir():
            raise StackError(f"{target} could not be written: it is a folder, not a file.")
        yield partial
        _sync(partial)
        partial.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise explain(error, target) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a binary file that becomes `path` when the block ends well.

    Parameters
    ----------
    path : path-like
        The file to write; replaced if it exists.

    Yields
    ------
    binary file
        Open for writing.

    Raises
    ------
    StackError
        If the file cannot be written: no space, no permission, no folder.
    """
    with atomic_path(path) as partial, partial.open("xb") as file:
        yield file


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` atomically.

    Raises
    ------
    StackError
        If the file cannot be written: no space, no permission, no folder.
    """
    with atomic_file(path) as file:
        file.write(data)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as readable JSON to `path` atomically.

    Raises
    ------
    StackError
        If the file cannot be written: no space, no permission, no folder.
    """
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def atomic_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Give a folder to fill; it becomes `path` when the block ends well.

    Parameters
    ----------
    path : path-like
        The folder to make.
    overwrite : bool
        Whether an existing file or folder at `path` is replaced.  It stays
        untouched until the new one is complete.

    Yields
    ------
    Path
        A new, empty folder beside `path`, removed when the block fails.

    Raises
    ------
    StackError
        If `path` exists and may not be replaced, or cannot be written.
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise StackError(
            f"{target} exists already: choose another name, or ask for it to be overwritten."
        )
    partial = partial_name(target)
    try:
        partial.mkdir()
        yield partial
        _sync_tree(partial)
        swap(partial, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise explain(error, target) from error
    finally:
        remove_folder(partial)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C and a polite kill until the block has ended.

    For calls that hand work to another thread and wait for it: interrupted
    there, the other thread would go on to write.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals never interrupt other threads
        return
    held: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not None:
            signal.signal(number, lambda caught, _: held.append(caught))
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
        for caught in held[:1]:
            signal.raise_signal(caught)


def remove_folder(path: Path, seconds: float = 5.0) -> None:
    """Remove a folder and all in it, as well as it can be done.

    Parameters
    ----------
    path : Path
        The folder; nothing happens where there is none.
    seconds : float
        How long to try: after Ctrl-C, threads may still finish what they were
        writing into it.
    """
    end = time.monotonic() + seconds
    while path.exists():
        shutil.rmtree(path, ignore_errors=True)
        if time.monotonic() > end:
            return
        if path.exists():
            time.sleep(0.05)


def swap(new: Path, target: Path) -> None:
    """Put a file or folder in the place of another, which goes only once it is there.

    If that fails, what was there is put back.
    """
    if not target.exists():
        new.rename(target)
        return
    old = partial_name(target)
    target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise
    if old.is_dir():
        shutil.rmtree(old, ignore_errors=True)
    else:
        old.unlink()


def _sync(path: Path) -> None:
    """Make sure a file's content is on the disk, not only in the system's memory."""
    # Windows only flushes files that are open for writing.
    handle = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(path: Path) -> None:
    """Make a rename in `path` last, where the system can."""
    if os.name == "nt":  # folders cannot be opened there
        return
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sync_tree(folder: Path) -> None:
    """Make sure every file below `folder` is on the disk."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    if len(files) > _MANY and hasattr(os, "sync"):
        # One call for all; it also waits for what other programs have written.
        os.sync()
        return
    for file in files:
        _sync(file)
