"""Finding the branches of a fold: lines that begin on it and prove little by themselves.

Film that folds often forks.  A branch is short, so that it would not count alone; but
where a fold is certain, a dark line that leaves it is most likely a part of it.  Rays
that leave the fold in all directions are compared with their sides, and the best are
followed.
"""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sff_napari.detection.judge import LEAST_SCORE, lies_on, score_of, traits_of, trimmed
from sff_napari.detection.measure import LONG_EDGE_LENGTH, Measured, Slice, measure
from sff_napari.detection.onward import followed
from sff_napari.detection.strip import Points, extended, resampled

_STEP = 2.0
"""Distance between the samples of a ray, px."""
_STATIONS = 6
"""Samples of the fold from one place that rays leave from to the next; a sample is 2 px."""
_ANGLES = np.radians(np.arange(25.0, 156.0, 5.0))
"""Between the fold and its rays, to both sides."""
_BEYOND = 40.0
"""How far beyond the ends of the fold rays begin, px."""
_AWAY = 3.0
"""Distance of the first sample of a ray from the edge of the fold, px."""
_RAY = 26
"""Samples of a ray."""
_NOISE_LENGTH = 7
"""Samples along a ray over which grain is averaged."""
_HALF_WIDTHS = (1.0, 3.0, 6.0, 10.0)
"""Half widths of branches that are tried, px."""
_LEAST = 0.22
"""Least darkness above that of the sides."""
_ROUGHLY = -0.25
"""What a ray may lack of it before it is adjusted."""
_MOST = 6
"""Branches of one fold."""
_TRIED = 40
"""Rays that are followed, at most."""
_LEAST_LENGTH = 90.0
"""Shortest branch, px."""
_ENOUGH = 200.0
"""Length, px, that a branch is judged as: that it leaves a fold counts for the rest."""
_APART = 12.0
"""Distance within which lines are the same, px."""


def branches_of(
    view: Slice, stem: Measured, others: list[Measured]
) -> list[tuple[float, Measured]]:
    """Return the branches of a fold.

    Parameters
    ----------
    view : Slice
        The slice.
    stem : Measured
        The fold, at full scale.
    others : list of Measured
        What else is known to be a fold.

    Returns
    -------
    list of (float, Measured)
        Scores in [0, 1] and lines, strongest first; each begins at the middle of the fold.
    """
    rays, ways = _rays(stem)
    each = np.stack([_stands_out(view, rays, ways, half) for half in _HALF_WIDTHS])
    strength, widths = each.max(axis=0), each.argmax(axis=0)
    found: list[tuple[float, Measured]] = []
    tried: list[Points] = []
    for index in np.argsort(-strength):
        if strength[index] < _ROUGHLY or len(tried) >= _TRIED or len(found) >= _MOST:
            break
        if any(_near(rays[index], line) > 0.5 for line in tried):
            continue
        tried.append(rays[index])
        ray = _adjusted(view, rays[index], ways[index], _HALF_WIDTHS[widths[index]])
        if ray is None or _near(ray, stem.points, stem.half_widths) > 0.3:
            continue
        line = _followed(view, ray)
        if line is None:
            continue
        tried.append(line.points)
        known = [stem, *others, *(one for _, one in found)]
        if any(_near(line.points, one.points, one.half_widths) > 0.3 for one in known):
            continue
        traits = traits_of(line)
        score = score_of(replace(traits, length=max(traits.length, _ENOUGH)), math.inf)
        if score >= LEAST_SCORE:
            found.append((score, _from_the_middle(line, stem)))
    return found


