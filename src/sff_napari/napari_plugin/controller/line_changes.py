"""How two states of the fold lines differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sff_napari.sessions.records import FoldRecord, Index

SHORTEST = 6.0
"""A line shorter than this, in pixels, was not meant."""

Lines = dict[str, FoldRecord]
"""Fold lines by their names."""


def line_changes(
    before: Mapping[str, FoldRecord], after: Mapping[str, FoldRecord]
) -> dict[str, tuple[FoldRecord | None, FoldRecord | None]]:
    """Return the lines that differ between two states, each before and after."""
    return {
        uid: (before.get(uid), after.get(uid))
        for uid in before.keys() | after.keys()
        if before.get(uid) != after.get(uid)
    }


def resized(record: FoldRecord, half_width: float) -> dict[str, Any]:
    """Return the changes that give a line another half width, widths along it in proportion."""
    half_width = max(0.5, float(half_width))
    changes: dict[str, Any] = {"half_width": half_width}
    if record.half_widths is not None:
        factor = half_width / record.half_width
        changes["half_widths"] = tuple(w * factor for w in record.half_widths)
    return changes


def description(changes: Mapping[str, tuple[FoldRecord | None, FoldRecord | None]]) -> str:
    """Return what was done to lines, e.g. ``"drawing a line"``."""
    verbs = {
        "drawing" if before is None else "deleting" if after is None else "changing"
        for before, after in changes.values()
    }
    verb = verbs.pop() if len(verbs) == 1 else "changing"
    return f"{verb} {'a line' if len(changes) == 1 else f'{len(changes)} lines'}"


def same_points(first: Sequence[Any], second: Sequence[Any]) -> bool:
    """Tell whether two lines have the same vertices; napari keeps them in single precision."""
    return len(first) == len(second) and all(
        abs(a[0] - b[0]) < 2e-3 and abs(a[1] - b[1]) < 2e-3
        for a, b in zip(first, second, strict=True)
    )


def touched_slices(before: Mapping[str, FoldRecord], after: Mapping[str, FoldRecord]) -> set[Index]:
    """Return the slices on which two states of the lines differ."""
    touched: set[Index] = set()
    for uid in before.keys() | after.keys():
        old, new = before.get(uid), after.get(uid)
        if old != new:
            touched |= {record.index for record in (old, new) if record is not None}
    return touched


def is_stray(vertices: Sequence[Any], plane: tuple[int, int]) -> bool:
    """Tell whether a drawn line is a mere click, or lies beside the slice (Y, X) altogether."""
    points = np.asarray(vertices, dtype=float)
    length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
    low, high = points.min(axis=0), points.max(axis=0)
    return bool(
        length < SHORTEST or (high < 0).any() or (low > np.asarray(plane, dtype=float) - 1).any()
    )


def edited(
    old: FoldRecord, index: Index, vertices: tuple[tuple[float, float], ...], half_width: float
) -> FoldRecord:
    """Return a line after a person moved it or changed its width; the same one if it is alike."""
    changes: dict[str, Any] = {}
    if index != old.index or not same_points(vertices, old.vertices):
        changes = {"vertices": vertices, "index": index, "source": "drawn", "score": None}
        if old.half_widths is not None and len(vertices) != len(old.vertices):
            changes["half_widths"] = None
    if abs(half_width - old.half_width) > 1e-3:
        changes |= resized(old, half_width)
    if changes and old.state == "accepted":
        changes["state"] = "open"
    return old.with_changes(**changes) if changes else old
