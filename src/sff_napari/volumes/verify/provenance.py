"""Carry the records of earlier passes along when a volume is restored again.

Slices that only an earlier pass restored are taken over with what they were
before it.  Of a slice that is restored a second time the first record is kept
within the second; what it was before the first is kept aside, and comes back
when the second is taken back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sff_napari.errors import InputError, SffError
from sff_napari.stacks.layered_store import MISSING
from sff_napari.stacks.overlay import below_overlay, store_below
from sff_napari.stacks.uris import is_address
from sff_napari.volumes.plan.keys import checksum, joined
from sff_napari.volumes.run.folder import ORIGINALS, RECORDS, Folder
from sff_napari.volumes.run.restored_volume import PLAN, PixelSource, read_plan
from sff_napari.volumes.verify import records
from sff_napari.volumes.write.raw_bytes import raw

PASSES = f"{RECORDS}/passes.json"
EARLIER = f"{RECORDS}/earlier"
"""What chunks that two passes changed were before the first."""
_SIDES = ("labels", "displacement", "confidence")
_MOST_PASSES = 64

Slices = dict[int, dict[str, Any]]


def earlier_result(origin: PixelSource) -> Path | None:
    """Return the restored volume that an origin is, if it is one on this machine."""
    if origin.kind != "zarr" or is_address(origin.place):
        return None
    place = Path(origin.place).expanduser()
    return place if (place / PLAN).is_file() else None


def carry(part: Path, origin: PixelSource) -> None:
    """Take the record of the volume that a new result was made from into the result.

    Parameters
    ----------
    part : Path
        The result: all but this is done.
    origin : PixelSource
        What it was made from; if that is no restored volume, nothing is done.

    Raises
    ------
    StackError
        If the record is damaged.
    Stop
        If the result cannot be written.
    """
    source = earlier_result(origin)
    if source is None:
        return
    before, folder = Folder(source), Folder(part)
    plan, now = read_plan(source), read_plan(part)
    if now["overlay"] or plan["arrays"] != now["arrays"]:
        return
    made, old = records.read_slices(folder), records.read_slices(before)
    twice = {z for z, one in made.items() if z in old and one["status"] != "failed"}
    twice = {z for z in twice if old[z]["status"] in ("restored", "interpolated")}
    changed = {row["key"]: dict(row) for row in records.read_chunks(folder)}
    rows = dict(changed)
    for row in records.read_chunks(before):
        key, data = row["key"], _bytes_before(source, plan, row["key"])
        image = _is_image(plan, key)
        if key in changed and twice:
            if image:
                _put(folder, EARLIER, key, data)
            continue
        rows[key] = {**row, "after": changed.get(key, row)["after"]}
        if image:
            _put(folder, ORIGINALS, key, data)
    _write_rows(folder, rows)
    said = {"key": plan["key"], "program": plan.get("program"), "source": plan["source"]}
    for z, record in old.items():
        if z in twice:
            made[z]["earlier"] = [*record.pop("earlier", []), record]
            _put_record(folder, made[z])
        elif z not in made and record["status"] != "failed":
            _put_record(folder, {**record, "pass": record.get("pass", said)})
    for name in _SIDES:
        _copy_missing(before, folder, f"{RECORDS}/{name}", changed)
    for path in sorted((source / EARLIER).rglob("*")):
        if path.is_file():
            folder.copy(path.relative_to(source).as_posix(), path)
    passes = [*(records.read_json(before, PASSES) or []), said][-_MOST_PASSES:]
    folder.put(PASSES, records.to_json(passes))


def check_revert(out: Path, wanted: set[str]) -> None:
    """Check that folds of an earlier pass can be taken back.

    Parameters
    ----------
    out : Path
        The restored volume.
    wanted : set of str
        Names of the folds.

    Raises
    ------
    InputError
        If a later pass restored some slices again and must be taken back first.
    """
    folder = Folder(out)
    slices = records.read_slices(folder)
    later = [z for z, one in slices.items() if one.get("earlier") and one["status"] != "reverted"]
    if not later:
        return
    for one in slices.values():
        names = {str(fold["id"]) for fold in one["folds"]} | {one.get("filled")}
        if "pass" in one and names & wanted:
            raise InputError(
                f"Slice {later[0]} was restored again in a later pass: take its folds back before "
                f"those of slice {one['slice']}."
            )


def bring_back(out: Path) -> list[int]:
    """Make records current again that a later pass, now taken back, had replaced.

    Parameters
    ----------
    out : Path
        The restored volume.

    Returns
    -------
    list of int
        The slices that are as the earlier pass left them.

    Raises
    ------
    StackError
        If the record is damaged.
    Stop
        If it cannot be written.
    """
    folder = Folder(out)
    slices = records.read_slices(folder)
    twice = {z: one for z, one in slices.items() if one.get("earlier")}
    if not twice or any(one["status"] != "reverted" for one in twice.values()):
        return []
    rows = {row["key"]: dict(row) for row in records.read_chunks(folder)}
    for path in sorted((out / EARLIER).rglob("*")):
        if not path.is_file():
            continue
        name = path.relative_to(out / EARLIER).as_posix()
        key = name.removesuffix(MISSING)
        data = None if name.endswith(MISSING) else path.read_bytes()
        _put(folder, ORIGINALS, key, data)
        rows[key] = {"key": key, "before": checksum(data), "after": checksum(folder.get(key))}
        folder.remove(joined(EARLIER, name))
    _write_rows(folder, rows)
    for one in twice.values():
        *rest, record = one["earlier"]
        record = {**record, "later": one["reverted"]}
        _put_record(folder, {**record, **({"earlier": rest} if rest else {})})
    return sorted(twice)


def all_slices(root: Path) -> Slices:
    """Return the records of all slices that a volume shows restored.

    Those of an overlay and of what lies below it, as far as that is known.

    Parameters
    ----------
    root : Path
        The restored volume.

    Raises
    ------
    StackError
        If a record is damaged.
    """
    found: Slices = {}
    for place in _chain(root):
        for z, record in records.read_slices(Folder(place)).items():
            found.setdefault(z, record)
    return found


def _chain(root: Path) -> Iterator[Path]:
    for _ in range(_MOST_PASSES):
        yield root
        plan = read_plan(root)
        if not plan["overlay"]:
            return
        try:
            below = below_overlay(root, plan)
        except SffError:
            return
        if is_address(below) or not (Path(below).expanduser() / PLAN).is_file():
            return
        root = Path(below).expanduser()


def _is_image(plan: Mapping[str, Any], key: str) -> bool:
    """Tell whether a key is a chunk of the image, and not of what comes with it."""
    beside = (*plan["labels"], plan["displacement"], plan.get("confidence", ""))
    if key.startswith(tuple(f"{path}/" for path in beside if path)):
        return False
    return key.startswith(tuple(f"{path}/" if path else "" for path in plan["arrays"]))


def _bytes_before(root: Path, plan: Mapping[str, Any], key: str) -> bytes | None:
    folder = Folder(root)
    if not plan["overlay"]:
        return folder.get(joined(ORIGINALS, key))
    if not _is_image(plan, key):
        return None
    return raw(store_below(root, plan, below_overlay(root, plan)), key)


def _put(folder: Folder, home: str, key: str, data: bytes | None) -> None:
    kept, missing = joined(home, key), joined(home, key + MISSING)
    for name in (kept, missing):
        if folder.has(name):
            folder.remove(name)
    folder.put(missing if data is None else kept, data or b"")


def _put_record(folder: Folder, record: Mapping[str, Any]) -> None:
    key = records.slice_record_key(int(record["slice"]))
    records.put_if_new(folder, key, records.to_json(record))


def _write_rows(folder: Folder, rows: Mapping[str, Mapping[str, Any]]) -> None:
    kept = [rows[key] for key in sorted(rows) if rows[key]["before"] != rows[key]["after"]]
    text = "".join(json.dumps(row) + "\n" for row in kept)
    records.put_if_new(folder, records.CHUNKS, text.encode())


def _copy_missing(before: Folder, folder: Folder, home: str, changed: Mapping[str, Any]) -> None:
    """Copy chunks beside a plain array, which lie in the folder of the record."""
    for path in sorted((before.root / home).rglob("*")):
        key = path.relative_to(before.root).as_posix()
        if path.is_file() and key not in changed and not folder.has(key):
            folder.copy(key, path)
