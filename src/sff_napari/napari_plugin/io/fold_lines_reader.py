"""Open a fold lines file (JSON or JSON Lines), by drag and drop too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return a reader if the file holds fold lines, else None."""
    first = path[0] if isinstance(path, list) else path
    if not is_folds_file(first):
        return None
    return read_fold_lines


def is_folds_file(path: str) -> bool:
    """Tell whether a JSON file holds fold lines, from its beginning alone if it can."""
    if not str(path).lower().endswith((".json", ".jsonl")) or not Path(path).is_file():
        return False
    try:
        with Path(path).open("rb") as file:
            head = file.read(4096)
        if b"sff-napari-folds" in head:
            return True
        if Path(path).stat().st_size > 50_000_000:
            return False
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
        return isinstance(raw, dict) and raw.get("format") == "sff-napari-folds"
    except (OSError, ValueError):
        return False


def read_fold_lines(path: str | list[str]) -> list[LayerData]:
    """Return one Shapes layer for each fold lines file; vertices are (slice, y, x)."""
    import numpy as np

    from sff_napari.napari_plugin.layers.fold_lines import MARK
    from sff_napari.napari_plugin.layers.shapes_style import COLOURS, features_of, rgba
    from sff_napari.sessions.records import FoldRecord
    from sff_napari.stacks.folds_file import read_folds

    layers: list[LayerData] = []
    for one in path if isinstance(path, list) else [path]:
        file = read_folds(one)
        records = [FoldRecord.of(fold, (int(z),)) for z in file.slices for fold in file.folds[z]]
        shapes = [np.array([(r.index[0], y, x) for y, x in r.vertices]) for r in records]
        kwargs: dict[str, Any] = {
            "name": Path(one).stem,
            "ndim": 3,
            "shape_type": "path",
            "edge_color": np.tile(rgba("to do"), (max(1, len(records)), 1)),
            "face_color": "transparent",
            "opacity": 0.65,
            "metadata": {MARK: "file"},
        }
        if records:
            kwargs["edge_width"] = [2 * r.half_width for r in records]
            kwargs["features"] = features_of(records, ["to do"] * len(records), 0)
        else:
            kwargs.pop("shape_type")
            kwargs["edge_color"] = COLOURS["to do"]
        layers.append((shapes or None, kwargs, "shapes"))
    return layers
