"""Write Neuroglancer's precomputed format, block by block, through tensorstore."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import InputError
from sff_napari.io_atomic import atomic_folder
from sff_napari.progress import Reporter
from sff_napari.stacks import VoxelSize
from sff_napari.stacks.tensorstores import need_tensorstore
from sff_napari.volumes.exports.masks import FoldMasks

CHUNK = 512
"""Side of the chunks, px; they are one slice deep."""
MOST_MIPS = 12


class PrecomputedWriter:
    """A precomputed volume that takes parts of slices; what is never written reads as 0.

    Parameters
    ----------
    folder : Path
        An empty folder.
    shape : (Z, Y, X)
        Of the volume, px.
    dtype : str
        ``"uint8"``, ``"float32"``, ...
    voxel_size : (z, y, x)
        In nm.
    channels : int
        Values a voxel.
    mips : int
        Scales; each halves y and x, rounded up.
    offset : (z, y, x)
        Where the first voxel lies, in voxels.
    """

    def __init__(
        self,
        folder: Path,
        shape: tuple[int, int, int],
        dtype: str,
        voxel_size: VoxelSize,
        *,
        channels: int = 1,
        mips: int = 1,
        offset: tuple[float, float, float] = (0, 0, 0),
    ) -> None:
        tensorstore = need_tensorstore(folder, "precomputed")
        self._stores: list[Any] = []
        depth, height, width = shape
        z, y, x = voxel_size
        first = [round(at) for at in offset]
        for mip in range(mips):
            spec = {
                "driver": "neuroglancer_precomputed",
                "kvstore": {"driver": "file", "path": f"{folder.absolute().as_posix()}/"},
                "multiscale_metadata": {
                    "type": "image",
                    "data_type": dtype,
                    "num_channels": channels,
                },
                "scale_metadata": {
                    "size": [-(-width >> mip), -(-height >> mip), depth],
                    "voxel_offset": [first[2] >> mip, first[1] >> mip, first[0]],
                    "resolution": [x * 2**mip, y * 2**mip, z],
                    "chunk_size": [CHUNK, CHUNK, 1],
                    "encoding": "raw",
                },
            }
            # The folder is made sure of as a whole; doing it file by file as well is slow.
            context = tensorstore.Context({"file_io_sync": False})
            opened = tensorstore.open(spec, create=True, open=True, context=context).result()
            self._stores.append(opened[tensorstore.d[:].translate_to[0]])

    def write(self, mip: int, z: int, rows: slice, columns: slice, values: NDArray[Any]) -> None:
        """Write a part (channels, rows, columns) of slice `z` at a scale."""
        self._stores[mip][columns, rows, z, :] = np.asarray(values).transpose(2, 1, 0)


def write_mask_layer(
    folder: Path,
    masks: FoldMasks,
    voxel_size: VoxelSize,
    *,
    mips: int = 1,
    offset: tuple[float, float, float] = (0, 0, 0),
    overwrite: bool = False,
    progress: Callable[[float, str], None] | None = None,
) -> Path:
    """Write fold masks as a mask layer for corgie: precomputed, uint8, 1 in folds.

    Each scale is the maximum of 2 x 2 pixels of the one before, as corgie
    reduces masks.  Chunks without a fold are not stored.

    Parameters
    ----------
    folder : Path
        To make.
    masks : FoldMasks
        What to write.
    voxel_size : (z, y, x)
        In nm.
    mips : int
        Scales from full resolution on.
    offset : (z, y, x)
        Where the first voxel lies, in voxels.
    overwrite : bool
        Whether an existing folder is replaced.
    progress : callable, optional
        See `sff_napari.progress`.

    Raises
    ------
    InputError
        If there are too many scales.
    StackError
        If it cannot be written.
    """
    if not 1 <= mips <= MOST_MIPS:
        raise InputError(f"{mips} scales cannot be written: use 1 to {MOST_MIPS}.")
    report = Reporter(progress)
    with atomic_folder(folder, overwrite=overwrite) as partial:
        writer = PrecomputedWriter(
            partial, masks.shape, "uint8", voxel_size, mips=mips, offset=offset
        )
        for number, z in enumerate(masks.slices):
            report(number / len(masks.slices), f"slice {z}")
            for mip in range(mips):
                for rows, columns in masks.tiles(z, mip, CHUNK):
                    values = masks.read(z, rows, columns, mip)
                    if values.any():
                        writer.write(mip, z, rows, columns, values[None].astype(np.uint8))
    report(1.0, "written")
    return folder
