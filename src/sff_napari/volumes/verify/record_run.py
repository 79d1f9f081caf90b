"""Write the record of a run: each slice, each changed chunk, and what was lost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sff_napari.stacks.fingerprint import slice_digest
from sff_napari.volumes.plan.slice_plan import SlicePlan
from sff_napari.volumes.restore.block import load_record
from sff_napari.volumes.run.restored_volume import RestoredVolume
from sff_napari.volumes.run.run_result import RunResult
from sff_napari.volumes.verify import records

Folds = list[dict[str, Any]]


def record_run(
    volume: RestoredVolume,
    todo: Mapping[int, SlicePlan],
    patches: Mapping[int, list[str]],
    reverted: Mapping[int, Folds],
    rows: Mapping[str, Mapping[str, Any]],
    outcome: RunResult,
    about: Mapping[str, Any],
    warnings: Mapping[int, list[str]],
    old: Mapping[int, Mapping[str, Any]] | None = None,
) -> None:
    """Write the record of a run; what says the same already is left alone.

    Parameters
    ----------
    volume : RestoredVolume
        The volume.
    todo : mapping of int to SlicePlan
        What was to be done.
    patches : mapping of int to list of str
        Keys of the patches of each slice that worked.
    reverted : mapping of int to list of dict
        Folds that were taken back, by slice.
    rows : mapping
        ``before`` and ``after`` of each key that was written.
    outcome : Outcome
        What failed; the slices that were restored are added.
    about : mapping
        Facts about the run, plain JSON types.
    warnings : mapping of int to list of str
        What the fits of slices that are done in blocks warn of.
    old : mapping of int to mapping, optional
        Records of earlier runs; what they say of earlier passes is kept.

    Raises
    ------
    Stop
        If it cannot be written.
    """
    records.write_chunks(volume.folder, rows)
    for z, reason in sorted(outcome.failed.items()):
        plan = todo.get(z)
        folds = plan.folds if plan is not None else {}
        record = {
            "slice": z,
            "status": "failed",
            "reason": reason,
            "folds": [{"id": name, **fold.to_dict()} for name, fold in folds.items()],
            "reverted": reverted.get(z, []),
        }
        _put(volume, records.slice_record_key(z), record)
    for z, plan in sorted(todo.items()):
        if z in outcome.failed:
            continue
        record = _slice_record(volume, plan, patches.get(z, []), reverted.get(z, []))
        record["warnings"] = warnings.get(z, [])
        before = (old or {}).get(z, {})
        record |= {name: before[name] for name in ("earlier", "pass") if name in before}
        _put(volume, records.slice_record_key(z), record)
        if plan.makes:
            (outcome.filled if plan.fill else outcome.restored).append(z)
    if outcome.lost or outcome.unmade:
        _put(volume, records.LOST, {"copy": outcome.lost, "make": outcome.unmade})
    elif volume.folder.has(records.LOST):
        volume.folder.remove(records.LOST)
    if not volume.folder.has(records.RUN):
        now = datetime.now(UTC).isoformat(timespec="seconds")
        _put(volume, records.RUN, {"created": now, **about})


def _put(volume: RestoredVolume, key: str, value: Any) -> None:
    records.put_if_new(volume.folder, key, records.to_json(value))


def _slice_record(
    volume: RestoredVolume, plan: SlicePlan, keys: list[str], reverted: Folds
) -> dict[str, Any]:
    made = [load_record(volume, key) for key in sorted(keys)]
    return {
        "slice": plan.z,
        "status": "interpolated" if plan.fill else "restored" if plan.folds else "reverted",
        "key": plan.key,
        "folds": [{"id": name, **fold.to_dict()} for name, fold in plan.folds.items()],
        "filled": plan.fill,
        "reverted": reverted,
        "previous": plan.previous,
        "following": plan.following,
        "note": plan.note,
        "inputs": _inputs(volume, plan),
        "clean_pair": None if plan.clean is None else list(plan.clean),
        "parameters": volume.plan["parameters"],
        "weights_sha256": volume.plan["weights_sha256"],
        "software": records.software(),
        "extents": [one["extent"] for one in made if one["extent"] is not None],
        "side_extents": [one["side_extent"] for one in made],
        "pieces": [
            {k: one.get(k) for k in ("piece", "report", "scores", "notes", "empty")} for one in made
        ],
    }


def _inputs(volume: RestoredVolume, plan: SlicePlan) -> dict[str, str]:
    """Return checksums of the slices that one was made from, by their numbers as text."""
    if not plan.makes:
        return {}
    shape = volume.layout.finest.axes.shape[1:]
    found = {}
    for z in (plan.z, plan.previous, plan.following):
        value = None if z is None else slice_digest(volume.read_before, z, shape)
        if value is not None:
            found[str(z)] = value
    return found