def _rays(stem: Measured) -> tuple[Points, Points]:
    """Return rays (R, samples, 2) that leave a fold, and their directions (R, 2)."""
    # A fold that forks may have been found up to where it begins to.
    points = extended(stem.points, _BEYOND, _BEYOND, _STEP)
    more = (len(points) - len(stem.points)) // 2
    half_widths = np.pad(stem.half_widths, more, mode="edge")
    tangent = np.gradient(points, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    at = np.arange(0, len(points), _STATIONS)
    angles = np.concatenate([_ANGLES, -_ANGLES])
    along, across = np.cos(angles), np.sin(angles)
    ways = tangent[at, None] * along[:, None] + (
        np.stack([tangent[at, 1], -tangent[at, 0]], axis=1)[:, None] * across[:, None]
    )
    first = (half_widths[at, None] + _AWAY) / np.abs(across)
    reach = first[..., None] + _STEP * np.arange(_RAY)
    rays = points[at, None, None] + reach[..., None] * ways[:, :, None]
    return rays.reshape(-1, _RAY, 2), ways.reshape(-1, 2)


def _adjusted(view: Slice, ray: Points, way: Points, half_width: float) -> Points | None:
    """Return the ray close to another that stands out most, None if none does enough."""
    shifts, turns = np.arange(-7.0, 8.0, 1.0), np.radians(np.arange(-5.0, 6.0, 1.0))
    cosine, sine = np.cos(turns), np.sin(turns)
    turned = np.stack([way[0] * cosine - way[1] * sine, way[0] * sine + way[1] * cosine], axis=1)
    aside = np.array([way[1], -way[0]])
    starts = ray[0] + shifts[:, None] * aside
    reach = _STEP * np.arange(_RAY)
    rays = starts[:, None, None] + reach[:, None] * turned[None, :, None]
    rays = rays.reshape(-1, _RAY, 2)
    ways = np.tile(turned, (len(shifts), 1))
    strength = _stands_out(view, rays, ways, half_width)
    best = int(strength.argmax())
    return rays[best] if strength[best] > 0 else None


def _stands_out(view: Slice, rays: Points, ways: Points, half_width: float) -> NDArray[np.float64]:
    """Return how much more than `_LEAST` rays stand out from their sides, (R,)."""
    aside = np.stack([ways[:, 1], -ways[:, 0]], axis=1)[:, None]
    core = view.darkness_at(rays)
    for offset in (-0.6 * half_width, 0.6 * half_width):
        core = np.minimum(core, view.darkness_at(rays + offset * aside))
    sides = []
    for sign in (-1, 1):
        offsets = [sign * (1.4 * half_width + more) for more in (3.0, 5.5)]
        sides.append(np.mean([view.darkness_at(rays + one * aside) for one in offsets], axis=0))
    above = core - 0.4 * (sides[0] + sides[1]) - 0.2 * np.maximum(*sides) - _LEAST
    above = np.where(np.isfinite(above), np.clip(above, -0.5, 0.3), -0.5).astype(np.float32)
    # A ray is no better than its worst part.
    above = cv2.blur(above, (_NOISE_LENGTH, 1), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(np.quantile(above, 0.15, axis=1), np.float64)


def _followed(view: Slice, ray: Points) -> Measured | None:
    """Return the line that a ray begins, None if it is none."""
    line = np.concatenate([ray, followed(view, ray, 3.0)])
    measured = measure(view, line, np.full(len(line), 3.0), edge_length=LONG_EDGE_LENGTH)
    measured = None if measured is None else trimmed(measured)
    if measured is None or measured.length < _LEAST_LENGTH:
        return None
    away = np.linalg.norm(measured.points[[0, -1]] - ray[0], axis=1)
    return measured if away.min() <= _BEYOND else None


def _from_the_middle(line: Measured, stem: Measured) -> Measured:
    """Return a branch that begins at the middle of its fold."""
    ends = line.points[[0, -1]]
    away = np.linalg.norm(stem.points[:, None] - ends[None], axis=2)
    station, end = np.unravel_index(int(away.argmin()), away.shape)
    if end == 1:
        line = _reversed(line)
    start = np.stack([stem.points[station], line.points[0]])
    count = max(1, len(resampled(start, _STEP)) - 1)
    more = resampled(start, _STEP)[:count]

    def longer(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([np.repeat(values[:1], count, axis=0), values])

    return Measured(
        np.concatenate([more, line.points]),
        longer(line.half_widths),
        longer(line.depth),
        longer(line.dark),
        longer(line.solid),
        np.concatenate([np.repeat(line.two_sided[:1], count), line.two_sided]),
        longer(line.offsets),
    )


def _reversed(line: Measured) -> Measured:
    return Measured(
        line.points[::-1],
        line.half_widths[::-1],
        line.depth[::-1],
        line.dark[::-1],
        line.solid[::-1],
        line.two_sided[::-1],
        line.offsets[::-1],
    )


def _near(line: Points, other: Points, half_widths: NDArray[np.float64] | None = None) -> float:
    """Return the share of a line that lies on another."""
    reach = np.full(len(other), _APART) if half_widths is None else half_widths + 6.0
    return lies_on(line[::4], other, reach)
