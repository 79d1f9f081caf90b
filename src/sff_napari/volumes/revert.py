"""Take folds back: chunks get their original bytes, or what the remaining folds make of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sff_napari.errors import InputError, StackError
from sff_napari.folds import Fold
from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter
from sff_napari.stacks.overlay import stack_below
from sff_napari.volumes.pipeline import Pipeline
from sff_napari.volumes.plan.settings import VolumeSettings
from sff_napari.volumes.plan.slice_plan import SlicePlan, plan_slice
from sff_napari.volumes.run.executors import Threads
from sff_napari.volumes.run.folder import WORK, Folder
from sff_napari.volumes.run.lock import Lock
from sff_napari.volumes.run.restored_volume import SELF, read_plan
from sff_napari.volumes.run.run_result import RunResult
from sff_napari.volumes.run.task import Pool
from sff_napari.volumes.verify import records
from sff_napari.volumes.verify.provenance import bring_back, check_revert
from sff_napari.volumes.verify.source_state import check_unchanged
from sff_napari.volumes.verify.verify_volume import origin_below

MOST = 1_000_000


def revert_folds(
    out: Path,
    folds: Collection[str],
    *,
    source: str | None = None,
    weights: Path | None = None,
    device: str = "auto",
    pool: Pool | None = None,
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> RunResult:
    """Take folds back.

    A slice whose folds are all taken back gets its original bytes.  A slice
    that keeps some is restored anew from the original with those alone.  A run
    that ended early is finished by the next one, whatever folds it names.

    Parameters
    ----------
    out : Path
        The restored volume.
    folds : collection of str
        Names of folds as the record has them, e.g. ``z12-0``.
    source : str, optional
        Where the volume below an overlay lies.
    weights : Path, optional
        Weights of the networks, if the volume was not made with the bundled.
    device : str
        Where to compute.
    pool : Pool, optional
        What does the work; threads where not given.
    progress, cancelled : callable, optional
        See `sff_napari.progress`.

    Returns
    -------
    RunResult
        What was done anew.

    Raises
    ------
    InputError
        If there is no such fold, or the weights are others.
    StackError
        If the volume cannot be read or written.

    See Also
    --------
    sff_napari.volumes.verify.verify_volume.verify_volume : Checks the volume.
    sff_napari.volumes.restore_volume.restore_volume : Makes it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from sff_napari.volumes.revert import revert_folds
    >>> from sff_napari.volumes.verify.verify_volume import verify_volume
    >>> outcome = revert_folds(Path("corrected.zarr"), ["z2-0"])
    >>> verify_volume(Path("corrected.zarr")).reverted
    [2]
    """
    plan = read_plan(out)
    folder = Folder(out)
    old = records.read_slices(folder)
    wanted = {*folds, *_pending(folder)}
    parameters = plan["parameters"]
    known = {field.name for field in dataclasses.fields(VolumeSettings)}
    try:
        chosen = {key: value for key, value in parameters.items() if key in known}
        settings = VolumeSettings(**chosen, weights=weights, device=device)
    except TypeError as error:
        raise StackError(f"The plan of {out} is damaged: its parameters are unknown.") from error
    if folder.has(records.TODO) and not folder.has(records.PENDING):
        raise InputError(f"A run over {out} was not finished: run restore again first.")
    check_revert(out, wanted)
    plans, reverted = _plans(str(plan["key"]), old, wanted)
    if not plans:
        # All is done; what a run left that was killed at its very end goes.
        if folder.has(records.PENDING):
            folder.remove(records.PENDING)
        if (out / WORK).exists():
            folder.clear_work()
        return RunResult()
    if any(one.folds for one in plans) and settings.digests() != plan["weights_sha256"]:
        raise InputError(
            "The remaining folds must be restored anew, but the volume was made with other "
            "weights: name them with --weights."
        )
    below = origin_below(out, source)
    if below is not None:
        with stack_below(out, plan, source) as stack:
            check_unchanged(out, stack)
    with Lock(out):
        folder.put(records.PENDING, records.to_json(sorted(wanted)))
        build = Pipeline(
            out,
            below or SELF,
            pool or Threads(),
            settings,
            Reporter(progress, cancelled),
            fresh=False,
        )
        outcome = build.run(plans, {}, old, reverted)
        bring_back(out)
        folder.remove(records.PENDING)
        folder.clear_work()
    return outcome


def _pending(folder: Folder) -> list[str]:
    found = records.read_json(folder, records.PENDING)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise StackError(f"{folder.path(records.PENDING)} is damaged: remove it.")
    return found


def _plans(
    base: str, old: dict[int, dict[str, Any]], wanted: set[str]
) -> tuple[list[SlicePlan], dict[int, list[dict[str, Any]]]]:
    """Return what is left to do for each slice, and the folds that are taken back by slice."""
    plans = []
    reverted: dict[int, list[dict[str, Any]]] = {}
    known_ids: set[str] = set()
    for z, record in old.items():
        taken = list(record.get("reverted", []))
        known_ids |= {fold["id"] for fold in taken}
        if record["status"] == "failed":
            continue
        now = [fold for fold in record["folds"] if fold["id"] in wanted]
        known_ids |= {fold["id"] for fold in record["folds"]}
        if record.get("filled"):
            known_ids.add(record["filled"])
            if record["filled"] in wanted:
                now.append({"id": record["filled"]})
        if not now:
            continue
        rest = {
            str(fold["id"]): Fold.from_dict(fold)
            for fold in record["folds"]
            if fold["id"] not in wanted
        }
        reverted[z] = sorted([*taken, *now], key=lambda fold: str(fold["id"]))
        pair = record.get("clean_pair")
        clean = None if pair is None else (int(pair[0]), int(pair[1]))
        around = record["previous"], record["following"]
        plans.append(plan_slice(base, z, rest, *around, record["note"], clean=clean))
    unknown = sorted(wanted - known_ids)
    if unknown:
        raise InputError(
            f"The record has no fold {unknown[0]!r}: its folds are named like "
            f"{min(known_ids, default='z12-0')!r}."
        )
    return plans, reverted
