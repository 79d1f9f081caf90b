"""Read and write the ranges that realistic folds are drawn from, as JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from sff_napari.errors import InputError, StackError
from sff_napari.io_atomic import explain, write_json
from sff_napari.simulation.plan import RealisticRanges

FORMAT = "sff-napari-ranges"
VERSION = 1
_MAX_BYTES = 2**20
_LIMITS: Mapping[str, tuple[float, float]] = {
    "half_width": (0.5, 1000.0),
    "half_width_variation": (0.0, 1.0),
    "gap": (0.0, 2000.0),
    "gap_variation": (0.0, 1.0),
    "decay": (0.0, 0.9),
    "bow": (0.0, 0.5),
    "wiggle": (0.0, 0.1),
    "inside_end": (0.0, 1.0),
    "knot_spacing": (10.0, 10_000.0),
}
"""What each value may be."""
_PAIRS = ("half_width", "gap", "decay")


def ranges_to_dict(ranges: RealisticRanges) -> dict[str, Any]:
    """Return ranges as plain JSON types."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(ranges).items()}


def ranges_from_dict(record: Any, name: str = "The ranges") -> RealisticRanges:
    """Return the ranges that a record describes; values it lacks are the usual ones.

    Parameters
    ----------
    record : mapping
        As `ranges_to_dict` returns it.
    name : str
        What error messages call it.

    Raises
    ------
    InputError
        If a key is unknown or a value makes no sense.
    """
    if not isinstance(record, Mapping):
        raise InputError(f"{name} cannot be used: they must be a JSON object.")
    known = [f.name for f in fields(RealisticRanges)]
    for key in record:
        if key not in known:
            raise InputError(f"{name} name {key!r}, which is none of {', '.join(known)}.")
    values = {key: _checked(key, value, name) for key, value in record.items()}
    return RealisticRanges(**values)


def _checked(key: str, value: Any, name: str) -> Any:
    low, high = _LIMITS[key]
    parts = list(value) if isinstance(value, list | tuple) else [value]
    wanted = 2 if key in _PAIRS else 1
    if len(parts) != wanted or not all(_is_number(part, low, high) for part in parts):
        what = "two numbers, the smaller first," if wanted == 2 else "a number"
        raise InputError(
            f"{name} give {value!r} for {key!r}: it must be {what} between {low:g} and {high:g}."
        )
    if wanted == 1:
        return float(parts[0])
    if parts[1] < parts[0]:
        raise InputError(f"{name} give {value!r} for {key!r}: the smaller number comes first.")
    return float(parts[0]), float(parts[1])


def _is_number(value: Any, low: float, high: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and low <= value <= high


def read_ranges(path: str | os.PathLike[str]) -> RealisticRanges:
    """Read a file of ranges, as ``sff-napari analyse`` writes it.

    Raises
    ------
    StackError
        If there is no such file or it is none of this format.
    InputError
        If a value makes no sense.
    """
    place = Path(path).expanduser()
    try:
        if place.stat().st_size > _MAX_BYTES:
            raise StackError(f"{place} is too large to be a file of ranges.")
        document = json.loads(place.read_text(encoding="utf-8"))
    except StackError:
        raise
    except OSError as error:
        if not place.exists():
            raise StackError(f"There is no file of ranges at {place}: check the path.") from error
        raise explain(error, place, "read") from error
    except (ValueError, RecursionError) as error:
        raise StackError(f"{place} is not a file of ranges: it is not JSON ({error}).") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise StackError(f'{place} is not a file of ranges: it lacks "format": "{FORMAT}".')
    version = document.get("version")
    if version != VERSION:
        raise StackError(
            f"{place} has version {version!r}, but this program knows {VERSION}: update sff-napari."
        )
    return ranges_from_dict(document.get("ranges"), f"The ranges in {place}")


def write_ranges(
    path: str | os.PathLike[str], ranges: RealisticRanges, measured: Mapping[str, Any] | None = None
) -> None:
    """Write a file of ranges, atomically.

    Parameters
    ----------
    path : path-like
        The file; replaced if it exists.
    ranges : RealisticRanges
        In pixels.
    measured : mapping, optional
        Where they come from, plain JSON types.

    Raises
    ------
    StackError
        If it cannot be written.
    """
    write_json(
        path,
        {
            "format": FORMAT,
            "version": VERSION,
            "unit": "px",
            "ranges": ranges_to_dict(ranges),
            "measured": dict(measured or {}),
        },
    )
