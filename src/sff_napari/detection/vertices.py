"""Turn a finely sampled line into a fold with as few vertices as describe it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sff_napari.detection.straightened_band import Points, lengths_along, smooth
from sff_napari.folds import Curve, Fold
from sff_napari.folds.fold import FoldSource

_SPACING = (110.0, 75.0, 50.0, 40.0)
"""Distances between vertices that are tried, px."""
_TOLERANCE = 0.8
"""Largest distance of the fold line from the ridge, px (90 % of it)."""
_OUTSIDE = 3.0
"""How far outside the slice a point of a line may lie, px."""
_STRAIGHT = 0.6
"""Largest distance from a straight line at which a line counts as straight, px."""


def to_fold(
    points: Points,
    half_widths: NDArray[np.float64],
    shape: tuple[int, int],
    *,
    score: float | None,
    source: FoldSource,
) -> Fold:
    """Return a line as a fold: two vertices if it is straight, else a few.

    Parameters
    ----------
    points : ndarray, (N, 2)
        The centre of the dark band, (y, x) in px.
    half_widths : ndarray, (N,)
        Distance from the centre to the edges, px.
    shape : (Y, X)
        Of the slice; an end that nearly reaches the border is put on it.
    score : float, optional
        See `Fold`.
    source : str
        See `Fold`.
    """
    kept = _inside_part(points, shape)
    points, half_widths = points[kept], half_widths[kept]
    course = smooth(points, 6.0)
    middle = max(float(np.median(half_widths)), 0.5)
    straight = _straight_ends(course)
    if straight is not None:
        ends = straight
        ends = _to_border(ends, middle + 8, shape)
        vertices, widths = ends, None
        # A straight fold may still be wider at one end than at the other.
        if np.percentile(half_widths, 90) > 1.25 * np.percentile(half_widths, 10):
            vertices, widths = _curved(ends_of(course, ends), half_widths, 2)
    else:
        line = ends_of(course, _to_border(course, middle + 8, shape))
        vertices, widths = _curved(line, half_widths, None)
    return Fold(
        [(float(y), float(x)) for y, x in vertices],
        middle,
        half_widths=None if widths is None else [max(float(w), 0.5) for w in widths],
        score=score,
        source=source,
    )


def _inside_part(points: Points, shape: tuple[int, int]) -> slice:
    """Return the longest part of a line that lies in the slice, all of it if that is too short.

    The centre of a band along the border may leave the slice; put back on the border, its
    end would make the line cross itself.
    """
    limit = np.asarray(shape) - 1 + _OUTSIDE
    inside = ((points >= -_OUTSIDE) & (points <= limit)).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(np.int8), [0]])))
    runs = [(int(stop - start), slice(start, stop)) for start, stop in edges.reshape(-1, 2)]
    count, part = max(runs, key=lambda run: run[0], default=(0, slice(None)))
    return part if count >= 8 else slice(None)


def ends_of(course: Points, ends: Points) -> Points:
    """Return the course with its first and last point replaced by those of `ends`."""
    inner = course[2:-2] if len(course) > 8 else course[1:-1]
    return np.concatenate([ends[:1], inner, ends[-1:]])


def _straight_ends(course: Points) -> Points | None:
    """Return the ends (2, 2) of the straight line through a course, or None if it is bent.

    Debris and the rounded end of a band pull the centre aside for some px: a
    few bins of the course may lie off the line, if not by much.
    """
    bins = np.array_split(np.arange(len(course)), max(3, min(16, len(course) // 20)))
    kept = course
    for _ in range(2):
        centre = kept.mean(axis=0)
        axes = np.linalg.svd(kept - centre, full_matrices=False)[2]
        along, across = ((course - centre) @ axis for axis in axes)
        away = np.array([abs(float(np.median(across[part]))) for part in bins])
        near = away <= _STRAIGHT
        if near.sum() < 3:
            return None
        kept = course[np.concatenate([p for p, fits in zip(bins, near, strict=True) if fits])]
    if near.mean() < 0.75 or away.max() > 5 * _STRAIGHT:
        return None
    direction = axes[0] * (1.0 if along[-1] > along[0] else -1.0)
    low, high = sorted((float(along[0]), float(along[-1])))
    return np.stack([centre + low * direction, centre + high * direction])


def _to_border(line: Points, reach: float, shape: tuple[int, int]) -> Points:
    """Return the line with ends that nearly reach the border put on it."""
    line = np.array(line, dtype=np.float64)
    limit = np.array([shape[0] - 1.0, shape[1] - 1.0])
    for end, inner in ((0, min(20, len(line) - 1)), (-1, -1 - min(20, len(line) - 1))):
        way = line[end] - line[inner]
        way /= max(float(np.linalg.norm(way)), 1e-9)
        point = line[end]
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = np.where(
                way > 0, (limit - point) / way, np.where(way < 0, -point / way, np.inf)
            )
        step = float(steps.min())
        if np.isfinite(step) and step <= reach:
            point = point + step * way
        line[end] = np.clip(point, 0, limit)
    return line


def _curved(
    line: Points, half_widths: NDArray[np.float64], least: int | None
) -> tuple[Points, NDArray[np.float64]]:
    """Return the vertices (K, 2) of a natural spline along the line, and half widths (K,) there."""
    along = lengths_along(line)
    length = float(along[-1])
    at_widths = np.linspace(0, length, len(half_widths))
    vertices = line[[0, -1]]
    places = np.array([0.0, length])
    for spacing in _SPACING:
        count = max(3, int(np.ceil(length / spacing)) + 1)
        places = np.linspace(0, length, count)
        vertices = np.stack([np.interp(places, along, line[:, i]) for i in range(2)], axis=1)
        curve = Curve(vertices, dtype=torch.float64)
        sample = torch.as_tensor(line[:: max(1, len(line) // 400)].T, dtype=torch.float64)
        away = curve.project(sample).distance.abs().numpy()
        if np.percentile(away, 90) <= _TOLERANCE and away.max() <= 4 * _TOLERANCE:
            break
    window = max(1, int(0.4 * length / max(len(places) - 1, 1) / (length / len(half_widths))))
    smoothed = smooth(half_widths, 0.5 * window)
    return vertices, np.interp(places, at_widths, smoothed)
