"""Describe a stack: what reads it, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from sff_napari.stacks.array_readers import ReadBlock, ReadRegion
from sff_napari.stacks.chunk_files import Part
from sff_napari.stacks.pyramids import Level

VoxelSize = tuple[float, float, float]
"""Size (z, y, x) of a voxel in nm."""


@dataclass(frozen=True)
class Readers:
    """What reads a stack.

    Parameters
    ----------
    plane : callable
        ``plane(z)`` returns slice z as an array (Y, X).
    region : callable, optional
        ``region(z, rows, columns)`` returns a part of slice z and reads little
        more than it; called by several threads at once.
    block : callable, optional
        ``block(slices, rows, columns)`` returns the part (z, y, x) of several
        slices at once, where chunks hold several.
    absent : callable, optional
        ``absent(z)`` returns the parts of slice z that are not stored.
    levels : callable, optional
        Returns the coarser levels; called when they are asked for.
    close : callable, optional
        Releases what the others hold open.
    """

    plane: Callable[[int], NDArray[Any]]
    region: ReadRegion | None = None
    block: ReadBlock | None = None
    absent: Callable[[int], list[Part]] | None = None
    levels: Callable[[], tuple[Level, ...]] | None = None
    close: Callable[[], None] | None = None


@dataclass(frozen=True)
class StackInfo:
    """What is known of a stack.

    Parameters
    ----------
    shape : (Z, Y, X)
        Of the whole stack, in pixels.
    dtype : dtype
        Of the slices: uint8, uint16, float16, float32 or float64.
    kind : str
        What it is, for people, e.g. ``"TIFF"`` or ``"OME-Zarr 0.5"``.
    name : str
        Short name.
    path : Path, optional
        Where it lies.
    axes : str
        Axes of the data as stored, e.g. ``"zyx"`` or ``"tczyx"``.
    voxel_size : (z, y, x), optional
        In nm.
    chunks : tuple of int, optional
        Shape of the pieces it is stored in.
    details : dict, optional
        Further facts worth showing, plain JSON types.
    location : str, optional
        The path or address that `open_stack` opens again, in another process
        for example; `path` where not given.
    slice_names : tuple of str, optional
        Names of the slices, where each is a file of its own.
    fill_value : float, optional
        What the file declares for places without data.
    positions : tuple of float, optional
        Where each slice lies, in slices, where some are missing in between.
    offset : (z, y, x)
        Where the first voxel lies in the frame of the data set, in voxels.
    kept : mapping, optional
        What a TIFF made from the stack takes over: ``byteorder``,
        ``photometric``, ``compression``, and of ImageJ ``imagej``.
    """

    shape: Sequence[int]
    dtype: Any
    kind: str
    name: str
    path: Path | None = None
    axes: str = "zyx"
    voxel_size: VoxelSize | None = None
    chunks: tuple[int, ...] | None = None
    details: Mapping[str, Any] | None = None
    location: str | None = None
    slice_names: tuple[str, ...] | None = None
    fill_value: float | None = None
    positions: tuple[float, ...] | None = None
    offset: tuple[float, float, float] = (0, 0, 0)
    kept: Mapping[str, Any] | None = None
