"""Keep the last errors of the commands, for a report of a problem."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from pathlib import Path

MOST = 10
"""Errors that are kept."""
_LONGEST = 4000
"""Characters of an error that are kept: the end of a traceback says most."""
_MARK = "\x1e"
"""Stands between two errors, which may have several lines."""
_FOLDERS = re.compile(r"(?<![\w/:])(?:[A-Za-z]:|~|\.{1,2})?(?:[\\/][^\\/\n:'\"]+)+[\\/]")
"""The folders of a path; addresses, whose slashes follow a colon, are left."""


def error_log() -> Path:
    """Return where the last errors are kept."""
    import platformdirs

    return Path(platformdirs.user_log_path("sff-napari", appauthor=False)) / "last-errors.txt"


def remember_error(command: str, text: str) -> None:
    """Keep an error; a disk that cannot be written to loses it without a word.

    Parameters
    ----------
    command : str
        Which program failed.
    text : str
        The sentence that was printed, or a traceback.
    """
    from sff_napari import __version__
    from sff_napari.io_atomic import write_bytes

    when = datetime.now().astimezone().isoformat(timespec="seconds")
    entry = f"{when} {command} {__version__}: {text.strip()[-_LONGEST:]}"
    # Telling of an error must not make another one.
    with suppress(OSError):
        path = error_log()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, _MARK.join([*last_errors(), entry][-MOST:]).encode())


def without_folders(text: str) -> str:
    """Return a text with the folders taken out of its paths: they may name a person or a project.

    Parameters
    ----------
    text : str
        An error.
    """
    return _FOLDERS.sub("…/", text)


def last_errors() -> list[str]:
    """Return the last errors, the oldest first."""
    try:
        text = error_log().read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [entry for entry in text.split(_MARK) if entry]
