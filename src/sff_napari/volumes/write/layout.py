"""Tell how a volume is laid out: its levels, and which axes are slices, rows and columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sff_napari.errors import StackError
from sff_napari.stacks.axes import ChosenAxes, choose_axes
from sff_napari.stacks.multiscale import image_document, ome_part
from sff_napari.volumes.plan.keys import joined
from sff_napari.volumes.write.chunk_grid import METADATA, Box, ChunkGrid, ChunkIndex

Get = Callable[[str], bytes | None]
"""Returns what is stored under a key."""


@dataclass(frozen=True)
class LayoutLevel:
    """One level of a volume.

    Parameters
    ----------
    chunks : ChunkGrid
        Its array.
    axes : ChosenAxes
        Which of its axes are slices, rows and columns.
    factors : tuple of int
        How many pixels of the next finer level make one, for each axis; empty
        for the finest.
    """

    chunks: ChunkGrid
    axes: ChosenAxes
    factors: tuple[int, ...] = ()

    def touching(self, z: int, rows: slice, columns: slice) -> list[ChunkIndex]:
        """Return the chunks that hold a part of slice `z`."""
        return list(self.chunks.touching(self._box(z, rows, columns)))

    def _box(self, z: int, rows: slice, columns: slice) -> Box:
        box = [slice(0, n) for n in self.chunks.shape]
        for axis, at in self.axes.fixed.items():
            box[axis] = slice(at, at + 1)
        if self.axes.slices is not None:
            box[self.axes.slices] = slice(z, z + 1)
        box[self.axes.rows], box[self.axes.columns] = rows, columns
        return tuple(box)

    def slices_of(self, place: ChunkIndex) -> range:
        """Return the slices that a chunk holds."""
        if self.axes.slices is None:
            return range(1)
        part = self.chunks.box(place)[self.axes.slices]
        return range(part.start, part.stop)

    def plane_of(
        self, place: ChunkIndex, z: int
    ) -> tuple[tuple[int | slice, ...], slice, slice] | None:
        """Return where slice `z` lies in the pixels of a chunk, and which rows and columns it has.

        Returns
        -------
        index, rows, columns
            ``values[index]`` is (rows, columns), or transposed where the axes
            of the array are; None if the chunk holds nothing of it.
        """
        box = self.chunks.box(place)
        index: list[int | slice] = [slice(None)] * len(box)
        for axis, at in self.axes.fixed.items():
            if not box[axis].start <= at < box[axis].stop:
                return None
            index[axis] = at - box[axis].start
        if self.axes.slices is not None:
            part = box[self.axes.slices]
            if not part.start <= z < part.stop:
                return None
            index[self.axes.slices] = z - part.start
        return tuple(index), box[self.axes.rows], box[self.axes.columns]

    @property
    def transposed(self) -> bool:
        """Whether columns come before rows in the array."""
        return self.axes.columns < self.axes.rows


def read_documents(get: Get, path: str) -> dict[str, bytes]:
    """Return the metadata files of one node by name."""
    found = {name: get(joined(path, name)) for name in METADATA}
    return {name: data for name, data in found.items() if data is not None}


def attributes_of(documents: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the attributes in a node's metadata files; empty if there are none."""
    try:
        if "zarr.json" in documents:
            found = json.loads(documents["zarr.json"]).get("attributes", {})
        else:
            found = json.loads(documents.get(".zattrs", b"{}"))
    except (ValueError, AttributeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def is_array(documents: Mapping[str, bytes]) -> bool:
    """Tell whether metadata files are those of an array."""
    if ".zarray" in documents:
        return True
    try:
        return bool(json.loads(documents.get("zarr.json", b"{}")).get("node_type") == "array")
    except (ValueError, AttributeError, RecursionError):
        return False


@dataclass(frozen=True)
class Layout:
    """The arrays of a volume, the finest first.

    Parameters
    ----------
    group : str
        Path of the OME-Zarr image in its store; of the array without one.
    levels : tuple of Level
        The finest first.
    image : mapping, optional
        The image's entry of ``multiscales``; None for a plain array.
    ome : str
        Version of OME-Zarr, or empty.
    """

    group: str
    levels: tuple[LayoutLevel, ...]
    image: Mapping[str, Any] | None
    ome: str

    @classmethod
    def read(
        cls, get: Get, axes: str, select: Mapping[str, int], paths: tuple[str, list[str]]
    ) -> Layout:
        """Return the layout of a volume.

        Parameters
        ----------
        get : callable
            Returns what is stored under a key.
        axes : str
            One letter an axis.
        select : mapping of str to int
            Index on further axes.
        paths : (str, list of str)
            As `find_arrays` returns them.

        Raises
        ------
        StackError
            If the metadata cannot be used.
        """
        group, arrays = paths
        found = image_document(attributes_of(read_documents(get, group)))
        levels: list[LayoutLevel] = []
        for path in arrays:
            chunks = ChunkGrid(path, read_documents(get, path))
            chosen = choose_axes(axes, chunks.shape, select, path)
            factors: tuple[int, ...] = ()
            if levels:
                finer = levels[-1].chunks.shape
                factors = tuple(
                    max(1, round(a / b)) for a, b in zip(finer, chunks.shape, strict=True)
                )
                # A level of another kind than halving and the like ends what is recomputed.
                if any(
                    abs(a / f - b) >= 1
                    for a, b, f in zip(finer, chunks.shape, factors, strict=True)
                ):
                    break
            levels.append(LayoutLevel(chunks, chosen, factors))
        image, version = found if found is not None else (None, "")
        if image is not None:
            # Levels that are named but not stored are left out of what is made from it.
            image["datasets"] = [
                one for one in image["datasets"] if joined(group, str(one["path"])) in arrays
            ]
        return cls(group, tuple(levels), image, version)

    @property
    def finest(self) -> LayoutLevel:
        """The level that slices are read from."""
        return self.levels[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels, in the native byte order."""
        return self.finest.chunks.dtype.newbyteorder("=")


def find_arrays(get: Get, names: Callable[[str], list[str]]) -> tuple[str, list[str]]:
    """Return the path of the image in a store and the paths of its levels, the finest first.

    Parameters
    ----------
    get : callable
        Returns what is stored under a key.
    names : callable
        Lists the names directly below a path.

    Raises
    ------
    StackError
        If there is no image, or more than one.
    """
    path = ""
    for _ in range(4):
        documents = read_documents(get, path)
        if is_array(documents):
            return path, [path]
        attributes = attributes_of(documents)
        found = image_document(attributes)
        if found is not None:
            return path, [joined(path, str(one["path"])) for one in found[0]["datasets"]]
        if "bioformats2raw.layout" in ome_part(attributes):
            path = joined(path, "0")
            continue
        arrays = [name for name in names(path) if is_array(read_documents(get, joined(path, name)))]
        if len(arrays) != 1:
            break
        path = joined(path, arrays[0])
    raise StackError("The zarr holds no image, or several: name the array inside it.")
