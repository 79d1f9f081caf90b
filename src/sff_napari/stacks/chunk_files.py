"""Tell which chunks of a volume on this machine are stored, and which are not.

A chunk that is not stored reads as its fill value, which looks like black
tissue.  Here the two are told apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sff_napari.errors import StackError
from sff_napari.stacks.axes import ChosenAxes

Part = tuple[slice, slice]
"""Rows and columns of a part of a slice."""
COMPRESSED = ".gz"
"""What cloud-volume adds to the name of a chunk that it compresses on a disk."""


@dataclass(frozen=True)
class ChunkFiles:
    """The files in which the chunks of an array lie.

    Parameters
    ----------
    folder : Path
        Of the array.
    shape, chunks : tuple of int
        Of the array and of its chunks (of its shards, where it has some).
    name : callable
        Returns the name of the file of a chunk from its place in the grid.
    """

    folder: Path
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    name: Callable[[tuple[int, ...]], str]

    def places(self, index: tuple[int | slice, ...]) -> Iterator[tuple[int, ...]]:
        """Yield the chunks that an index (whole numbers and slices) touches."""
        ranges = []
        for part, side, length in zip(index, self.chunks, self.shape, strict=True):
            start, stop, _ = (
                part.indices(length) if isinstance(part, slice) else (part, part + 1, 1)
            )
            ranges.append(range(start // side, max(start, stop - 1) // side + 1))
        return itertools.product(*ranges)

    def find(self, place: tuple[int, ...]) -> Path | None:
        """Return the file of a chunk, with or without `COMPRESSED`; None if it is not stored.

        Raises
        ------
        StackError
            If it is a link that leads nowhere.
        """
        path = self.folder / self.name(place)
        for found in (path, path.with_name(path.name + COMPRESSED)):
            if found.is_file():
                return found
            check_link(found)
        return None

    def absent_parts(self, chosen: ChosenAxes, z: int) -> list[Part]:
        """Return the parts of slice `z` whose chunks are not stored.

        Raises
        ------
        StackError
            If a chunk is a link that leads nowhere.
        """
        found = []
        for place in self.places(chosen.index(z)):
            if self.find(place) is None:
                found.append(
                    tuple(
                        slice(
                            place[axis] * self.chunks[axis],
                            min((place[axis] + 1) * self.chunks[axis], self.shape[axis]),
                        )
                        for axis in (chosen.rows, chosen.columns)
                    )
                )
        return [(rows, columns) for rows, columns in found]


def check_link(path: Path) -> None:
    """Raise if a path is a link that leads nowhere.

    Raises
    ------
    StackError
        If it is: what it was to hold is lost, which is not the same as empty.
    """
    if path.is_symlink() and not path.exists():
        raise StackError(
            f"{path} is a link that leads nowhere: copy the file that it should lead to."
        )
