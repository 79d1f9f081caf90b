"""Remember what a stack held when it was read: checksums of pixels spread over its slices.

A name, a shape and a dtype do not tell whether a stack is the one that folds
were found on: it may have been written anew.  Its pixels do, and a few of each
slice are read quickly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import SffError
from sff_napari.stacks.stack import Stack
from sff_napari.stacks.uris import is_address

VERSION = 1
_SIDE = 64
"""Side of the windows that are read, px."""
_MOST_WINDOWS = 9
_WHOLE = 64 * 2**20
"""Pixels of a stack up to which all of it counts."""
_BUDGET = 256 * 2**20
"""Pixels that are decoded at most, about a second's work, unless that were less than 16 slices."""
_LEAST_SLICES = 16
_REMOTE_SLICES = 16
"""Slices of a stack at an address that are looked at, in one place each."""

ReadPart = Callable[[int, slice, slice], NDArray[Any]]
"""``read(z, rows, columns)`` returns a part of slice z."""


def fingerprint(stack: Stack) -> dict[str, Any]:
    """Return checksums of the pixels of a stack, plain JSON types.

    Parameters
    ----------
    stack : Stack
        The stack; small ones are read whole, of others windows of some slices.

    Returns
    -------
    dict
        ``version``; ``windows``, how many a slice (0: all of it); ``slices``,
        the checksum of each slice that was looked at by its number as text,
        without those that cannot be read.
    """
    slices, windows = _sampling(stack)
    found = {}
    for z in slices:
        value = slice_digest(part_reader(stack), z, stack.shape[1:], windows)
        if value is not None:
            found[str(z)] = value
    return {"version": VERSION, "windows": windows, "slices": found}


def changed_slices(
    stack: Stack, stored: Any, slices: Collection[int] | None = None, most: int | None = None
) -> list[int] | None:
    """Return the slices of a stack whose pixels differ from those of a fingerprint.

    Parameters
    ----------
    stack : Stack
        The stack as it is now.
    stored : any
        What `fingerprint` returned earlier, perhaps read from a file.
    slices : collection of int, optional
        Look at these alone.
    most : int, optional
        Look at so many at most, evenly spread.

    Returns
    -------
    list of int or None
        In order; None if `stored` is no fingerprint that can be compared.
    """
    try:
        if stored["version"] != VERSION:
            return None
        windows = int(stored["windows"])
        known = {int(z): str(value) for z, value in stored["slices"].items()}
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
    if not 0 <= windows <= _MOST_WINDOWS:
        return None
    looked = sorted(z for z in known if z < len(stack) and (slices is None or z in slices))
    if most is not None and len(looked) > most:
        looked = [looked[i] for i in np.linspace(0, len(looked) - 1, most).round().astype(int)]
    changed = []
    for z in looked:
        value = slice_digest(part_reader(stack), z, stack.shape[1:], windows)
        if value is not None and value != known[z]:
            changed.append(z)
    return changed


def slice_digest(
    read: ReadPart, z: int, shape: tuple[int, int], windows: int = _MOST_WINDOWS
) -> str | None:
    """Return a checksum of the pixels of a slice; None if it cannot be read.

    Parameters
    ----------
    read : callable
        ``read(z, rows, columns)``.
    z : int
        The slice.
    shape : (Y, X)
        Of the slice.
    windows : int
        In how many places; 0 for all of it.
    """
    text = hashlib.blake2b(digest_size=8)
    try:
        for rows, columns in _windows(shape, windows, z):
            values = np.ascontiguousarray(read(z, rows, columns))
            text.update(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())
    except (SffError, OSError, MemoryError):
        return None
    return text.hexdigest()


def part_reader(stack: Stack) -> ReadPart:
    """Return a function that reads parts of slices; a slice that is only read whole, once."""
    if stack.reads_parts:
        return stack.read
    kept: dict[int, NDArray[Any]] = {}

    def read(z: int, rows: slice, columns: slice) -> NDArray[Any]:
        if z not in kept:
            kept.clear()
            kept[z] = stack[z]
        return kept[z][rows, columns]

    return read


def _sampling(stack: Stack) -> tuple[list[int], int]:
    """Return which slices are looked at, and in how many places each."""
    depth, height, width = stack.shape
    if stack.location is not None and is_address(stack.location):
        count, windows = min(depth, _REMOTE_SLICES), 1
    elif depth * height * width <= _WHOLE:
        return list(range(depth)), 0
    else:
        rows, columns = stack.tile if stack.reads_parts else (height, width)
        cost = max(rows, _SIDE) * max(columns, _SIDE) * stack.stored_depth
        count = min(depth, max(_LEAST_SLICES, _BUDGET // cost))
        windows = int(np.clip(_BUDGET // (count * cost), 1, _MOST_WINDOWS))
        if not stack.reads_parts:
            windows = _MOST_WINDOWS
    return sorted({int(z) for z in np.linspace(0, depth - 1, count).round()}), windows


def _windows(shape: tuple[int, int], count: int, z: int) -> list[tuple[slice, slice]]:
    if count == 0:
        return [(slice(0, shape[0]), slice(0, shape[1]))]
    found = []
    for number in range(count):
        # Spread by the golden ratio, elsewhere in each slice; the first one near the middle.
        shares = [(0.5 + 0.618034 * number + 0.05 * (z % 5)) % 1, (0.5 + 0.381966 * number) % 1]
        starts = [
            int(share * max(0, side - _SIDE)) for share, side in zip(shares, shape, strict=True)
        ]
        found.append((slice(starts[0], starts[0] + _SIDE), slice(starts[1], starts[1] + _SIDE)))
    return found
