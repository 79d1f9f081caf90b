"""Save a Shapes layer as a fold lines file (JSON)."""

from __future__ import annotations

from typing import Any

from sff_napari.errors import InputError


def write_fold_lines(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write the lines and paths of a Shapes layer to a fold lines file.

    Parameters
    ----------
    path : str
        The file.
    data : list of ndarray, (N, 2), (N, 3) or more
        Vertices (..., y, x) in pixels; the axis before y counts slices.
    meta : dict
        The layer's attributes; features hold half width, score and source.

    Returns
    -------
    list of str
        The path written.

    Raises
    ------
    InputError
        If the layer holds no line or path.
    """
    import numpy as np

    from sff_napari.folds import Fold
    from sff_napari.napari_plugin.layers.shapes_style import WIDTH
    from sff_napari.stacks.folds_file import write_folds

    kinds = meta.get("shape_type") or ["path"] * len(data)
    kinds = [kinds] * len(data) if isinstance(kinds, str) else list(kinds)
    features = meta.get("features")
    columns = {} if features is None else {str(key): np.asarray(features[key]) for key in features}
    widths = np.broadcast_to(np.asarray(meta.get("edge_width", 16.0), dtype=float), len(data))
    halves = np.asarray(columns.get(WIDTH, widths), dtype=float) / 2
    scores = np.asarray(columns.get("score", np.full(len(data), np.nan)), dtype=float)
    sources = columns.get("source", np.full(len(data), "drawn", dtype=object))
    by_slice: dict[int, list[Fold]] = {}
    for i, points in enumerate(data):
        if str(kinds[i]) not in ("line", "path"):
            continue
        points = np.asarray(points, dtype=float)
        z = int(np.rint(points[0, -3])) if points.shape[1] > 2 else 0
        half, score, source = float(halves[i]), float(scores[i]), str(sources[i])
        by_slice.setdefault(z, []).append(
            Fold(
                [(float(y), float(x)) for y, x in points[:, -2:]],
                max(0.5, half),
                score=None if np.isnan(score) else score,
                source=source if source in ("drawn", "detected", "simulated") else "drawn",  # type: ignore[arg-type]
            )
        )
    if not by_slice:
        raise InputError("This layer holds no line and no path: draw a fold line before saving.")
    write_folds(path, by_slice)
    return [path]
