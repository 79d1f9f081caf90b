"""Read and write the record of a restored volume: what was done, and checksums of chunks."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import sff_napari
from sff_napari.errors import StackError
from sff_napari.folds import Fold
from sff_napari.volumes.plan.keys import safe_key
from sff_napari.volumes.run.folder import RECORDS, WORK, Folder

CHUNKS = f"{RECORDS}/chunks.jsonl"
SLICES = f"{RECORDS}/slices"
RUN = f"{RECORDS}/run.json"
LOST = f"{RECORDS}/lost.json"
TODO = f"{WORK}/todo.json"
PENDING = f"{RECORDS}/pending.json"
MAX_RECORD = 64 * 2**20
MAX_LINE = 4096
_PACKAGES = ("numpy", "scipy", "torch", "zarr", "numcodecs", "dask")


def to_json(value: Any) -> bytes:
    """Return readable JSON."""
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def software() -> dict[str, str]:
    """Return the versions of what results depend on."""
    found = {"sff-napari": sff_napari.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def slice_record_key(z: int) -> str:
    """Return the name of the record of a slice."""
    return f"{SLICES}/{z:06d}.json"


def put_if_new(folder: Folder, key: str, data: bytes) -> None:
    """Write a file unless it says the same already."""
    if folder.get(key) != data:
        folder.put(key, data)


def read_json(folder: Folder, key: str) -> Any:
    """Return a small JSON file of a record; None if there is none.

    Raises
    ------
    StackError
        If it is damaged.
    """
    path = folder.path(key)
    try:
        if path.stat().st_size > MAX_RECORD:
            raise StackError(f"{path} is too large for a record: it is damaged.")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except StackError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise StackError(f"{path} is damaged: it cannot be used.") from error


def read_slices(folder: Folder) -> dict[int, dict[str, Any]]:
    """Return the record of each slice.

    Raises
    ------
    StackError
        If one is damaged.
    """
    found = {}
    for path in sorted(folder.path(SLICES).glob("*.json")):
        record = read_json(folder, f"{SLICES}/{path.name}")
        try:
            z = int(record["slice"])
            if slice_record_key(z) != f"{SLICES}/{path.name}" or z < 0:
                raise ValueError("another slice")
            if record["status"] not in ("restored", "interpolated", "failed", "reverted"):
                raise ValueError("an unknown status")
            for fold in record["folds"]:
                str(fold["id"])
                Fold.from_dict(fold)
            for name in ("extents", "side_extents"):
                for rows, columns in record.get(name, []):
                    [int(n) for n in (*rows, *columns)]
            for z_text, value in record.get("inputs", {}).items():
                if int(z_text) < 0 or not isinstance(value, str):
                    raise ValueError("the checksum of a slice is none")
            first, second = record.get("clean_pair") or (0, 1)
            if not 0 <= int(first) == int(second) - 1:
                raise ValueError("slices that are no pair")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StackError(f"{path} is damaged: {error}.") from error
        found[z] = record
    return found


def read_chunks(folder: Folder) -> Iterator[dict[str, Any]]:
    """Yield the checksums of the changed chunks.

    Raises
    ------
    StackError
        If a line is damaged or names a file outside of the volume.
    """
    path: Path = folder.path(CHUNKS)
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as lines:
        number = 0
        while line := lines.readline(MAX_LINE):
            number += 1
            try:
                row = json.loads(line)
                safe_key(row["key"])
                for name in ("before", "after"):
                    if not (row[name] is None or _is_checksum(row[name])):
                        raise ValueError("a checksum is none")
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise StackError(f"Line {number} of {path} is damaged.") from error
            yield row


def read_lost(folder: Folder) -> tuple[dict[str, str], dict[str, str]]:
    """Return the chunks that could not be copied and those that could not be made.

    Raises
    ------
    StackError
        If the record is damaged.
    """
    found = read_json(folder, LOST)
    if found is None:
        return {}, {}
    try:
        lost = {safe_key(key): str(reason) for key, reason in found["copy"].items()}
        return lost, {str(key): str(reason) for key, reason in found["make"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise StackError(f"{folder.path(LOST)} is damaged: it cannot be used.") from error


def _is_checksum(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def write_chunks(folder: Folder, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Add to the checksums of the changed chunks; those that are as before are left out.

    Parameters
    ----------
    folder : Folder
        Of the result.
    changes : mapping
        ``before`` and ``after`` of each key that was written.
    """
    rows = {row["key"]: row for row in read_chunks(folder)}
    for key, row in changes.items():
        if row["before"] == row["after"]:
            rows.pop(key, None)
        else:
            before = rows[key]["before"] if key in rows else row["before"]
            rows[key] = {"key": key, "before": before, "after": row["after"]}
    text = "".join(json.dumps(rows[key]) + "\n" for key in sorted(rows))
    put_if_new(folder, CHUNKS, text.encode())
