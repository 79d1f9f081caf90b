"""Read stacks in MRC files, through mrcfile: tomograms, tilt series, and what IMOD writes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import StackError
from sff_napari.io_atomic import explain
from sff_napari.stacks.axes import choose_axes
from sff_napari.stacks.description import Readers, StackInfo
from sff_napari.stacks.stack import Stack
from sff_napari.stacks.units import voxel_size

SUFFIXES = (".mrc", ".mrcs", ".rec", ".ali", ".st", ".preali", ".map")


def open_mrc(path: Path, select: Mapping[str, int] | None = None) -> Stack:
    """Return the stack in an MRC file; its sections are the slices, rows are as stored.

    Signed values of 8 and 16 bits are moved to unsigned ones: 128 and 32768
    are added, so that what was darker stays darker.

    Parameters
    ----------
    path : Path
        The file; it is memory-mapped.
    select : mapping of str to int, optional
        Index on further axes, of a stack of volumes.

    Raises
    ------
    StackError
        If it is no MRC file, truncated, or of complex values.
    """
    import mrcfile

    try:
        with warnings.catch_warnings():
            # Old headers lack marks of the standard of today.
            warnings.simplefilter("ignore")
            file = mrcfile.mmap(path, mode="r", permissive=True)
    except OSError as error:
        raise explain(error, path, "read") from error
    except Exception as error:  # damaged headers make the library raise anything
        raise StackError(f"{path} is not an MRC file, or it is damaged ({error}).") from error
    data = file.data
    if data is None or data.size == 0:
        file.close()
        raise StackError(f"{path} is not an MRC file, or it is damaged or truncated.")
    if data.dtype.kind == "c":
        file.close()
        raise StackError(f"{path} holds complex values: a stack has grey values.")
    convert, dtype = _conversion(data)
    axes = "tzyx"[-data.ndim :]
    try:
        chosen = choose_axes(axes, data.shape, select or {}, path)
    except StackError:
        file.close()
        raise
    spacing = file.voxel_size
    sizes = [float(spacing[axis]) or None for axis in "zyx"]
    # Cell sizes of a tilt series say nothing of the third axis, but are not 0 either.
    size = voxel_size(sizes, ("angstrom",) * 3) if all(sizes) else None

    def load(index: tuple[Any, ...]) -> NDArray[Any]:
        return convert(np.asarray(data[index]))

    return Stack(
        Readers(chosen.reader(load), close=file.close, region=chosen.region_reader(load)),
        StackInfo(
            chosen.shape,
            dtype,
            kind="MRC",
            name=path.stem,
            path=path,
            axes=axes,
            voxel_size=size,
            details={"stored as": data.dtype.newbyteorder("=").name, **chosen.details},
        ),
    )


def _conversion(
    data: NDArray[Any],
) -> tuple[Callable[[NDArray[Any]], NDArray[Any]], np.dtype[Any]]:
    if data.dtype.kind != "i":
        return np.asarray, data.dtype
    wide = data.dtype.itemsize > 1
    low, kind = (32768, np.uint16) if wide else (128, np.uint8)
    return lambda array: (array.astype(np.int32) + low).astype(kind), np.dtype(kind)
