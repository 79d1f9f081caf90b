"""Follow the dark ridge from a straight piece of it to its ends.

The band around the line is laid out straight, the best path through it is
found by dynamic programming, and the line is continued at both ends for as
long as it is dark against both of its sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sff_napari.detection.straightened_band import (
    Points,
    best_path,
    extended,
    lengths_along,
    resampled,
    smooth,
    straighten,
)

STEP = 4.0
"""Distance between the points of a followed line, px."""
_REACH = 96.0
"""How far a line is continued at a time, px."""
_MOVE_COST = 0.06
_LEAST_EVIDENCE = 0.22
"""Darkness of the line above that of its sides at which it counts as present."""
_ROUNDS = 24
_TAIL = 24
"""Points at the end of a line that tell where it goes on and how wide it is there."""
_LEAST_GAIN = 12.0
"""A line is continued while it grows by this much, px."""


@dataclass(frozen=True)
class Ridge:
    """A line along a dark ridge.

    Parameters
    ----------
    points : ndarray, (N, 2)
        (y, x) in px of the darkness, `STEP` px apart.
    half_widths : ndarray, (N,)
        Rough distance from the line to the edge of the ridge, px.
    """

    points: Points
    half_widths: NDArray[np.float64]

    @property
    def half_width(self) -> float:
        """Median half width, px."""
        return float(np.median(self.half_widths))

    def reversed(self) -> Ridge:
        """Return the ridge from its last point to its first."""
        return Ridge(self.points[::-1], self.half_widths[::-1])


def follow(
    values: NDArray[np.float32],
    line: Points,
    *,
    reach: float | None = None,
    extend: bool = True,
) -> Ridge | None:
    """Return the ridge that a piece of line lies on.

    Parameters
    ----------
    values : ndarray, (Y, X) float32
        Darkness in [0, 1].
    line : ndarray, (N, 2)
        A line on the ridge or near it, (y, x) in px.
    reach : float, optional
        How far the ridge may lie from the line, px; a few times its half width
        if not given.
    extend : bool
        Whether to continue beyond the ends of `line`; its ends are cut back in
        any case where nothing is dark.

    Returns
    -------
    Ridge or None
        None if nothing along the line is dark against its sides.
    """
    points = resampled(np.asarray(line, np.float64), STEP)
    start, half_width = _first_look(values, points, reach)
    if half_width is None:
        return None
    ridge = _trace(values, points + start, half_width, reach, (extend, extend))
    if ridge is None or not extend:
        return ridge
    return _continued(values, _continued(values, ridge).reversed()).reversed()


def _trace(
    values: NDArray[np.float32],
    points: Points,
    half_width: float,
    reach: float | None,
    extend: tuple[bool, bool],
) -> Ridge | None:
    """Return the ridge of one half width near a line, continued at its open ends."""
    near = max(10.0, 1.5 * half_width + 4) if reach is None else reach
    open_ends = extend
    best: Points | None = None
    for _ in range(_ROUNDS):
        before, after = (_REACH if is_open else 0.0 for is_open in open_ends)
        longer = _kept_inside(extended(points, before, after, STEP), values.shape)
        if longer is None:
            break
        shift, evidence = _best_line(values, longer, near, half_width)
        moved = longer + shift
        first, last = strongest_run(evidence)
        if last - first < 4:
            break
        found = moved[first : last + 1]
        length = lengths_along(found)[-1]
        gained = np.inf if best is None else length - lengths_along(best)[-1]
        points = best = resampled(found, STEP)
        half_width = _width_of(values, best, half_width)
        # An end is open while the line runs on to the very end of what was looked at.
        open_ends = (
            open_ends[0] and first <= 3 and not _at_border(moved[first], values.shape),
            open_ends[1] and last >= len(moved) - 4 and not _at_border(moved[last], values.shape),
        )
        near = min(near, max(10.0, 1.5 * half_width + 4))
        if not any(open_ends) or gained < STEP:
            break
    return None if best is None else Ridge(best, np.full(len(best), half_width))


def _continued(values: NDArray[np.float32], ridge: Ridge) -> Ridge:
    """Return the ridge continued at its last point, with the half width it has there."""
    for _ in range(_ROUNDS):
        if _at_border(ridge.points[-1], values.shape):
            break
        tail = ridge.points[-_TAIL:]
        half_width = _width_of(values, tail, float(ridge.half_widths[-1]))
        piece = _trace(values, tail, half_width, None, (False, True))
        if piece is None:
            break
        away = np.linalg.norm(piece.points - tail[-1], axis=1)
        new = piece.points[int(away.argmin()) + 1 :]
        if len(new) * STEP < _LEAST_GAIN or away.min() > 2 * STEP:
            break
        ridge = Ridge(
            np.concatenate([ridge.points, new]),
            np.concatenate([ridge.half_widths, np.full(len(new), piece.half_width)]),
        )
    return ridge


def strongest_run(evidence: NDArray[np.float64]) -> tuple[int, int]:
    """Return the first and last index of the run of samples with the largest sum.

    A gap is bridged where it costs less than what lies beyond it.
    """
    best, total, first = 0.0, 0.0, 0
    run = (0, -1)
    for index, value in enumerate(evidence):
        if total <= 0:
            total, first = 0.0, index
        total += float(value)
        if total > best:
            best, run = total, (first, index)
    return run


def _at_border(point: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    y, x = point
    return bool(min(y, x, shape[0] - 1 - y, shape[1] - 1 - x) < STEP)


def _kept_inside(points: Points, shape: tuple[int, ...]) -> Points | None:
    """Return the longest part of the line inside the image."""
    inside = (
        (points[:, 0] >= -0.5)
        & (points[:, 0] <= shape[0] - 0.5)
        & (points[:, 1] >= -0.5)
        & (points[:, 1] <= shape[1] - 0.5)
    )
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(np.int8), [0]])))
    runs = [(stop - start, start, stop) for start, stop in edges.reshape(-1, 2)]
    if not runs:
        return None
    count, start, stop = max(runs)
    return points[start:stop] if count >= 6 else None


def _first_look(
    values: NDArray[np.float32], points: Points, reach: float | None
) -> tuple[Points, float | None]:
    """Return the shift (1, 2) that centres a piece of line on the ridge, and its half width."""
    nothing = np.zeros((1, 2))
    limit = 44 if reach is None else max(44, int(reach) + 40)
    offsets = np.arange(-limit, limit + 1, dtype=np.float64)
    if reach is not None:
        return nothing, _width_by_path(values, points, reach)
    left, right = _edges_of(_mean_profile(values, points, offsets), 12)
    if left == 0 or right == len(offsets) - 1:
        return nothing, None
    normal = points[-1] - points[0]
    normal = np.array([normal[1], -normal[0]]) / max(float(np.linalg.norm(normal)), 1e-9)
    return normal[None] * offsets[(left + right) // 2], max(0.5 * (right - left + 1), 1.0)


def _mean_profile(
    values: NDArray[np.float32], points: Points, offsets: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the mean darkness (K,) at each offset from the line, the border left out."""
    profile = straighten(values, points, offsets, outside=-1.0)
    known = profile >= 0
    total = np.where(known, profile, 0).sum(axis=0)
    mean = (total / np.maximum(known.sum(axis=0), 1)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(mean[None], (0, 0), 0.7)[0], np.float32)


