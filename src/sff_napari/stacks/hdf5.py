"""Read stacks in HDF5 files, through h5py: CREMI, ilastik, Imaris-like and others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import StackError
from sff_napari.io_atomic import explain
from sff_napari.stacks.axes import choose_axes
from sff_napari.stacks.description import Readers, StackInfo, VoxelSize
from sff_napari.stacks.stack import SUPPORTED, Stack
from sff_napari.stacks.units import voxel_size

SUFFIXES = (".h5", ".hdf", ".hdf5", ".he5")
_MOST_LISTED = 8
_MOST_NODES = 10_000


def split_path(path: Path) -> tuple[Path, str] | None:
    """Return the HDF5 file that a path names, and the dataset inside it; None of other paths.

    Parameters
    ----------
    path : Path
        ``FILE.h5`` or ``FILE.h5/volumes/raw``.
    """
    for place in (path, *path.parents):
        if place.suffix.lower() in SUFFIXES and place.is_file():
            return place, path.relative_to(place).as_posix().strip(".")
    return None


def open_hdf5(path: Path, inside: str = "", select: Mapping[str, int] | None = None) -> Stack:
    """Return the stack in a dataset of an HDF5 file.

    Parameters
    ----------
    path : Path
        The file.
    inside : str
        Of the dataset, e.g. ``"volumes/raw"``; where the file holds one image
        alone, it need not be named.
    select : mapping of str to int, optional
        Index on each further axis; 0 where not given.

    Raises
    ------
    StackError
        If the file is damaged, or holds no such dataset, or several.
    """
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        if error.errno is not None:
            raise explain(error, path, "read") from error
        raise StackError(f"{path} is not an HDF5 file, or it is damaged or truncated.") from error
    try:
        name = inside or _only_image(file, path)
        data = file.get(name)
        if not isinstance(data, h5py.Dataset):
            raise StackError(
                f"{path} has no dataset {name!r}: name one of {_listed(path, _images(file))}."
            )
        return _stack_of(file, data, path, name, select or {})
    except StackError:
        file.close()
        raise
    except Exception as error:  # damaged files make the library raise anything
        file.close()
        raise StackError(f"{path} is a damaged HDF5 file ({error}).") from error


def _stack_of(file: Any, data: Any, path: Path, name: str, select: Mapping[str, int]) -> Stack:
    if not 2 <= data.ndim <= 5:
        raise StackError(f"{path}/{name} has {data.ndim} dimensions: a stack has (Z, Y, X).")
    axes = _axes_of(data)
    chosen = choose_axes(axes, data.shape, select, f"{path}/{name}")
    size = _size_of(data)

    def load(index: tuple[Any, ...]) -> NDArray[Any]:
        return np.asarray(data[index])

    depth = 1
    if data.chunks is not None and chosen.slices is not None:
        depth = int(data.chunks[chosen.slices])
    fill = data.fillvalue
    return Stack(
        Readers(
            chosen.reader(load),
            close=file.close,
            region=chosen.region_reader(load),
            block=chosen.block_reader(load, depth),
        ),
        StackInfo(
            chosen.shape,
            data.dtype,
            kind="HDF5",
            name=path.stem,
            path=path,
            location=str(path / name),
            axes=axes,
            voxel_size=size,
            offset=_offset_of(data, size),
            chunks=None if data.chunks is None else tuple(data.chunks),
            details={"dataset": name, "compression": data.compression or "none", **chosen.details},
            fill_value=float(fill) if fill else None,
        ),
    )


def _only_image(file: Any, path: Path) -> str:
    found = _images(file)
    if len(found) == 1:
        return found[0]
    if not found:
        raise StackError(
            f"{path} holds no image that can be read: a stack is a dataset with 2 to 5 dimensions "
            f"of dtype {', '.join(SUPPORTED)}."
        )
    raise StackError(f"{path} holds {len(found)} images: name one of {_listed(path, found)}.")


def _images(file: Any) -> list[str]:
    """Return the names of the datasets that may be stacks; labels have other dtypes."""
    import h5py

    found: list[str] = []
    seen = 0

    def look(name: str, node: Any) -> bool | None:
        nonlocal seen
        seen += 1
        usual = isinstance(node, h5py.Dataset) and 2 <= node.ndim <= 5
        if usual and node.dtype.newbyteorder("=").name in SUPPORTED and min(node.shape) > 0:
            found.append(name)
        return True if seen >= _MOST_NODES else None

    file.visititems(look)
    return found


def _listed(path: Path, names: list[str]) -> str:
    shown = [f"{path}/{name}" for name in names[:_MOST_LISTED]]
    return ", ".join(shown) + (", ..." if len(names) > _MOST_LISTED else "")


def _axes_of(data: Any) -> str:
    """Return one letter an axis: what h5py's or ilastik's labels say, else the usual."""
    labels = [dimension.label.lower()[:1] for dimension in data.dims]
    if all(labels) and len(set(labels)) == data.ndim and {"y", "x"} <= set(labels):
        return "".join(labels)
    if data.ndim == 4 and data.shape[-1] == 1:
        return "zyxc"  # ilastik
    return "tczyx"[-data.ndim :]


def _numbers(data: Any, name: str) -> list[float] | None:
    value = data.attrs.get(name)
    if value is None:
        value = data.parent.attrs.get(name)
    values = None if value is None else np.asarray(value, dtype=np.float64).ravel().tolist()
    return values if values is not None and len(values) == 3 else None


def _size_of(data: Any) -> VoxelSize | None:
    """Return the voxel size: CREMI's ``resolution`` in nm, ``element_size_um`` of others."""
    for name, unit in (("resolution", "nm"), ("element_size_um", "um")):
        values = _numbers(data, name)
        if values is not None:
            return voxel_size(values, (unit,) * 3)
    return None


def _offset_of(data: Any, size: VoxelSize | None) -> tuple[float, float, float]:
    values = _numbers(data, "offset")
    if values is None or size is None:
        return 0.0, 0.0, 0.0
    z, y, x = (value / step for value, step in zip(values, size, strict=True))
    return z, y, x
