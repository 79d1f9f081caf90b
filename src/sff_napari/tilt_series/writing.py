"""Write tomograms, and keep unfinished ones."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import StackError
from sff_napari.io_atomic import atomic_folder, atomic_path, uninterrupted, write_bytes, write_json
from sff_napari.stacks.ome import OmeWriter
from sff_napari.tilt_series.tomogram import Tomogram

ENDINGS = (".zarr", ".mrc")


def check_tomogram_path(path: Path, *, overwrite: bool = False) -> None:
    """Check that a tomogram may be written to a path, before the work.

    Raises
    ------
    StackError
        If the name has another ending, its folder is missing, or something is there.
    """
    if path.suffix.lower() not in ENDINGS:
        raise StackError(f"{path} cannot be written: name it with .zarr or .mrc at the end.")
    for place in _written(path):
        if place.exists() and not overwrite:
            raise StackError(f"{place} exists already: choose another name, or use --overwrite.")
    if not path.absolute().parent.is_dir():
        raise StackError(f"{path} could not be written: its folder does not exist: create it.")


def _written(path: Path) -> list[Path]:
    """Return all that a tomogram at a path is written to, the path itself last."""
    if path.suffix.lower() != ".mrc":
        return [path]
    endings = ("projections.mrc", "residuals.mrc", "record.json")
    return [*(path.with_name(f"{path.stem}.{ending}") for ending in endings), path]


def write_tomogram(
    path: Path,
    tomogram: Tomogram,
    record: dict[str, Any],
    *,
    pixel_size: float | None = None,
    overwrite: bool = False,
) -> None:
    """Write a volume with its projections, residuals and record; it appears when complete.

    Parameters
    ----------
    path : Path
        ``.zarr``: OME-Zarr 0.5 whose group also holds the arrays ``projections``
        and ``residuals`` (T, Y, X); ``.mrc``: the volume, and beside it
        ``.projections.mrc``, ``.residuals.mrc`` and ``.record.json``.
    tomogram : Tomogram
        What to write.
    record : dict
        How it was made, plain JSON types.
    pixel_size : float, optional
        In nm.
    overwrite : bool
        Whether what is there is replaced.

    Raises
    ------
    StackError
        If it cannot be written.
    """
    check_tomogram_path(path, overwrite=overwrite)
    if path.suffix.lower() == ".mrc":
        projections, residuals, about, volume = _written(path)
        write_mrc(projections, tomogram.projections, pixel_size)
        write_mrc(residuals, tomogram.residuals, pixel_size)
        write_json(about, record)
        write_mrc(volume, tomogram.volume, pixel_size)
        return
    with atomic_folder(path, overwrite=overwrite) as folder, uninterrupted():
        size = None if pixel_size is None else (pixel_size,) * 3
        shape = tomogram.volume.shape
        writer = OmeWriter(
            folder, (shape[0], shape[1], shape[2]), np.dtype(np.float32), size, path.stem
        )
        for z, image in enumerate(tomogram.volume):
            writer.write(z, image)
        for name, data in (
            ("projections", tomogram.projections),
            ("residuals", tomogram.residuals),
        ):
            array = writer.group.create_array(
                name,
                shape=data.shape,
                chunks=(1, *data.shape[1:]),
                dtype="float32",
                dimension_names=["tilt", "y", "x"],
            )
            array[:] = data
        writer.group.attrs["sff_napari"] = record


def write_mrc(path: Path, data: NDArray[np.float32], pixel_size: float | None = None) -> None:
    """Write an MRC file of 32-bit floats; `pixel_size` is in nm."""
    import mrcfile

    with atomic_path(path) as partial, mrcfile.new(partial) as file:
        file.set_data(np.ascontiguousarray(data, np.float32))
        if pixel_size is not None:
            file.voxel_size = 10 * pixel_size  # in angstrom


class FileCheckpoint:
    """Unfinished work in a hidden file beside the output, for one series and one set of options.

    Parameters
    ----------
    target : Path
        The output.
    identity : dict
        Whatever decides the result, plain JSON types; work of another
        identity is not taken up.
    """

    def __init__(self, target: Path, identity: dict[str, Any]) -> None:
        self.path = target.with_name(f".{target.name}.unfinished.npz")
        text = json.dumps(identity, sort_keys=True)
        self._key = hashlib.sha256(text.encode()).hexdigest()
        self.resumed = False

    def load(self) -> dict[str, NDArray[Any]] | None:
        """Return what was kept of the same work, or None."""
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None
        if str(arrays.pop("key", "")) != self._key:
            return None
        self.resumed = True
        return arrays

    def save(self, state: dict[str, NDArray[Any]]) -> None:
        """Keep the arrays in place of earlier ones."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {"key": np.asarray(self._key), **state}
        np.savez(buffer, **arrays)
        write_bytes(self.path, buffer.getvalue())

    def remove(self) -> None:
        """Forget it: the work is done."""
        self.path.unlink(missing_ok=True)


def series_digest(images: NDArray[Any]) -> str:
    """Return a hash of images, to tell one series from another."""
    data = np.ascontiguousarray(images)
    return hashlib.sha256(data.tobytes() + str(data.shape).encode()).hexdigest()
