"""Cut a slice into tiles, so that memory depends on the tile and not on the slice."""

from __future__ import annotations

from collections.abc import Iterator

DEFAULT_TILE = 1024
"""Side of the tiles results are made in, px."""


def tiles(shape: tuple[int, int], side: int) -> Iterator[tuple[slice, slice]]:
    """Yield (rows, columns) of tiles that cover a slice (Y, X)."""
    for top in range(0, shape[0], side):
        for left in range(0, shape[1], side):
            yield (
                slice(top, min(top + side, shape[0])),
                slice(left, min(left + side, shape[1])),
            )


def grown(
    rows: slice, columns: slice, shape: tuple[int, int], halo: int, align: int = 1
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return a tile with a halo, and where the tile lies within it.

    Parameters
    ----------
    rows, columns : slice
        The tile.
    shape : (height, width)
        Of the slice; the halo ends there.
    halo : int
        Pixels to add on each side.
    align : int
        The grown tile starts at a multiple of this.

    Returns
    -------
    outer, inner : (slice, slice)
        Into the slice, and into the grown tile.
    """
    outer, inner = [], []
    for part, side in ((rows, shape[0]), (columns, shape[1])):
        start = max(0, part.start - halo) // align * align
        outer.append(slice(start, min(part.stop + halo, side)))
        inner.append(slice(part.start - start, part.stop - start))
    return (outer[0], outer[1]), (inner[0], inner[1])
