"""Hash what determines a result, and make names that are safe to use as paths."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sff_napari.errors import StackError

LONGEST = 1024
"""Characters of the longest key that is used."""


def digest(value: Any) -> str:
    """Return the SHA-256 of a value of plain JSON types, as 64 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def checksum(data: bytes | None) -> str | None:
    """Return the SHA-256 of stored bytes; None where nothing is stored."""
    return None if data is None else hashlib.sha256(data).hexdigest()


def safe_key(key: Any) -> str:
    """Return a key that names a file below a folder.

    Parameters
    ----------
    key : str
        Parts joined by ``/``.

    Raises
    ------
    StackError
        If it is no text, absolute, too long, or leads out of the folder.
    """
    good = (
        isinstance(key, str)
        and 0 < len(key) <= LONGEST
        and not any(c in key for c in '\\:*?"<>|')
        and key.isprintable()
        and all(part not in ("", ".", "..") for part in key.split("/"))
    )
    if not good:
        raise StackError(f"{str(key)[:80]!r} cannot be the name of a chunk: the record is damaged.")
    return str(key)


def joined(*parts: str) -> str:
    """Return a key from parts, of which some may be empty."""
    return "/".join(part.strip("/") for part in parts if part.strip("/"))
