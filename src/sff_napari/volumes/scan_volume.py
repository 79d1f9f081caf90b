"""Write stacks whose scans are restored; check them, and take slices back."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

import sff_napari
from sff_napari.arrays import is_constant
from sff_napari.errors import InputError, StackError
from sff_napari.io_atomic import atomic_folder, uninterrupted
from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter
from sff_napari.scan_distortion import ScanOptions, ScanRestoration, restore_scan
from sff_napari.stacks import Stack, check_output, stack_identity
from sff_napari.stacks.ome import OmeWriter, halved, put
from sff_napari.stacks.writing import as_bytes

FORMAT = "sff-napari scan"
MEASURED_NOTE = "The slices as they were measured; 0 in slices that were not restored."
DISPLACEMENT_NOTE = (
    "(dy, dx) in pixels: the measured pixel x shows the specimen at x + displacement(x); "
    "0 in slices that were not restored."
)
CONFIDENCE_NOTE = "Confidence in [0, 1], times 255; 0 in slices that were not restored."


@dataclass(frozen=True)
class ScanVerdict:
    """What a check of a volume of restored scans found.

    Parameters
    ----------
    restored, reverted : tuple of int
        Slices by what the record says.
    wrong : dict of int to str
        Slices that are not as the record says, each with a sentence.
    """

    restored: tuple[int, ...]
    reverted: tuple[int, ...]
    wrong: dict[int, str]

    @property
    def good(self) -> bool:
        """Whether all is as the record says."""
        return not self.wrong


def restore_scans(
    out: Path,
    stack: Stack,
    options: ScanOptions,
    *,
    slices: Sequence[int] | None = None,
    neighbours: bool = False,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> dict[str, Any]:
    """Write a stack with its scans restored; it appears at `out` once it is complete.

    The OME-Zarr also holds, for the restored slices, the arrays ``measured``
    (Z, Y, X), ``displacement`` (Z, 2, Y, X) and ``confidence`` (Z, Y, X), and the record
    in its attributes under ``sff_napari``.

    Parameters
    ----------
    out : Path
        Ending in ``.zarr``.
    stack : Stack
        Only read.
    options : ScanOptions
        How slices are restored.
    slices : sequence of int, optional
        Which; all where not given, those of one grey value then stay as they are.
    neighbours : bool
        Whether the slices beside each are used to measure slow drift.
    overwrite : bool
        Whether what is at `out` is replaced.
    progress, cancelled : callable, optional
        See `sff_napari.progress`.

    Returns
    -------
    dict
        The record, plain JSON types.

    Raises
    ------
    InputError
        If a slice or a choice cannot be used.
    StackError
        If the stack cannot be read or the result not be written.
    Cancelled
        If it was cancelled; nothing is left behind.
    """
    if out.suffix.lower() != ".zarr":
        raise StackError(f"{out} cannot be written: name it with .zarr at the end.")
    target = check_output(out, overwrite=overwrite)
    reporter = Reporter(progress, cancelled)
    wanted = set(range(len(stack)) if slices is None else slices)
    record = _head(stack, options, neighbours)
    with atomic_folder(target, overwrite=overwrite) as folder:
        writer = _ScanWriter(folder, stack)
        for z in range(len(stack)):
            part = reporter.part(z / len(stack), (z + 1) / len(stack))
            part(0.0, f"slice {z}")
            image = np.asarray(stack[z])
            if z not in wanted:
                writer.pyramid.write(z, image)
            elif slices is None and is_constant(image):
                writer.pyramid.write(z, image)
                record["notes"].append(f"Slice {z} holds no image: it stays as it is.")
            else:
                made = _restore(stack, z, image, options, neighbours, part)
                record["slices"].append(writer.put(z, image, made))
        if not record["slices"]:
            raise InputError("No slice of the stack shows anything: there is nothing to restore.")
        with uninterrupted():
            writer.pyramid.group.attrs["sff_napari"] = record
    reporter(1.0, "written")
    return record


def read_record(out: Path) -> dict[str, Any] | None:
    """Return the record of a volume of restored scans; None if `out` is none."""
    try:
        record = zarr.open_group(out, mode="r").attrs.asdict().get("sff_napari")
    except Exception:  # zarr raises many kinds for what is no group
        return None
    return record if isinstance(record, dict) and record.get("format") == FORMAT else None


def verify_scans(out: Path, progress: ProgressCallback | None = None) -> ScanVerdict:
    """Check the slices of a volume of restored scans against their checksums.

    Raises
    ------
    StackError
        If it is no such volume.
    """
    record, group = _opened(out, "r")
    reporter = Reporter(progress)
    wrong: dict[int, str] = {}
    rows = record["slices"]
    for number, row in enumerate(rows):
        reporter(number / len(rows), f"slice {row['slice']}")
        z, reverted = int(row["slice"]), row["status"] == "reverted"
        if row["status"] == "reverting":
            wrong[z] = f"Slice {z} was being taken back: run revert again."
            continue
        expected = {
            "0": row["measured_sha256"] if reverted else row["restored_sha256"],
            "measured": row["measured_sha256"],
            "displacement": row["displacement_sha256"],
        }
        for name, digest in expected.items():
            if _digest(group[name][z]) != digest:
                what = "image" if name == "0" else name
                wrong[z] = f"The {what} of slice {z} is not what was written."
                break
    by = {status: tuple(int(r["slice"]) for r in rows if r["status"] == status)
          for status in ("restored", "reverted")}  # fmt: skip
    return ScanVerdict(by["restored"], by["reverted"], wrong)


def revert_scans(
    out: Path, slices: Collection[int] | None = None, progress: ProgressCallback | None = None
) -> list[int]:
    """Give slices of a volume of restored scans back as they were measured.

    A run that ended early is finished by the next one.

    Parameters
    ----------
    out : Path
        The volume.
    slices : collection of int, optional
        Which; all where not given.
    progress : callable, optional
        See `sff_napari.progress`.

    Returns
    -------
    list of int
        The slices that were taken back.

    Raises
    ------
    InputError
        If a slice was not restored.
    StackError
        If it is no such volume, or cannot be written.
    """
    record, group = _opened(out, "r+")
    rows = {int(row["slice"]): row for row in record["slices"]}
    unknown = [z for z in slices or () if z not in rows]
    if unknown:
        raise InputError(
            f"Slice {unknown[0]} was not restored: choose among "
            f"{', '.join(str(z) for z in sorted(rows))}."
        )
    pending = {z for z, row in rows.items() if row["status"] == "reverting"}
    wanted = sorted(pending | set(rows if slices is None else slices))
    todo = [z for z in wanted if rows[z]["status"] != "reverted"]
    reporter = Reporter(progress)
    for number, z in enumerate(todo):
        reporter(number / len(todo), f"slice {z}")
        image = group["measured"][z]
        if _digest(image) != rows[z]["measured_sha256"]:
            raise StackError(f"The measured slice {z} in {out} is damaged: it stays restored.")
        _mark(group, record, rows[z], "reverting")
        for level in range(_levels(group)):
            put(group[str(level)], z, image)
            image = halved(image)
        _mark(group, record, rows[z], "reverted")
    return todo


class _ScanWriter:
    """A new volume that takes slices with what belongs to them."""

    def __init__(self, folder: Path, stack: Stack) -> None:
        with uninterrupted():
            self.pyramid = OmeWriter(
                folder, stack.shape, stack.dtype, stack.voxel_size, stack.name, stack.offset
            )
            add = self.pyramid.add_sparse
            self._measured = add("measured", (), str(stack.dtype), MEASURED_NOTE)
            self._displacement = add("displacement", (2,), "float32", DISPLACEMENT_NOTE)
            self._confidence = add("confidence", (), "uint8", CONFIDENCE_NOTE)

    def put(self, z: int, image: NDArray[Any], made: ScanRestoration) -> dict[str, Any]:
        """Write a restored slice; return its record."""
        restored = made.restored.astype(image.dtype)
        self.pyramid.write(z, restored)
        put(self._measured, z, image)
        put(self._displacement, z, made.displacement)
        put(self._confidence, z, as_bytes(made.confidence))
        return {
            "slice": z,
            "status": "restored",
            "report": made.report,
            "noise": [[float(v) for v in row] for row in made.noise],
            "restored_sha256": _digest(restored),
            "measured_sha256": _digest(image),
            "displacement_sha256": _digest(made.displacement),
        }


def _restore(
    stack: Stack,
    z: int,
    image: NDArray[Any],
    options: ScanOptions,
    neighbours: bool,
    reporter: Reporter,
) -> ScanRestoration:
    beside: dict[str, NDArray[Any]] = {}
    if neighbours:
        for name, number in (("previous", z - 1), ("following", z + 1)):
            if 0 <= number < len(stack):
                other = np.asarray(stack[number])
                if not is_constant(other):
                    beside[name] = other
    try:
        return restore_scan(
            image,
            beside.get("previous"),
            beside.get("following"),
            **asdict(options),
            progress=lambda share, text: reporter(share, f"slice {z}: {text}"),
        )
    except InputError as error:
        raise InputError(f"Slice {z}: {error}") from error


def _head(stack: Stack, options: ScanOptions, neighbours: bool) -> dict[str, Any]:
    choices = asdict(options)
    choices["weights"] = None if options.weights is None else Path(options.weights).name
    return {
        "format": FORMAT,
        "program": "sff-napari scan",
        "version": sff_napari.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "stack": stack_identity(stack),
        "parameters": {**choices, "neighbours": neighbours},
        "notes": [],
        "slices": [],
    }


def _opened(out: Path, mode: Any) -> tuple[dict[str, Any], Any]:
    record = read_record(out)
    if record is None:
        raise StackError(f"{out} is no volume that sff-napari scan wrote.")
    return record, zarr.open_group(out, mode=mode)


def _mark(group: Any, record: dict[str, Any], row: dict[str, Any], status: str) -> None:
    row["status"] = status
    with uninterrupted():
        group.attrs["sff_napari"] = record


def _levels(group: Any) -> int:
    count = 0
    while str(count) in group:
        count += 1
    return count


def _digest(array: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
