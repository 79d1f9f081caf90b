"""Describe the tasks of a run: plain values that any worker can take, and what does them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sff_napari.folds import Fold
from sff_napari.volumes.plan.blocks import Block
from sff_napari.volumes.write.chunk_grid import ChunkIndex


@dataclass(frozen=True)
class BlockTask:
    """Something to do with one block of one slice.

    Parameters
    ----------
    key : str
        Name of the result.
    z : int
        The slice.
    block : Block
        What of it is read and changed.
    previous, following : int or None
        Its neighbours.
    device : str
        As `sff_napari.restore` takes it.
    """

    key: str
    z: int
    block: Block
    previous: int | None
    following: int | None
    device: str

    @property
    def neighbours(self) -> dict[str, int]:
        """The slices around, by ``"previous"`` and ``"following"``; absent ones are left out."""
        around = {"previous": self.previous, "following": self.following}
        return {name: z for name, z in around.items() if z is not None}


@dataclass(frozen=True)
class FitWindow(BlockTask):
    """Find what the folds in a window of a large slice did.

    Parameters
    ----------
    folds : tuple of Fold
        In pixels of what the block reads.
    numbers : tuple of int
        Which fold of the slice each of them is a part of.
    """

    folds: tuple[Fold, ...]
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class RestoreBlock(BlockTask):
    """Restore a block of a damaged slice.

    Parameters
    ----------
    folds : tuple of Fold
        In pixels of what the block reads; none where `lines` are given.
    clean : (int, int) or None
        Two undamaged slices next to each other.
    weights : str or None
        As `sff_napari.restore` takes them.
    lines : sequence of mapping or None
        What the folds did, in a large slice; see `law_stitching.join`.
    drift : mapping or None
        Where the block lies against its neighbours, in a large slice.
    """

    folds: tuple[Fold, ...]
    clean: tuple[int, int] | None
    weights: str | None
    lines: Sequence[Mapping[str, Any]] | None = None
    drift: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class FillBlock(BlockTask):
    """Make a block of a missing slice from the slices around it."""


@dataclass(frozen=True)
class WriteChunk:
    """Write a chunk of the finest level with all patches that touch it.

    Parameters
    ----------
    key : str
        Name of the result.
    place : tuple of int
        The chunk.
    patches : mapping of int to sequence of str
        Keys of patches, by slice.
    reset : tuple of int
        Slices that are first set to what they were.
    """

    key: str
    place: ChunkIndex
    patches: Mapping[int, Sequence[str]]
    reset: tuple[int, ...]


@dataclass(frozen=True)
class WriteDerivedBlock:
    """Write synthesised pixels, displacement and confidence of one block of a slice.

    Parameters
    ----------
    key : str
        Name of the result.
    z : int
        The slice.
    place : (int, int)
        Row and column of the block.
    patches : tuple of str
        Keys of the patches that touch it.
    """

    key: str
    z: int
    place: tuple[int, int]
    patches: tuple[str, ...]

    def __str__(self) -> str:
        return f"sides of slice {self.z}, block {self.place}"


@dataclass(frozen=True)
class WriteCoarseChunk:
    """Write a chunk of a coarser level.

    Parameters
    ----------
    key : str
        Name of the result.
    level : int
        The level; 0 is the finest.
    place : tuple of int
        The chunk.
    """

    key: str
    level: int
    place: ChunkIndex

    def __str__(self) -> str:
        return f"coarse, level {self.level}, {self.place}"


@dataclass(frozen=True)
class WriteCoarseLabel(WriteCoarseChunk):
    """Write a chunk of a coarser level of the synthesised pixels."""

    def __str__(self) -> str:
        return f"coarse label, level {self.level}, {self.place}"


@dataclass(frozen=True)
class CopyKeys:
    """Copy the stored bytes of some keys of the source as they are."""

    keys: tuple[str, ...]


@dataclass(frozen=True)
class ImportChunks:
    """Write chunks of the finest level from a stack of another kind."""

    places: tuple[ChunkIndex, ...]


@dataclass(frozen=True)
class SearchSlices:
    """Search slices that lie in the same chunks for folds; needs no result.

    Parameters
    ----------
    slices : tuple of int
        Which.
    place, select
        What `sff_napari.stacks.open_stack` takes.
    search : mapping
        See `sff_napari.volumes.find.search.Search`.
    """

    slices: tuple[int, ...]
    place: str | None
    select: Mapping[str, int]
    search: Mapping[str, Any]


Task = (
    FitWindow
    | RestoreBlock
    | FillBlock
    | WriteChunk
    | WriteDerivedBlock
    | WriteCoarseChunk
    | WriteCoarseLabel
    | CopyKeys
    | ImportChunks
    | SearchSlices
)

Done = Callable[[Any, dict[str, Any]], None]
"""Called with each task that has been done and what it says."""


class Pool(Protocol):
    """Anything that does tasks."""

    size: int
    """How many tasks it does at a time."""

    def run(self, root: str, origin: Mapping[str, Any], tasks: Iterable[Task], done: Done) -> None:
        """Do all tasks in any order; `done` is called for each in the caller's thread."""

    def close(self) -> None:
        """Release what the pool holds."""
