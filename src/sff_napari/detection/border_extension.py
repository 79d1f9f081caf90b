"""Take a measured line to the border of the slice where the dark band goes on to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sff_napari.detection.measure import Measured, Slice, darkness_of
from sff_napari.detection.straightened_band import Points

_DIRECTION = 60
"""Samples at an end that tell its direction."""
_LEAST_DARK = 0.9


def taken_to_border(view: Slice, line: Measured) -> Measured:
    """Return the line with its ends continued straight to the border where that is dark.

    Next to the border one side of the band lies outside the slice, often with
    part of the band itself, and nothing there can be measured; all that can be
    asked is that whatever is seen of the band is dark.
    """
    for first in (True, False):
        line = _one_end(view, line, first)
    return line


def _one_end(view: Slice, line: Measured, first: bool) -> Measured:
    points = line.points[::-1] if first else line.points
    end, way = _direction(points)
    distance = _distance_to_border(end, way, view.shape)
    if not 1.0 <= distance < 0.75 * max(view.shape):
        return line
    count = int(distance / 2.0)
    if count < 1:
        return line
    added = end + way * 2.0 * np.arange(1, count + 1)[:, None]
    half_width = float(np.median((line.half_widths[::-1] if first else line.half_widths)[-30:]))
    # A few px are within the error of where an end is; farther, the band must be seen.
    if distance > half_width + 6:
        level, inside = darkness_of(view, added, 0.7 * half_width)
        dark = (level > 0.5) & inside
        share = dark.sum(axis=1) / np.maximum(inside.sum(axis=1), 1)
        if share.mean() < _LEAST_DARK or np.percentile(share, 10) < 0.5:
            return line
    nothing = np.zeros(count)
    new = {
        "points": added,
        "half_widths": np.full(count, half_width),
        "depth": nothing,
        "dark": nothing,
        "solid": nothing,
        "two_sided": np.zeros(count, np.bool_),
        "offsets": np.full((count, 2), np.nan),
    }
    joined = {
        name: np.concatenate([part[::-1], getattr(line, name)])
        if first
        else np.concatenate([getattr(line, name), part])
        for name, part in new.items()
    }
    return replace(line, **joined)


def _direction(points: Points) -> tuple[Points, Points]:
    """Return the last point of a line and its unit direction there."""
    tail = points[-_DIRECTION:]
    centre = tail.mean(axis=0)
    _, _, axes = np.linalg.svd(tail - centre, full_matrices=False)
    way = axes[0] if axes[0] @ (tail[-1] - tail[0]) > 0 else -axes[0]
    return centre + way * float((tail[-1] - centre) @ way), way


def _distance_to_border(point: Points, way: Points, shape: tuple[int, int]) -> float:
    """Return how far the border is from a point inside in a direction, px."""
    limit = np.array([shape[0] - 1.0, shape[1] - 1.0])
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(way > 0, (limit - point) / way, np.where(way < 0, -point / way, np.inf))
    return float(steps.min())