def _edges_of(mean: NDArray[np.float32], reach: int) -> tuple[int, int]:
    """Return the first and last index of the dark band within `reach` of the middle."""
    middle = len(mean) // 2
    near = slice(middle - reach, middle + reach + 1)
    peak = int(np.argmax(mean[near])) + near.start
    level = 0.5 * (mean[peak] + np.percentile(mean, 30))
    left, right = peak, peak
    while left > 0 and mean[left - 1] > level:
        left -= 1
    while right < len(mean) - 1 and mean[right + 1] > level:
        right += 1
    return left, right


def _width_of(values: NDArray[np.float32], points: Points, guess: float) -> float:
    """Return the half width of the ridge a line lies on, or `guess` if it has no clear edges."""
    limit = int(2 * guess) + 12
    offsets = np.arange(-limit, limit + 1, dtype=np.float64)
    left, right = _edges_of(_mean_profile(values, points, offsets), 3)
    if left == 0 or right == len(offsets) - 1:
        return guess
    return max(0.5 * (right - left + 1), 1.0)


def _width_by_path(values: NDArray[np.float32], points: Points, reach: float) -> float | None:
    """Return the half width at which a line near `points` stands out most."""
    best: tuple[float, float | None] = (0.05, None)
    for half_width in (1.5, 2.5, 4.0, 6.0, 9.0, 13.0, 18.0, 24.0, 32.0):
        _, evidence = _best_line(values, points, reach, half_width)
        # Wider is better while it stays dark from edge to edge.
        strength = float(np.median(evidence)) + _LEAST_EVIDENCE
        if strength > 1.02 * best[0]:
            best = (strength, half_width)
    return best[1]


def _best_line(
    values: NDArray[np.float32], points: Points, reach: float, half_width: float
) -> tuple[Points, NDArray[np.float64]]:
    """Return how to shift each point (N, 2) onto the ridge, and its evidence (N,) there."""
    flank = max(4.0, min(half_width, 12.0))
    gap = 0.3 * half_width + 1.5
    margin = int(np.ceil(half_width + gap + flank)) + 1
    span = int(np.ceil(reach))
    offsets = np.arange(-span - margin, span + margin + 1, dtype=np.float64)
    strip = straighten(values, points, offsets, outside=-1.0)
    known = (strip >= 0).astype(np.float32)
    strip = np.maximum(strip, 0)
    strip = cv2.blur(strip, (1, 5)) / np.maximum(cv2.blur(known, (1, 5)), 0.2)
    known[:] = known >= 0.2
    strip *= known
    core = max(1, round(0.85 * half_width))
    known_share = cv2.blur(known, (2 * core + 1, 1))
    middle = cv2.blur(strip, (2 * core + 1, 1)) / np.maximum(known_share, 0.35)
    side = round(flank) // 2 * 2 + 1
    seen = cv2.blur(known, (side, 1))
    sides = cv2.blur(strip, (side, 1)) / np.maximum(seen, 1e-3)
    away = round(half_width + gap + side / 2)
    centre = slice(margin, margin + 2 * span + 1)
    left = sides[:, margin - away : margin - away + 2 * span + 1]
    right = sides[:, margin + away : margin + away + 2 * span + 1]
    # Along the border one side has no pixels: the other one has to do.
    no_left = seen[:, margin - away : margin - away + 2 * span + 1] < 0.3
    no_right = seen[:, margin + away : margin + away + 2 * span + 1] < 0.3
    left, right = np.where(no_left, right, left), np.where(no_right, left, right)
    left[no_left & no_right] = 1.0
    evidence = middle[:, centre] - 0.4 * (left + right) - 0.2 * np.maximum(left, right)
    path = best_path(np.ascontiguousarray(evidence, dtype=np.float32), 1, _MOVE_COST)
    rows = np.arange(len(points))
    found = evidence[rows, path].astype(np.float64) - _LEAST_EVIDENCE
    shift = smooth(offsets[centre][path], 3.0)
    tangent = np.gradient(points, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    normals = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
    return shift[:, None] * normals, found
