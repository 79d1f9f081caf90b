"""Find the branches of a fold: lines that begin on it and prove little by themselves.

Film that folds often forks.  A branch is short, so that it would not count alone; but
where a fold is certain, a dark line that leaves it is most likely a part of it.  Rays
that leave the fold in all directions are compared with their sides, and the best are
followed.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sff_napari.detection.border_extension import taken_to_border
from sff_napari.detection.classification import LEAST_SCORE, lies_on, score_of, traits_of, trimmed
from sff_napari.detection.continuation import followed
from sff_napari.detection.measure import LONG_EDGE_LENGTH, Measured, Slice, level_beside, measure
from sff_napari.detection.straightened_band import Points, extended, normals_of, resampled

_STEP = 2.0
"""Distance between the samples of a ray, px."""
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
_WORST = 0.15
"""Share of a ray that may stand out less than it is taken to."""
_HALF_WIDTHS = (1.0, 3.0, 6.0, 10.0)
"""Half widths of branches that are tried, px."""
_LEAST = 0.22
"""Least darkness above that of the sides."""
_FLANK = 5
"""How wide the sides are that a ray is compared with, px."""
_ROUGHLY = -0.05
"""What a ray may lack of it before it is adjusted."""
_MOST = 6
"""Branches of one fold."""
_TRIED = 16
"""Rays that are tried, at most, and lines that were found on them."""
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
    rays, strength = _rays(view, stem)
    found: list[tuple[float, Measured]] = []
    tried: list[Points] = []
    for index in np.argsort(-strength):
        if strength[index] < _ROUGHLY or len(tried) >= _TRIED or len(found) >= _MOST:
            break
        if any(_near(rays[index], line) > 0.5 for line in tried):
            continue
        tried.append(rays[index])
        ray = _adjusted(view, rays[index])
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


def _rays(view: Slice, stem: Measured) -> tuple[Points, NDArray[np.float64]]:
    """Return rays (R, samples, 2) that leave a fold, and how much each stands out, (R,).

    They are compared in the band along the fold laid out straight, where they are straight, too.
    """
    # A fold that forks may have been found up to where it begins to.
    more = _BEYOND + _STEP * _RAY
    points = resampled(extended(stem.points, more, more, _STEP), 1.0)
    edge = float(np.percentile(stem.half_widths, 90)) + _AWAY
    reach = _STEP * np.arange(_RAY)
    offsets = np.arange(-np.ceil(edge + reach[-1]), np.ceil(edge + reach[-1]) + 1)
    level = level_beside(view, points, offsets)
    level = np.where(np.isfinite(level), np.clip(level, 0, 1.2), 0.6).astype(np.float32)
    above = np.maximum.reduce([_ridge(level, half_width) for half_width in _HALF_WIDTHS])
    middle = len(offsets) // 2
    places = np.arange(len(points))
    normals = normals_of(points)
    found, strength = [], []
    for side in (-1, 1):
        for angle in _ANGLES:
            out = side * (edge + reach * math.sin(angle))
            on = places[:, None] + np.rint(reach * math.cos(angle)).astype(int)
            inside = on[:, -1].clip(0, len(points) - 1) == on[:, -1]
            on = on.clip(0, len(points) - 1)
            seen = np.sort(above[on, middle + np.rint(out).astype(int)], axis=1)
            least = np.where(inside, seen[:, int(_WORST * _RAY)], -1.0)
            best = cv2.dilate(least[:, None].astype(np.float32), np.ones((9, 1)))[:, 0]
            for place in np.flatnonzero((least >= _ROUGHLY) & (least == best)):
                first = points[place] + out[0] * normals[place]
                last = points[on[place, -1]] + out[-1] * normals[on[place, -1]]
                way = (last - first) / max(float(np.linalg.norm(last - first)), 1e-9)
                found.append(first + reach[:, None] * way)
                strength.append(float(least[place]))
    return np.array(found).reshape(-1, _RAY, 2), np.array(strength)


def _ridge(level: NDArray[np.float32], half_width: float) -> NDArray[np.float32]:
    """Return how much darker than its sides a band (N, K) is, along its length, less `_LEAST`."""
    core = cv2.blur(level, (3, 2 * round(half_width) + 1))
    side = cv2.blur(level, (1, _FLANK))
    away = round(1.4 * half_width) + 2 + _FLANK // 2
    framed = np.pad(side, ((away, away), (0, 0)), mode="edge")
    before, after = framed[: len(level)], framed[2 * away :]
    return np.asarray(
        core - 0.4 * (before + after) - 0.2 * np.maximum(before, after) - _LEAST, np.float32
    )


def _adjusted(view: Slice, ray: Points) -> Points | None:
    """Return the ray close to another that stands out most, None if none does enough."""
    way = (ray[-1] - ray[0]) / np.linalg.norm(ray[-1] - ray[0])
    shifts, turns = np.arange(-7.0, 8.0, 1.0), np.radians(np.arange(-5.0, 6.0, 1.0))
    cosine, sine = np.cos(turns), np.sin(turns)
    turned = np.stack([way[0] * cosine - way[1] * sine, way[0] * sine + way[1] * cosine], axis=1)
    aside = np.array([way[1], -way[0]])
    starts = ray[0] + shifts[:, None] * aside
    reach = _STEP * np.arange(_RAY)
    rays = starts[:, None, None] + reach[:, None] * turned[None, :, None]
    rays = rays.reshape(-1, _RAY, 2)
    ways = np.tile(turned, (len(shifts), 1))
    strength = np.maximum.reduce([_stands_out(view, rays, ways, half) for half in _HALF_WIDTHS])
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
    worst = int(_WORST * above.shape[1])
    return np.asarray(np.partition(above, worst, axis=1)[:, worst], np.float64)


def _followed(view: Slice, ray: Points) -> Measured | None:
    """Return the line that a ray begins, None if it is none."""
    line = np.concatenate([ray, followed(view, ray, 3.0)])
    measured = measure(view, line, np.full(len(line), 3.0), edge_length=LONG_EDGE_LENGTH)
    measured = None if measured is None else trimmed(measured)
    if measured is None or measured.length < _LEAST_LENGTH:
        return None
    away = np.linalg.norm(measured.points[[0, -1]] - ray[0], axis=1)
    return taken_to_border(view, measured) if away.min() <= _BEYOND else None


def _from_the_middle(line: Measured, stem: Measured) -> Measured:
    """Return a branch that begins at the middle of its fold."""
    ends = line.points[[0, -1]]
    away = np.linalg.norm(stem.points[:, None] - ends[None], axis=2)
    station, end = np.unravel_index(int(away.argmin()), away.shape)
    if end == 1:
        turned = {field.name: getattr(line, field.name)[::-1] for field in fields(line)}
        line = replace(line, **turned)
    start = np.stack([stem.points[station], line.points[0]])
    count = max(1, len(resampled(start, _STEP)) - 1)
    values = {field.name: getattr(line, field.name) for field in fields(line)}
    longer = {
        name: np.concatenate([np.repeat(one[:1], count, axis=0), one])
        for name, one in values.items()
    }
    longer["points"][:count] = resampled(start, _STEP)[:count]
    return replace(line, **longer)


def _near(line: Points, other: Points, half_widths: NDArray[np.float64] | None = None) -> float:
    """Return the share of a line that lies on another."""
    reach = np.full(len(other), _APART) if half_widths is None else half_widths + 6.0
    return lies_on(line[::4], other, reach)
