"""Write stacks: copies, simulated ones, and restored ones with their record."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypedDict, Unpack

import numpy as np
import tifffile
from numpy.typing import NDArray

from sff_napari.errors import StackError
from sff_napari.io_atomic import (
    atomic_folder,
    atomic_path,
    explain,
    partial_name,
    uninterrupted,
    write_json,
)
from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter
from sff_napari.stacks import tiff
from sff_napari.stacks.description import VoxelSize
from sff_napari.stacks.grey import inverted
from sff_napari.stacks.ome import OmeWriter, put
from sff_napari.stacks.tiff_options import tiff_options

MASK_NOTES = {
    "synthesised": "Share of each pixel that does not come from the damaged slice, times 255; "
    "0 in slices that were not restored.",
    "hidden": "255 where a simulated fold hides the tissue, 0 elsewhere.",
}
FLOW_NOTE = (
    "Sampling offset (dy, dx) in pixels: unfolded(x) = damaged(x + flow(x)); NaN where there is "
    "no source, 0 in slices that were not restored."
)


@dataclass(frozen=True)
class RestoredSlice:
    """What is stored of one restored slice.

    Parameters
    ----------
    restored : ndarray, (Y, X)
        In the dtype of the stack.
    synthesised : ndarray, (Y, X)
        In [0, 1]: share of each pixel that does not come from the damaged slice.
    flow : ndarray, (2, Y, X) float32
        Sampling offset (dy, dx) in pixels; NaN where there is no source.
    record : mapping
        How it was made, plain JSON types.
    """

    restored: NDArray[Any]
    synthesised: NDArray[Any]
    flow: NDArray[Any]
    record: Mapping[str, Any] = field(default_factory=dict)


class WriteOptions(TypedDict, total=False):
    """How a stack is written.

    Parameters
    ----------
    voxel_size : (z, y, x), optional
        In nm; the stack's own where not given.
    name : str, optional
        Of the image; from the path where not given.
    overwrite : bool
        Whether something that exists at the path is replaced.
    progress : callable, optional
        Called as ``progress(share, text)``.
    cancelled : callable, optional
        True stops the work; nothing is left behind.
    """

    voxel_size: VoxelSize | None
    name: str | None
    overwrite: bool
    progress: ProgressCallback | None
    cancelled: CancelledCallback | None


class _Slices(Protocol):
    """Anything with a shape (Z, Y, X), a dtype, and slices by index."""

    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, z: int, /) -> NDArray[Any]: ...


def check_output(path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Return a path that a stack may be written to, so that it fails before the work.

    Parameters
    ----------
    path : path-like
        Ending in ``.zarr``, ``.tif`` or ``.tiff``.
    overwrite : bool
        Whether something that exists there may be replaced.

    Raises
    ------
    StackError
        If the name has another ending, something is there already, or its
        folder is missing or may not be written to.
    """
    target = Path(path).expanduser()
    if target.suffix.lower() not in (".zarr", *tiff.SUFFIXES):
        raise StackError(f"{target} cannot be written: name it with .zarr or .tif at the end.")
    if target.exists() and not overwrite:
        raise StackError(
            f"{target} exists already: choose another name, or ask for it to be overwritten."
        )
    # Tries now what will be done later: making and filling a folder beside the target.
    probe = partial_name(target)
    try:
        probe.mkdir()
        (probe / "probe").write_bytes(b"0" * 4096)
    except OSError as error:
        raise explain(error, target) from error
    finally:
        shutil.rmtree(probe, ignore_errors=True)
    return target


