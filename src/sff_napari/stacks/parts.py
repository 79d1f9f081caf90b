"""Go through a slice part by part, so that memory does not depend on its size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from sff_napari.stacks.stack import Stack

Part = tuple[slice, slice]
"""Rows and columns of a part of a slice."""


def parts_of(stack: Stack, side: int = 1024) -> list[Part]:
    """Return the parts that cover a slice without overlap, row after row.

    Parameters
    ----------
    stack : Stack
        Parts follow the chunks in which its slices are stored.
    side : int
        About how long a side of a part is, px: a multiple of the chunks' where
        those are shorter.

    Returns
    -------
    list of (rows, columns)
        Both slices.
    """
    height, width = stack.shape[1:]
    rows, columns = (_aligned(side, stored) for stored in stack.tile)
    return [
        (slice(y, min(y + rows, height)), slice(x, min(x + columns, width)))
        for y in range(0, height, rows)
        for x in range(0, width, columns)
    ]


def read_parts(stack: Stack, z: int, parts: list[Part]) -> Iterator[tuple[Part, NDArray[Any]]]:
    """Yield parts of slice `z`, each with what it holds (rows, columns).

    A stack that cannot read parts, such as a compressed TIFF, is read once.

    Raises
    ------
    StackError
        If the slice cannot be read.
    """
    whole = None if stack.reads_parts else stack[z]
    for part in parts:
        yield part, stack.read(z, *part) if whole is None else whole[part]


def _aligned(side: int, stored: int) -> int:
    if stored >= side:
        return stored
    return side // stored * stored
