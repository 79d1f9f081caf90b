"""Check a restored volume against its record."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sff_napari.errors import SffError, StackError
from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter
from sff_napari.stacks import Stack, open_stack
from sff_napari.stacks.layered_store import MISSING
from sff_napari.stacks.overlay import asked_source, below_overlay, stack_below, store_below
from sff_napari.stacks.uris import is_address
from sff_napari.volumes.plan.keys import checksum, joined
from sff_napari.volumes.run.folder import ORIGINALS, Folder
from sff_napari.volumes.run.restored_volume import PixelSource, read_plan
from sff_napari.volumes.verify import records
from sff_napari.volumes.verify.source_state import changed_since
from sff_napari.volumes.write.raw_bytes import raw


@dataclass
class Verdict:
    """What a check of a restored volume found.

    Parameters
    ----------
    chunks : int
        Changed chunks that were checked, as they are and as they were.
    wrong : dict of str to str
        What is not as the record says, each with a sentence.
    restored, interpolated, failed, reverted : list of int
        Slices by what the record says.
    notes : list of str
        What could not be checked.
    """

    chunks: int = 0
    wrong: dict[str, str] = field(default_factory=dict)
    restored: list[int] = field(default_factory=list)
    interpolated: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    reverted: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether all is as the record says, and nothing failed."""
        return not self.wrong and not self.failed


def origin_below(root: Path, source: str | None = None) -> PixelSource | None:
    """Return the volume below an overlay; None if a result is none.

    Parameters
    ----------
    root : Path
        The result.
    source : str, optional
        Where the user says that it lies.

    Raises
    ------
    StackError
        If it lies elsewhere and the user did not say where.
    """
    plan = read_plan(root)
    if not plan["overlay"]:
        return None
    place = below_overlay(root, plan, source or asked_source())
    select = tuple(sorted((str(k), int(v)) for k, v in plan["source"]["select"].items()))
    return PixelSource("zarr" if plan["zarr"] else "stack", place, select)


def verify_volume(
    out: Path,
    *,
    source: str | None = None,
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> Verdict:
    """Check every changed chunk of a restored volume against its checksums.

    Parameters
    ----------
    out : Path
        The volume.
    source : str, optional
        Where the volume below an overlay lies.
    progress, cancelled : callable, optional
        See `sff_napari.progress`.

    Returns
    -------
    Verdict
        What is not as it should be.

    Raises
    ------
    StackError
        If there is no such volume or its record is damaged.

    See Also
    --------
    sff_napari.volumes.restore_volume.restore_volume : Makes such a volume.
    sff_napari.volumes.revert.revert_folds : Takes folds back.

    Examples
    --------
    >>> from pathlib import Path
    >>> from sff_napari.volumes.verify.verify_volume import verify_volume
    >>> verdict = verify_volume(Path("corrected.zarr"))
    >>> verdict.good, verdict.restored
    (True, [2])
    """
    plan = read_plan(out)
    folder = Folder(out)
    reporter = Reporter(progress, cancelled)
    verdict = Verdict()
    for z, record in records.read_slices(folder).items():
        getattr(verdict, record["status"]).append(z)
    if folder.has(records.PENDING):
        verdict.wrong["revert"] = "Taking back folds was not finished: run revert again."
    lost, unmade = records.read_lost(folder)
    for key, reason in {**unmade, **lost}.items():
        verdict.wrong[key] = f"It could not be copied or made: {reason}"
    if folder.has(records.TODO):
        verdict.wrong["restore"] = "A run was not finished: run restore again."
    below = None
    if plan["overlay"]:
        try:
            origin = origin_below(out, source)
            below = None if origin is None else store_below(out, plan, origin.place)
        except StackError as error:
            verdict.notes.append(f"What the chunks were was not checked: {error}")
    _check_source(out, plan, source, verdict)
    total = sum(1 for _ in records.read_chunks(folder)) or 1
    image = tuple(f"{path}/" if path else "" for path in plan["arrays"])
    beside = (*plan["labels"], plan["displacement"], plan.get("confidence", ""))
    sides = tuple(f"{path}/" for path in beside if path)
    for number, row in enumerate(records.read_chunks(folder)):
        reporter(number / total, f"{number} of {total} chunks")
        key = row["key"]
        verdict.chunks += 1
        found = checksum(folder.get(key))
        if found != row["after"]:
            what = "is missing" if found is None else "is not what was written"
            verdict.wrong[key] = f"The chunk {what}."
        if key.startswith(sides) or not key.startswith(image):
            continue
        if plan["overlay"]:
            if below is not None and checksum(raw(below, key)) != row["before"]:
                verdict.wrong.setdefault(key, "The source has changed since.")
        elif row["before"] is None:
            if not folder.has(joined(ORIGINALS, key + MISSING)):
                verdict.wrong.setdefault(key, "The mark that it was missing before is lost.")
        elif checksum(folder.get(joined(ORIGINALS, key))) != row["before"]:
            verdict.wrong.setdefault(key, "What it was before is lost or damaged.")
    for path in _strays(folder):
        verdict.wrong.setdefault(path, "It is kept as changed, but the record does not name it.")
    reporter(1.0, "done")
    return verdict


def _check_source(out: Path, plan: dict[str, Any], source: str | None, verdict: Verdict) -> None:
    """Tell whether the volume that a result was made from still holds what it held.

    An overlay shows its pixels; any other result only came from it, and it may be gone.
    """
    try:
        with stack_below(out, plan, source) if plan["overlay"] else _source_of(out, plan) as stack:
            changed = changed_since(out, stack)
    except (SffError, OSError):
        return
    if changed and plan["overlay"]:
        verdict.wrong["source"] = f"The source has changed since, e.g. slice {changed[0]}."
    elif changed:
        verdict.notes.append(
            f"{stack.name} has changed since {out.name} was made from it "
            f"(slice {changed[0]}{' and others' if len(changed) > 1 else ''})."
        )


def _source_of(out: Path, plan: dict[str, Any]) -> Stack:
    place = str(plan["source"]["place"])
    if is_address(place):
        # What a file names is not asked for over the network.
        raise StackError(f"{place} is not looked at.")
    return open_stack(out.resolve().parent / place, plan["source"]["select"])


def _strays(folder: Folder) -> list[str]:
    """Return originals that belong to no changed chunk."""
    known = {row["key"] for row in records.read_chunks(folder)}
    root = folder.root / ORIGINALS
    kept = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return sorted(key for key in kept if key.removesuffix(MISSING) not in known)
