"""Reduce the vertices of a freehand line, and tell whether two lines are the same fold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vertices = tuple[tuple[float, float], ...]


def thin_path(vertices: Sequence[tuple[float, float]], tolerance: float = 2.0) -> Vertices:
    """Return the vertices (y, x) that are needed to stay within `tolerance` px of a path."""
    points = np.asarray(vertices, dtype=float)
    keep = np.zeros(len(points), dtype=bool)
    keep[[0, -1]] = True
    parts = [(0, len(points) - 1)]
    while parts:
        start, stop = parts.pop()
        if stop - start < 2:
            continue
        distance = _from_segment(points[start + 1 : stop], points[start], points[stop])
        worst = int(distance.argmax())
        if distance[worst] > tolerance:
            middle = start + 1 + worst
            keep[middle] = True
            parts += [(start, middle), (middle, stop)]
    return tuple((float(y), float(x)) for y, x in points[keep])


def is_same_line(
    first: Sequence[tuple[float, float]], second: Sequence[tuple[float, float]], within: float
) -> bool:
    """Tell whether most of the shorter line lies within `within` px of the other."""
    a, b = sampled(first), sampled(second)
    if len(a) > len(b):
        a, b = b, a
    gaps = np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2)).min(axis=1)
    return bool((gaps <= within).mean() > 0.7)


def sampled(vertices: Sequence[tuple[float, float]], step: float = 4.0) -> NDArray[np.float64]:
    """Return points (N, 2) about every `step` px along the polygon through the vertices."""
    points = np.asarray(vertices, dtype=float)
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=1)
    arc = np.concatenate([[0.0], np.cumsum(lengths)])
    at = np.linspace(0, arc[-1], max(2, int(arc[-1] / step) + 1))
    return np.stack([np.interp(at, arc, points[:, i]) for i in (0, 1)], axis=1)


def _from_segment(
    points: NDArray[np.float64], start: NDArray[np.float64], stop: NDArray[np.float64]
) -> NDArray[np.float64]:
    along = stop - start
    squared = float(along @ along)
    if squared == 0:
        return np.asarray(np.linalg.norm(points - start, axis=1))
    share = np.clip((points - start) @ along / squared, 0, 1)
    return np.asarray(np.linalg.norm(points - start - share[:, None] * along, axis=1))
