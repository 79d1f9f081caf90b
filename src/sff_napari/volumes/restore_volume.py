"""Restore a volume: into a new result, or what is missing in one that is there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sff_napari.errors import InputError, StackError
from sff_napari.io_atomic import explain, remove_folder, swap
from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter
from sff_napari.sessions.neighbours import REACH
from sff_napari.stacks import Stack
from sff_napari.volumes.find.missing import find_missing
from sff_napari.volumes.pipeline import Pipeline
from sff_napari.volumes.plan.request import VolumeRequest
from sff_napari.volumes.plan.slice_plan import SlicePlan, plan_slice, plan_slices
from sff_napari.volumes.plan.volume_plan import VolumePlan, plan_volume
from sff_napari.volumes.run.executors import Threads
from sff_napari.volumes.run.folder import RECORDS, WORK, Folder
from sff_napari.volumes.run.lock import Lock
from sff_napari.volumes.run.restored_volume import PLAN, SELF, RestoredVolume, read_plan
from sff_napari.volumes.run.run_result import RunResult
from sff_napari.volumes.run.task import Pool
from sff_napari.volumes.verify import records
from sff_napari.volumes.verify.provenance import carry
from sff_napari.volumes.verify.source_state import changed_since, check_unchanged


@dataclass(frozen=True)
class Summary:
    """How a run over a volume ended.

    Parameters
    ----------
    out : Path
        The result.
    outcome : RunResult
        What was done.
    present : list of int
        Slices that had been restored before.
    seconds : float
        How long it took.
    """

    out: Path
    outcome: RunResult
    present: list[int]
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.outcome.complete


def part_of(out: Path) -> Path:
    """Return the folder in which a result lies until it is complete."""
    return out.with_name(out.name + ".part")


def restore_volume(
    request: VolumeRequest,
    pool: Pool | None = None,
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> Summary:
    """Restore the slices of a volume that have folds.

    The result is made beside `request.out` and appears there once all is done.  A
    run that ended early is gone on with; one over a complete result does what is
    missing, which may be nothing.

    Parameters
    ----------
    request : VolumeRequest
        What to restore, how, and where the result is to lie.
    pool : Pool, optional
        What does the work; threads where not given.
    progress, cancelled : callable, optional
        See `sff_napari.progress`.

    Returns
    -------
    Summary
        What was done, and what could not be.

    Raises
    ------
    InputError
        If the result was made from something else or in another way.
    StackError
        If the stack cannot be used or the result cannot be written.

    See Also
    --------
    sff_napari.volumes.find.detect_volume.detect_volume : Finds the folds.
    sff_napari.volumes.verify.verify_volume.verify_volume : Checks the result.
    sff_napari.volumes.revert.revert_folds : Takes folds back.

    Examples
    --------
    >>> from sff_napari.stacks import open_stack, read_folds
    >>> from sff_napari.volumes.plan.request import VolumeRequest
    >>> from sff_napari.volumes.restore_volume import restore_volume
    >>> folds = read_folds("folds.json").folds
    >>> with open_stack("cells.zarr") as stack:
    ...     request = VolumeRequest("cells.zarr", stack, folds, "out.zarr", slices=[2])
    ...     summary = restore_volume(request)
    >>> summary.complete, summary.present
    (True, [])
    """
    start = time.perf_counter()
    stack, folds = request.stack, request.folds
    plan = plan_volume(
        os.fspath(request.place),
        stack,
        request.target,
        request.settings,
        overlay=request.overlay,
        select=stack.select,
    )
    wanted = sorted(folds if request.slices is None else request.slices)
    missing, note = _missing_slices(stack, wanted, request.fill_missing, cancelled)
    if note:
        plan.notes.append(note)
    plan.notes.extend(_absent(stack, wanted))
    if request.fill_missing:
        wanted = sorted({*wanted, *missing})
    # A folded slice without an image is only made anew if that was asked for.
    apart = missing if request.fill_missing else [z for z in missing if z not in folds]
    plans, failed = plan_slices(plan.key, folds, wanted, stack.shape[0], apart, stack.positions)
    reporter = Reporter(progress, cancelled)
    pool = pool or Threads()
    if request.target.exists() and not request.overwrite:
        check_unchanged(request.target, stack)
        outcome, present = _finish(request, plan, plans, failed, pool, reporter)
    else:
        present = []
        if failed and not plans:
            raise InputError(next(iter(failed.values())))
        outcome = make_volume(request, plan, plans, failed, pool, reporter)
    outcome.notes[:0] = plan.notes
    reporter(1.0, "done")
    return Summary(request.target, outcome, present, time.perf_counter() - start)


def _missing_slices(
    stack: Stack,
    wanted: Collection[int],
    everywhere: bool,
    cancelled: CancelledCallback | None,
) -> tuple[list[int], str]:
    """Return the slices without an image, near the wanted ones or everywhere, and a note."""
    near = {z + step for z in wanted for step in range(-REACH, REACH + 1)}
    look = range(len(stack)) if everywhere else sorted(near & set(range(len(stack))))
    try:
        return find_missing(stack, look, cancelled=cancelled), ""
    except StackError as error:
        if everywhere:
            raise
        return [], f"Missing slices were not looked for: {error}"


def _absent(stack: Stack, wanted: Collection[int]) -> list[str]:
    """Return what is not stored of the wanted slices and those beside them, a sentence each."""
    found = []
    for z in sorted({z + step for z in wanted for step in (-1, 0, 1)} & set(range(len(stack)))):
        count = len(stack.absent_parts(z))
        if count:
            found.append(
                f"Slice {z}: {count} chunk{'s are' if count > 1 else ' is'} not stored; "
                "there is no data there."
            )
    return found


def make_volume(
    request: VolumeRequest,
    plan: VolumePlan,
    plans: list[SlicePlan],
    failed: Mapping[int, str],
    pool: Pool,
    reporter: Reporter,
    prepare: Callable[[RestoredVolume], None] | None = None,
) -> RunResult:
    """Make a result that is not there, or go on with one that is being made.

    Parameters
    ----------
    request : VolumeRequest
        What is asked for.
    plan, plans : VolumePlan, list of SlicePlan
        What is done to the volume, and to its slices.
    failed : mapping of int to str
        Slices for which nothing can be done, each with a sentence.
    pool : Pool
        What does the work.
    reporter : Reporter
        Told of progress.
    prepare : callable, optional
        Called with the empty result, to store patches that are made already.
    """
    target, stack = request.target, request.stack
    part = part_of(target)
    if (part / PLAN).exists() and changed_since(part, stack):
        plan.notes.append(
            f"The pixels of {stack.name} have changed since the unfinished run: it is begun anew."
        )
        remove_folder(part)
    if (part / PLAN).exists() and read_plan(part)["key"] != plan.key:
        if not target.exists():
            raise InputError(
                f"{part} is an unfinished run with another stack or other settings: "
                "finish that one, or remove the folder."
            )
        remove_folder(part)
    try:
        part.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, target) from error
    with Lock(target):
        _start_afresh_unless_same(part, plans)
        if not (part / PLAN).exists():
            plan.write(part)
        Folder(part).put(records.TODO, _todo(plans))
        build = Pipeline(part, plan.origin, pool, request.settings, reporter, fresh=True)
        if prepare is not None:
            prepare(build.volume)
        outcome = build.run(plans, failed, {})
        carry(part, plan.origin)
        try:
            if hasattr(os, "sync"):
                os.sync()
            swap(part, target)
        except OSError as error:
            raise explain(error, target) from error
        Folder(target).clear_work()
    return outcome


def _finish(
    request: VolumeRequest,
    plan: VolumePlan,
    plans: list[SlicePlan],
    failed: Mapping[int, str],
    pool: Pool,
    reporter: Reporter,
) -> tuple[RunResult, list[int]]:
    """Do what is missing in a result that is there."""
    target = request.target
    try:
        made = read_plan(target)
    except StackError as error:
        raise InputError(
            f"{target} exists already and was not made by this command: choose another name, "
            "or ask for it to be overwritten."
        ) from error
    if made["key"] != plan.key:
        raise InputError(
            f"{target} was made from another stack or with other settings: choose another name, "
            "or ask for it to be overwritten."
        )
    folder = Folder(target)
    if folder.has(records.PENDING):
        raise InputError(f"Taking back folds of {target} was not finished: run revert again.")
    old = records.read_slices(folder)
    todo, present = _missing(target, plan.key, plans, old)
    check_unfinished(target, [*todo, *present])
    lost, unmade = records.read_lost(folder)
    if unmade:
        # Chunks above slices that were restored: these slices are done again.
        todo, present = sorted([*todo, *present], key=lambda one: one.z), []
    if not todo and not failed and not lost:
        if (target / WORK).exists():
            folder.clear_work()
        return RunResult(), [one.z for one in present]
    # What failed because of the source may work now that the source is better.
    again = lost or unmade or any(record["status"] == "failed" for record in old.values())
    origin = plan.origin if made["overlay"] or again else SELF
    with Lock(target):
        if todo:
            folder.put(records.TODO, _todo(todo))
        build = Pipeline(target, origin, pool, request.settings, reporter, fresh=False)
        build.copy_lost(sorted(lost))
        taken_back = {z: list(record.get("reverted", [])) for z, record in old.items()}
        outcome = build.run(todo, failed, old, taken_back)
        folder.clear_work()
    return outcome, [one.z for one in present]


def _todo(plans: Sequence[SlicePlan]) -> bytes:
    return records.to_json({str(one.z): one.key for one in plans})


def _start_afresh_unless_same(part: Path, plans: Sequence[SlicePlan]) -> None:
    """Remove all but the restored blocks if an unfinished run was for other slices or folds."""
    folder = Folder(part)
    found = folder.get(records.TODO)
    if found is None or found == _todo(plans):
        return
    # First, so that a kill in between leaves nothing that counts as done.
    folder.remove(records.TODO)
    folder.remove(PLAN)
    for path in part.iterdir():
        if path.name != RECORDS:
            remove_folder(path) if path.is_dir() else path.unlink()
    for path in (part / RECORDS).iterdir():
        if path.name != Path(WORK).name:
            remove_folder(path) if path.is_dir() else path.unlink()
    for path in (part / WORK).iterdir():
        if path.name != "patches":
            remove_folder(path) if path.is_dir() else path.unlink()


def check_unfinished(target: Path, plans: Sequence[SlicePlan]) -> None:
    """Check that an unfinished run over a result is gone on with.

    Parameters
    ----------
    target : Path
        The result.
    plans : sequence of SlicePlan
        What is to be done now.

    Raises
    ------
    InputError
        If slices of the unfinished run are not among them.
    """
    found = records.read_json(Folder(target), records.TODO)
    now = {str(one.z): one.key for one in plans}
    left = [z for z, key in (found or {}).items() if now.get(z) != key]
    if left:
        raise InputError(
            f"A run over {target} that restores slice {left[0]} was not finished: "
            "run it again first, with the same folds."
        )


def _missing(
    target: Path, key: str, plans: list[SlicePlan], old: Mapping[int, Mapping[str, Any]]
) -> tuple[list[SlicePlan], list[SlicePlan]]:
    """Return the slices that are to be made, and those that are there."""
    todo, present = [], []
    for one in plans:
        record = old.get(one.z)
        if record is None:
            todo.append(one)
            continue
        # Folds that were taken back stay so.
        taken_back = {fold["id"] for fold in record.get("reverted", [])}
        rest = {name: fold for name, fold in one.folds.items() if name not in taken_back}
        fill = "" if one.fill in taken_back else one.fill
        left = plan_slice(key, one.z, rest, one.previous, one.following, one.note, fill, one.clean)
        if record["status"] == "failed" and left.makes:
            todo.append(left)
        elif record["status"] != "failed" and record["key"] != left.key:
            raise InputError(
                f"Slice {one.z} of {target} was restored with other folds or neighbours: "
                "take its folds back first (sff-napari revert), choose another name, "
                "or ask for it to be overwritten."
            )
        else:
            present.append(left)
    return todo, present
