"""Write OME-Zarr 0.5 slice by slice, with its coarser levels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from sff_napari.io_atomic import uninterrupted
from sff_napari.stacks.description import VoxelSize

_TILE = 1024
_COARSEST = 512
"""Levels are added until a slice's longer side is at most this, in pixels."""


class OmeWriter:
    """A new OME-Zarr group that takes one slice after another.

    Parameters
    ----------
    folder : Path
        An empty folder; it becomes the group.
    shape : (Z, Y, X)
        Of the stack.
    dtype : dtype
        Of the slices.
    voxel_size : (z, y, x), optional
        In nm.
    name : str
        Of the image.
    offset : (z, y, x)
        Where the first voxel lies, in voxels.
    """

    def __init__(
        self,
        folder: Path,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        voxel_size: VoxelSize | None = None,
        name: str = "stack",
        offset: tuple[float, float, float] = (0, 0, 0),
    ) -> None:
        self.group = zarr.open_group(folder, mode="w", zarr_format=3)
        self._shape = shape
        self._levels = []
        sizes = [shape[1:]]
        while max(sizes[-1]) > _COARSEST and min(sizes[-1]) > 1:
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
        for level, (height, width) in enumerate(sizes):
            self._levels.append(
                self.group.create_array(
                    str(level),
                    shape=(shape[0], height, width),
                    chunks=(1, min(_TILE, height), min(_TILE, width)),
                    dtype=dtype,
                    dimension_names=["z", "y", "x"],
                )
            )
        factors = [(2**level, 2**level) for level in range(len(sizes))]
        self.group.attrs["ome"] = image_metadata(factors, voxel_size, name, "mean", offset)

    def write(self, z: int, image: NDArray[Any]) -> None:
        """Write slice `z` (Y, X) at every level."""
        for level in self._levels:
            put(level, z, image)
            image = halved(image)

    def add_sparse(self, name: str, sizes: tuple[int, ...], dtype: str, note: str) -> zarr.Array:
        """Add an array (Z, *sizes, Y, X) of which only some slices will be written.

        Parameters
        ----------
        name : str
            Of the array in the group.
        sizes : tuple of int
            Axes between z and y, e.g. (2,) for a flow.
        dtype : str
            Slices that are never written read as 0 and take no space.
        note : str
            What it means; stored with it.
        """
        height, width = self._shape[1:]
        return self.group.create_array(
            name,
            shape=(self._shape[0], *sizes, height, width),
            chunks=(1, *sizes, min(_TILE, height), min(_TILE, width)),
            dtype=dtype,
            fill_value=0,
            dimension_names=["z", *["c"] * len(sizes), "y", "x"],
            attributes={"description": note},
        )


def put(array: zarr.Array, z: int, value: NDArray[Any]) -> None:
    """Write slice `z` of an array; zarr does it in a thread that must not be left behind."""
    with uninterrupted():
        array[z] = value


def halved(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image (Y, X) at half the size: means of 2 x 2 pixels, in its own dtype."""
    height, width = image.shape
    padded = np.pad(image, ((0, height % 2), (0, width % 2)), mode="edge")
    kind = np.float64 if image.dtype == np.float64 else np.float32
    quarters = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2)
    mean = quarters.mean(axis=(1, 3), dtype=kind)
    if image.dtype.kind in "ui":
        mean = np.rint(mean)
    return mean.astype(image.dtype)


def image_metadata(
    factors: Sequence[tuple[float, float]],
    voxel_size: VoxelSize | None,
    name: str,
    kind: str | None = None,
    offset: tuple[float, float, float] = (0, 0, 0),
) -> dict[str, Any]:
    """Return the metadata of an OME-Zarr 0.5 whose levels are named 0, 1, ...

    Parameters
    ----------
    factors : sequence of (float, float)
        Pixels of the finest level, along y and x, that one of each level stands for.
    voxel_size : (z, y, x), optional
        Of the finest level, in nm.
    name : str
        Of the image.
    kind : str, optional
        How coarser levels were made.
    offset : (z, y, x)
        Where the first voxel lies, in voxels of the finest level.
    """
    axes: list[dict[str, str]] = [{"name": axis, "type": "space"} for axis in "zyx"]
    if voxel_size is not None:
        for axis in axes:
            axis["unit"] = "nanometer"
    size = voxel_size or (1.0, 1.0, 1.0)
    datasets = []
    for level, (rows, columns) in enumerate(factors):
        # The first pixel of a coarse level lies in the middle of those it stands for.
        shift = [
            size[0] * offset[0],
            size[1] * (offset[1] + (rows - 1) / 2),
            size[2] * (offset[2] + (columns - 1) / 2),
        ]
        datasets.append(
            {
                "path": str(level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [size[0], size[1] * rows, size[2] * columns]},
                    {"type": "translation", "translation": shift},
                ],
            }
        )
    image: dict[str, Any] = {"name": name, "axes": axes, "datasets": datasets}
    if kind is not None:
        image["type"] = kind
    return {"version": "0.5", "multiscales": [image]}
