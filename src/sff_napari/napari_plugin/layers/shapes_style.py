"""How fold lines look in a Shapes layer: colours by state, and the features table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.sessions.records import FoldRecord

COLOURS = {
    "to do": "#ff8c1a",
    "restored": "#2f9dff",
    "stale": "#ffe04d",
    "accepted": "#27c27a",
    "rejected": "#9a9a9a",
}
"""Line colour of each state."""

DRAWING_TOOLS = ("add_line", "add_polyline", "add_path", "direct", "vertex_insert", "vertex_remove")
"""Modes of a Shapes layer in which the damaged slice has to be seen."""

FEATURES = {
    "slice": int,
    "half_width": float,
    "score": float,
    "source": object,
    "state": object,
    "uid": object,
}
"""Columns of the features table and their types."""


OPACITY = {"restored": 0.5, "accepted": 0.5, "rejected": 0.6}
"""Lines on slices that have a result are fainter: the tissue below is what matters there."""


def rgba(state: str) -> NDArray[np.float32]:
    """Return the colour of a state as (r, g, b, a) in [0, 1]."""
    colour = COLOURS[state]
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.asarray([*parts, OPACITY.get(state, 1.0)], dtype=np.float32)


def features_of(
    records: Sequence[FoldRecord], states: Sequence[str], axis: int
) -> dict[str, NDArray[Any]]:
    """Return the features table of lines whose slices count along `axis` of their index."""
    return {
        "slice": np.asarray([r.index[axis] if r.index else 0 for r in records], dtype=int),
        "half_width": np.asarray([round(r.half_width, 2) for r in records], dtype=float),
        "score": np.asarray([np.nan if r.score is None else r.score for r in records], dtype=float),
        "source": np.asarray([r.source for r in records], dtype=object),
        "state": np.asarray(list(states), dtype=object),
        "uid": np.asarray([r.uid for r in records], dtype=object),
    }
