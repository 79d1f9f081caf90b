"""Read tilt series: MRC, TIFF, folders, HDF5, HyperSpy and Berkeley EMD files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import InputError, StackError
from sff_napari.io_atomic import explain
from sff_napari.stacks import open_stack
from sff_napari.stacks.microscope_files import microscope_signal, scale_in_nm
from sff_napari.tilt_series.angles import read_tilts, tilts_beside

HDF5_SUFFIXES = (".hspy", ".emd", ".h5", ".hdf5", ".hdf")
_RADIANS = ("rad", "radian", "radians")


@dataclass(frozen=True)
class SeriesFile:
    """A series as it is stored.

    Parameters
    ----------
    images : ndarray, (T, Y, X)
        In the order of the file.
    tilts : ndarray, (T,)
        In degrees.
    tilts_from : str
        Where they were read.
    pixel_size : float, optional
        In nm.
    path : Path
        Of the series.
    """

    images: NDArray[Any]
    tilts: NDArray[np.float64]
    tilts_from: str
    pixel_size: float | None
    path: Path


def read_series(path: Path, tilts: Path | None = None) -> SeriesFile:
    """Return a tilt series with its angles; the files are only read.

    Parameters
    ----------
    path : Path
        MRC (.mrc, .st, .ali), a TIFF stack, a folder of images, a zarr, an HDF5, HyperSpy
        (.hspy) or Berkeley EMD file; formats of microscopes if rosettasciio is installed.
    tilts : Path, optional
        File with the angles; else those in the file itself, or in a file
        .tlt, .rawtlt or .mdoc beside it.

    Raises
    ------
    StackError
        If a file cannot be read.
    InputError
        If there are no angles, or of another number.
    """
    path = Path(path)
    if not path.exists():
        raise StackError(f"{path} does not exist: check the name of the series.")
    stored: NDArray[np.float64] | None = None
    if path.suffix.lower() in HDF5_SUFFIXES:
        images, stored, pixel_size = _read_hdf5(path)
    else:
        images, stored, pixel_size = _read_stack(path)
    beside = tilts or (None if stored is not None else tilts_beside(path))
    if beside is not None:
        stored, name = read_tilts(beside), beside.name
    else:
        name = path.name
    if stored is None:
        raise InputError(
            f"{path} says nothing of its tilt angles: give a file with one angle a line "
            "(--tilts), or put a .tlt, .rawtlt or .mdoc beside it."
        )
    if len(stored) != len(images):
        raise InputError(
            f"{name} holds {len(stored)} angles, but {path.name} {len(images)} images."
        )
    return SeriesFile(images, stored, name, pixel_size, path)


Parts = tuple[NDArray[Any], NDArray[np.float64] | None, float | None]


def _read_stack(path: Path) -> Parts:
    try:
        stack = open_stack(path)
    except StackError:
        other = _read_by_rosettasciio(path)
        if other is None:
            raise
        return other
    with stack:
        images = np.stack([stack[number] for number in range(len(stack))])
        size = stack.voxel_size
    # A voxel of just 1 angstrom is what programs write that do not know it.
    known = size is not None and abs(float(size[2]) - 0.1) > 1e-6
    return images, None, float(size[2]) if size is not None and known else None


def _read_by_rosettasciio(path: Path) -> Parts | None:
    """Return what rosettasciio reads of a file of a microscope; None where it is not installed."""
    signal = microscope_signal(path)
    if signal is None:
        return None
    images, axes = signal["data"], signal["axes"]
    if images.ndim != 3:
        raise InputError(f"{path} holds {images.ndim} axes, a tilt series has three.")
    return images, _axis_tilts(axes[0], len(images)), scale_in_nm(axes[2])


def _read_hdf5(path: Path) -> Parts:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            found: list[Any] = []

            def look(name: str, node: Any) -> None:
                if isinstance(node, h5py.Dataset) and node.ndim == 3 and node.dtype.kind in "buif":
                    found.append(node)

            file.visititems(look)
            if not found:
                raise StackError(f"{path} holds no array of three axes: a tilt series has them.")
            data = max(found, key=lambda node: node.size)
            images = np.asarray(data)
            tilts, size = _described(data)
    except OSError as error:
        if error.errno is not None:
            raise explain(error, path, "read") from error
        raise StackError(f"{path} is not an HDF5 file, or it is damaged or truncated.") from error
    return images, tilts, size


def _described(data: Any) -> tuple[NDArray[np.float64] | None, float | None]:
    """Return the tilts and the pixel size that lie around a dataset, as two formats put them."""
    group = data.parent
    count = data.shape[0]
    if "axis-0" in group:  # HyperSpy
        size = scale_in_nm(_plain(group["axis-2"].attrs)) if "axis-2" in group else None
        return _axis_tilts(_plain(group["axis-0"].attrs), count), size
    if "dim1" in group:  # Berkeley EMD
        tilts = np.asarray(group["dim1"], float).ravel()
        units = _plain(group["dim1"].attrs).get("units", "")
        size = None
        if "dim3" in group and len(group["dim3"]) > 1:
            step = float(group["dim3"][1] - group["dim3"][0])
            size = scale_in_nm({"scale": step, **_plain(group["dim3"].attrs)})
        if str(units).strip("[]") in _RADIANS:
            tilts = np.degrees(tilts)
        return (tilts if len(tilts) == count and np.ptp(tilts) > 0 else None), size
    for name in ("tilts", "tilt_angles", "angles"):
        if name in group and group[name].shape == (count,):
            return np.asarray(group[name], float), None
    return None, None


def _plain(attributes: Any) -> dict[str, Any]:
    return {
        key: value.decode() if isinstance(value, bytes) else value
        for key, value in dict(attributes).items()
    }


def _axis_tilts(axis: dict[str, Any], count: int) -> NDArray[np.float64] | None:
    """Return the tilts of an axis that says it is one of tilts."""
    if "axis" in axis and np.size(axis["axis"]) == count:
        places = np.asarray(axis["axis"], float)
    elif "scale" in axis:
        places = float(axis.get("offset", 0.0)) + float(axis["scale"]) * np.arange(count)
    else:
        return None
    units, name = str(axis.get("units", "")).lower(), str(axis.get("name", "")).lower()
    if units in _RADIANS:
        return np.degrees(places)
    return places if units.startswith("deg") or units == "°" or "tilt" in name else None
