"""Open a stack's folder in napari: zarr, OME-Zarr, N5, precomputed, a folder of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import SffError
from sff_napari.napari_plugin.layers.lazy_array import LazyArray

if TYPE_CHECKING:
    from sff_napari.stacks import Stack, VoxelSize

LayerData = tuple[Any, dict[str, Any], str]
_IMAGES = {".tif", ".tiff", ".png", ".jpg", ".jpeg"}
_LOOKED_AT = 50
"""Files of a folder that are looked at to see whether it is a folder of images."""


def get_stack_reader(path: str | list[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return a reader if the folder looks like a stack, else None; little is read for that."""
    if isinstance(path, list):
        return None
    folder = Path(path)
    if not folder.is_dir():
        return None
    markers = ("zarr.json", ".zarray", ".zgroup", "attributes.json", "info")
    if any((folder / marker).is_file() for marker in markers):
        return read_stack
    try:
        some = [file for file, _ in zip(folder.iterdir(), range(_LOOKED_AT), strict=False)]
    except OSError:
        return None
    return read_stack if any(file.suffix.lower() in _IMAGES for file in some) else None


def read_stack(path: str | list[str]) -> list[LayerData]:
    """Return a stack as a lazy image layer, with its voxel size and its coarser levels.

    Raises
    ------
    StackError
        If it cannot be opened.
    """
    from sff_napari.napari_plugin.notify import show_note
    from sff_napari.stacks import open_stack

    stack = open_stack(path[0] if isinstance(path, list) else path)
    levels = [StackArray(stack), *(StackArray(level.stack) for level in stack.levels)]
    many = len(levels) > 1
    kwargs: dict[str, Any] = {
        "name": stack.name,
        "multiscale": many,
        "axis_labels": ("z", "y", "x"),
        **placement(stack.voxel_size),
    }
    if stack.dtype == np.uint8:
        kwargs["contrast_limits"] = (0, 255)
    if len(stack.axes) > 3:
        show_note(f"'{stack.name}' has more axes than z, y and x: the first of each was opened.")
    return [(levels if many else levels[0], kwargs, "image")]


def placement(size: VoxelSize | None) -> dict[str, Any]:
    """Return a layer's scale and units for a voxel size in nm, nothing if it is not known."""
    return {} if size is None else {"scale": tuple(size), "units": ("nm", "nm", "nm")}


@dataclass(frozen=True)
class FileFacts:
    """What a stack's file says about it, beside its pixels.

    Parameters
    ----------
    voxel_size : (z, y, x), optional
        In nm.
    positions : tuple of float, optional
        Where each slice lies, in slices, where some are missing in between.
    fill_value : float, optional
        Value of places without data.
    """

    voxel_size: VoxelSize | None = None
    positions: tuple[float, ...] | None = None
    fill_value: float | None = None


def facts_in_file(path: str | None, shape: tuple[int, ...]) -> FileFacts:
    """Return what a file says about a stack; nothing if it is another stack or cannot be read.

    Parameters
    ----------
    path : str or None
        The file or folder.
    shape : tuple of int
        Shape of the layer that was read from it.
    """
    from sff_napari.stacks import open_stack

    found = FileFacts()
    if path is None:
        return found
    # A level of a pyramid does not say it, the group around it does.
    parent = str(Path(path).parent)
    for place in (path, parent) if Path(path).name.lstrip("s").isdigit() else (path,):
        try:
            with open_stack(place) as stack:
                if tuple(stack.shape) != tuple(shape[-3:]):
                    continue
                found = FileFacts(
                    found.voxel_size or stack.voxel_size,
                    found.positions or stack.positions,
                    stack.fill_value if found.fill_value is None else found.fill_value,
                )
        except (SffError, OSError, ValueError):
            continue  # napari reads more kinds of files than the stacks do
    return found


class StackArray(LazyArray):
    """A stack as an array (Z, Y, X) of which only what is asked for is read."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.shape = tuple(stack.shape)
        self.dtype = np.dtype(stack.dtype)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        key = key if isinstance(key, tuple) else (key,)
        if any(part is Ellipsis for part in key):
            at = next(i for i, part in enumerate(key) if part is Ellipsis)
            key = (*key[:at], *(slice(None),) * (4 - len(key)), *key[at + 1 :])
        key = (*key, *(slice(None),) * (3 - len(key)))
        place, rows, columns = key
        if isinstance(place, slice):
            planes = [self[z, rows, columns] for z in range(*place.indices(self.shape[0]))]
            if planes:
                return np.stack(planes)
            return np.empty((0, *self[0, rows, columns].shape), self.dtype)
        plain = all(isinstance(part, slice) and part.step in (None, 1) for part in (rows, columns))
        empty = plain and any(
            len(range(*part.indices(n))) == 0
            for part, n in zip((rows, columns), self.shape[1:], strict=True)
        )
        if plain and not empty:
            return self._stack.read(int(place), rows, columns)
        return np.asarray(self._stack[int(place)][rows, columns])