def write_stack(
    path: str | os.PathLike[str], stack: _Slices, **options: Unpack[WriteOptions]
) -> Path:
    """Write a stack slice by slice; it appears at `path` once it is complete.

    Parameters
    ----------
    path : path-like
        ``.zarr`` for OME-Zarr 0.5, ``.tif`` for OME-TIFF.
    stack : Stack or ndarray, (Z, Y, X)
        What to write; one slice at a time is in memory.
    **options : any
        See `WriteOptions`.

    Returns
    -------
    Path
        Where it was written.

    Raises
    ------
    StackError
        If it cannot be written.
    Cancelled
        If it was cancelled.

    See Also
    --------
    sff_napari.stacks.open_stack : Reads it.
    sff_napari.stacks.write_restored : Writes restored slices with their flow.

    Examples
    --------
    >>> from sff_napari.simulation import neuropil
    >>> from sff_napari.stacks import open_stack, write_stack
    >>> path = write_stack("tissue.zarr", neuropil((3, 64, 64)), voxel_size=(40, 4, 4))
    >>> open_stack(path).voxel_size
    (40.0, 4.0, 4.0)
    """
    return write_restored(path, stack, (), _no_slice, **options)


def write_restored(
    path: str | os.PathLike[str],
    stack: _Slices,
    slices: Collection[int],
    restore_slice: Callable[[int, Reporter], RestoredSlice],
    *,
    manifest: Mapping[str, Any] | None = None,
    mask: str = "synthesised",
    voxel_size: VoxelSize | None = None,
    name: str | None = None,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> Path:
    """Write a stack of which some slices are replaced by restored ones.

    A zarr gets two more arrays, ``synthesised`` (Z, Y, X) uint8 and ``flow``
    (Z, 2, Y, X) float32, in which only restored slices take space, and the
    manifest in its attributes under ``sff_napari``.  A TIFF gets files beside
    it: ``.synthesised.tif`` and ``.flow.tif`` with the restored slices only,
    and ``.restoration.json``.

    Parameters
    ----------
    path : path-like
        ``.zarr`` for OME-Zarr 0.5, ``.tif`` for OME-TIFF.
    stack : Stack or ndarray, (Z, Y, X)
        The original; it is only read.
    slices : collection of int
        The slices to replace.
    restore_slice : callable
        ``restore_slice(z, reporter)`` returns the replacement of slice z.
    manifest : mapping, optional
        What was done, plain JSON types; the slices' records are added to it.
    mask : str
        Name of the array or file that holds `RestoredSlice.synthesised`.
    voxel_size, name, overwrite, progress, cancelled
        See `WriteOptions`.

    Returns
    -------
    Path
        Where it was written.

    Raises
    ------
    StackError
        If it cannot be written.
    Cancelled
        If it was cancelled; nothing is left behind.
    """
    target = check_output(path, overwrite=overwrite)
    size = voxel_size or getattr(stack, "voxel_size", None)
    wanted = set(slices)
    records: list[dict[str, Any]] = []
    job = _Job(
        target,
        stack,
        _produced(stack, wanted, restore_slice, records, Reporter(progress, cancelled)),
        {**(manifest or {}), "slices": records} if wanted else None,
        mask,
        size,
        name or target.stem,
        overwrite,
    )
    if target.suffix.lower() == ".zarr":
        _write_zarr(job)
    else:
        _write_tiff(job)
    if progress is not None:
        progress(1.0, "written")
    return target


Produced = Iterator[tuple[int, NDArray[Any], RestoredSlice | None]]


@dataclass(frozen=True)
class _Job:
    """What is written, where, and under which name; `manifest` is None for a plain copy."""

    target: Path
    stack: _Slices
    produced: Produced
    manifest: dict[str, Any] | None
    mask: str
    size: VoxelSize | None
    name: str
    overwrite: bool


def _produced(
    stack: _Slices,
    wanted: Collection[int],
    restore_slice: Callable[[int, Reporter], RestoredSlice],
    records: list[dict[str, Any]],
    report: Reporter,
) -> Produced:
    """Make one slice after another; the records are complete once all were taken."""
    # Copying a slice is cheap beside restoring one.
    costs = np.array([20.0 if z in wanted else 1.0 for z in range(stack.shape[0])])
    ends = np.concatenate([[0.0], np.cumsum(costs) / costs.sum()])
    for z in range(stack.shape[0]):
        part = report.part(float(ends[z]), float(ends[z + 1]))
        part(0.0, f"slice {z}")
        if z in wanted:
            made = restore_slice(z, part)
            records.append({"slice": z, **made.record})
            yield z, made.restored, made
        else:
            yield z, stack[z], None


def _no_slice(z: int, reporter: Reporter) -> RestoredSlice:
    raise AssertionError(f"slice {z} is not to be replaced")


def _write_zarr(job: _Job) -> None:
    with atomic_folder(job.target, overwrite=job.overwrite) as folder:
        with uninterrupted():
            writer = OmeWriter(
                folder,
                job.stack.shape,
                np.dtype(job.stack.dtype),
                job.size,
                job.name,
                getattr(job.stack, "offset", (0, 0, 0)),
            )
            if job.manifest is not None:
                synthesised = writer.add_sparse(
                    job.mask, (), "uint8", MASK_NOTES.get(job.mask, job.mask)
                )
                flow = writer.add_sparse("flow", (2,), "float32", FLOW_NOTE)
        for z, image, made in job.produced:
            writer.write(z, image)
            if made is not None:
                put(synthesised, z, as_bytes(made.synthesised))
                put(flow, z, made.flow.astype(np.float32))
        if job.manifest is not None:
            with uninterrupted():
                writer.group.attrs["sff_napari"] = job.manifest


def _write_tiff(job: _Job) -> None:
    dtype = np.dtype(job.stack.dtype)
    total = int(np.prod(job.stack.shape, dtype=np.int64)) * dtype.itemsize
    free = shutil.disk_usage(job.target.absolute().parent).free
    if total > free:
        raise StackError(
            f"{job.target} needs {total / 1e9:.1f} GB, but the disk has only "
            f"{free / 1e9:.1f} GB free: free some space or choose another place."
        )
    kept: Mapping[str, Any] = getattr(job.stack, "kept", {})
    options = tiff_options(kept, dtype, job.size, job.name, total)
    turn = inverted if options["page"]["photometric"] == "miniswhite" else np.asarray
    with ExitStack() as files:
        # The stack itself is put in place last: once it is there, all of it is.
        partial = files.enter_context(atomic_path(job.target))
        pages: Iterator[NDArray[Any]] = (image for _, image, _ in job.produced)
        if job.manifest is not None:
            sides = [
                files.enter_context(
                    tifffile.TiffWriter(
                        files.enter_context(atomic_path(beside(job.target, key))), bigtiff=True
                    )
                )
                for key in (f"{job.mask}.tif", "flow.tif")
            ]
            pages = _with_sides(job.produced, sides[0], sides[1])
        with tifffile.TiffWriter(partial, **options["file"]) as file:
            file.write(
                (turn(page) for page in pages),
                shape=job.stack.shape,
                dtype=dtype,
                **options["page"],
            )
        if job.manifest is not None:
            write_json(beside(job.target, "restoration.json"), job.manifest)


def _with_sides(
    produced: Produced, synthesised: tifffile.TiffWriter, flow: tifffile.TiffWriter
) -> Iterator[NDArray[Any]]:
    """Pass the slices on; write what comes with the restored ones."""
    for z, image, made in produced:
        if made is not None:
            packed: dict[str, Any] = {
                "photometric": "minisblack",
                "compression": "zlib",
                "description": f"slice {z}",
                "metadata": None,
            }
            synthesised.write(as_bytes(made.synthesised), **packed)
            for component in made.flow.astype(np.float32):
                flow.write(component, **packed)
        yield image


def beside(target: Path, ending: str) -> Path:
    """Return the path of a file that goes with a TIFF, e.g. ``OUT.flow.tif``."""
    return target.with_name(f"{target.stem}.{ending}")


def as_bytes(share: NDArray[Any]) -> NDArray[np.uint8]:
    """Return shares in [0, 1] as bytes, 255 for 1."""
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)
