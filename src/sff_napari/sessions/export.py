"""Write the corrected stack and everything that belongs to it; the original is only read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import InputError
from sff_napari.io_atomic import atomic_folder, write_json
from sff_napari.progress import Reporter
from sff_napari.stacks.description import Readers, StackInfo

if TYPE_CHECKING:
    from sff_napari.sessions.records import FoldRecord

ExportFormat = Literal["ome-zarr", "tiff"]
ReadPlane = Callable[[int], NDArray[Any]]


@dataclass(frozen=True)
class ExportJob:
    """What is written.

    Parameters
    ----------
    name : str
        Name of the stack.
    shape : (Z, Y, X)
        Its shape.
    dtype : numpy dtype
        Its data type; the corrected stack has the same.
    read : callable
        ``read(z)`` returns the original slice (Y, X).
    patches : mapping
        For each corrected slice a function ``get(key)`` that returns ``"restored"``,
        ``"synthesised"`` (Y, X) or ``"flow"`` (2, Y, X), or None.
    folds : mapping
        The fold lines by slice.
    records : list of dict
        How each corrected slice was made, plain JSON types.
    voxel_size : (z, y, x), optional
        In nm.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    read: ReadPlane
    patches: Mapping[int, Callable[[str], NDArray[Any] | None]]
    folds: Mapping[int, Sequence[FoldRecord]]
    records: Sequence[dict[str, Any]]
    voxel_size: tuple[float, float, float] | None = None


def export(
    job: ExportJob,
    folder: str | Path,
    format: ExportFormat = "ome-zarr",
    *,
    parts: Sequence[str] = ("stack", "lines", "masks", "flow"),
    overwrite: bool = False,
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[Path]:
    """Write a corrected stack into a new folder, complete or not at all.

    Parameters
    ----------
    job : ExportJob
        What is written.
    folder : path
        The folder to make.
    format : {"ome-zarr", "tiff"}
        Of the corrected stack and the masks.
    parts : sequence of str
        Which of ``"stack"``, ``"lines"``, ``"masks"`` and ``"flow"`` are written.
    overwrite : bool
        Whether an existing folder is replaced.
    progress, cancelled : callable, optional
        See `Reporter`.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    StackError
        If it cannot be written.
    InputError
        If no part was chosen.
    """
    from sff_napari.stacks import Stack, write_stack
    from sff_napari.stacks.folds_file import write_folds

    if not parts:
        raise InputError("Nothing was chosen to be exported: tick at least one part.")
    report = Reporter(progress, cancelled)
    folder = Path(folder)
    suffix = ".ome.zarr" if format == "ome-zarr" else ".tif"
    written: list[str] = []

    def corrected(z: int) -> NDArray[Any]:
        plane = job.patches[z]("restored") if z in job.patches else None
        return job.read(z) if plane is None else np.asarray(plane, dtype=job.dtype)

    def mask(z: int) -> NDArray[np.uint8]:
        plane = job.patches[z]("synthesised") if z in job.patches else None
        if plane is None:
            return np.zeros(job.shape[1:], dtype=np.uint8)
        return np.rint(np.clip(np.nan_to_num(plane), 0, 1) * 255).astype(np.uint8)

    def save(target: Path, read: ReadPlane, dtype: Any, part: Reporter) -> None:
        stack = Stack(
            Readers(read),
            StackInfo(job.shape, dtype, kind="corrected", name=job.name, voxel_size=job.voxel_size),
        )
        write_stack(target, stack, progress=part, cancelled=cancelled)
        written.append(target.name)

    with atomic_folder(folder, overwrite=overwrite) as partial:
        if "stack" in parts:
            report(0.0, "Corrected stack")
            save(partial / f"restored{suffix}", corrected, job.dtype, report.part(0.0, 0.6))
        if "masks" in parts:
            report(0.6, "Synthesised pixels")
            save(partial / f"synthesised{suffix}", mask, np.uint8, report.part(0.6, 0.85))
        if "flow" in parts:
            written += _write_flow(job, partial, report.part(0.85, 0.98))
        if "lines" in parts:
            folds = {z: [r.fold() for r in records] for z, records in job.folds.items() if records}
            write_folds(
                partial / "folds.json",
                folds,
                {"name": job.name, "shape": list(job.shape), "dtype": str(job.dtype)},
            )
            written.append("folds.json")
        write_json(
            partial / "report.json",
            {
                "stack": job.name,
                "shape": list(job.shape),
                "dtype": str(job.dtype),
                "corrected_slices": sorted(job.patches),
                "slices": list(job.records),
            },
        )
        written.append("report.json")
        report(0.99, "Finishing")
    report(1.0, "Exported")
    return [folder / name for name in written]


def export_volumes(
    jobs: Mapping[str, ExportJob],
    folder: str | Path,
    format: ExportFormat = "ome-zarr",
    *,
    parts: Sequence[str] = ("stack", "lines", "masks", "flow"),
    overwrite: bool = False,
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[Path]:
    """Write several volumes, each into a folder of its own; all of them or nothing.

    Parameters
    ----------
    jobs : mapping of str to ExportJob
        By the names of their folders.
    folder : path
        The folder to make around them.
    format, parts, overwrite, progress, cancelled
        See `export`.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    StackError
        If it cannot be written.
    InputError
        If no part or no volume was chosen.
    """
    if not jobs:
        raise InputError("There is no volume to export: open a stack first.")
    folder = Path(folder)
    report = Reporter(progress, cancelled)
    written: list[Path] = []
    with atomic_folder(folder, overwrite=overwrite) as partial:
        for done, (name, job) in enumerate(jobs.items()):
            share = report.part(done / len(jobs), (done + 1) / len(jobs))
            made = export(
                job, partial / name, format, parts=parts, progress=share, cancelled=cancelled
            )
            written += [folder / path.relative_to(partial) for path in made]
    return written


def _write_flow(job: ExportJob, folder: Path, report: Reporter) -> list[str]:
    """Write one float32 TIFF (2, Y, X), (dy, dx) in px and NaN without source, for each slice."""
    import tifffile

    written = []
    for done, (z, get) in enumerate(sorted(job.patches.items())):
        report(done / len(job.patches), f"Flow of slice {z}")
        flow = get("flow")
        if flow is None:
            continue
        name = f"flow_{z:05d}.tif"
        tifffile.imwrite(
            folder / name,
            np.asarray(flow, dtype=np.float32),
            compression="zlib",
            photometric="minisblack",
            metadata={"axes": "CYX", "channels": "dy, dx in px"},
        )
        written.append(name)
    return written
