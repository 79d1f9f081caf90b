"""Follow a fold beyond what was found of it, where its line gets thin, pale or broken.

What is surely a fold may go on as a line that would prove nothing by itself: a pixel or
two wide, and with gaps.  It is searched for straight ahead only, at full scale, and
has to stand out from its sides nearly as much as the fold it belongs to.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sff_napari.detection.measure import (
    LONG_EDGE_LENGTH,
    Measured,
    Slice,
    level_beside,
    measure,
)
from sff_napari.detection.straightened_band import (
    Points,
    best_path,
    lengths_along,
    resampled,
    smooth,
)

_STEP = 2.0
"""Distance between the points of a line, px."""
_THIN = 6.0
"""Half width, px, up to which a fold is followed: wider ones are seen to their ends."""
_WIDTHS = (0.4, 0.7, 1.0, 1.5)
"""Half widths that are tried, as shares of that of the fold."""
_FLANK = 5
"""How wide the sides are that a line is compared with, px."""
_AHEAD = 45
"""Samples that are looked ahead at a time."""
_KEPT = 25
"""Samples that are taken over before the direction is judged anew."""
_ROUNDS = 200
_BEHIND = 120
"""Samples at an end that tell how much the fold stands out."""
_DIRECTION = 24
"""Samples at an end that tell where it goes."""
_REACH = 30
"""How far aside the line may lie at the end of what is looked ahead, px."""
_MOVE_COST = 0.08
_GAP = 20
"""Longest gap in a line, in samples."""
_LEAST = 0.3
"""Least darkness above that of the sides."""
_SHARE = 0.6
"""The same as a share of what the fold itself has."""
_MOST = 0.25
"""Darkness beyond that counts no further: one black spot is no line."""
_RATE = 0.1
"""What a continuation must stand out by, beyond the least, on average."""
_LEAST_NEW = 30.0
"""Shortest continuation, px: less may be a membrane that happens to lie ahead."""
_TAIL = 30
"""Samples of the fold that are measured once more together with its continuation."""
_ASTRAY = 6.0
"""Distance of a measured continuation from the end of the fold, px, at which it has gone astray."""


def carried_on(view: Slice, line: Measured) -> Measured:
    """Return a fold continued at its ends for as long as something like it goes on.

    Parameters
    ----------
    view : Slice
        The slice.
    line : Measured
        A line that is a fold, at full scale.

    Returns
    -------
    Measured
        The same line, with what was found beyond its ends joined to it; `line` itself
        if it is wide, or if nothing goes on.
    """
    for first in (True, False):
        line = _at_one_end(view, line, first)
    return line


def _at_one_end(view: Slice, line: Measured, first: bool) -> Measured:
    way = slice(None, None, -1) if first else slice(None)
    points = line.points[way]
    half_width = float(np.median(line.half_widths[way][-2 * _TAIL :]))
    if half_width > _THIN or len(points) < _DIRECTION:
        return line
    beyond = followed(view, points, half_width)
    if len(beyond) < 2 or lengths_along(beyond)[-1] < _LEAST_NEW:
        return line
    tail = resampled(np.concatenate([points[-_TAIL:], beyond]), _STEP)
    widths = np.full(len(tail), half_width)
    measured = measure(view, tail, widths, rounds=2, edge_length=LONG_EDGE_LENGTH)
    if measured is None:
        return line
    away = np.linalg.norm(measured.points - points[-1], axis=1)
    if away.min() > _ASTRAY:
        return line
    new = slice(int(away.argmin()) + 1, None)

    changes: dict[str, Any] = {}
    for field in fields(line):
        old, more = getattr(line, field.name), getattr(measured, field.name)[new]
        changes[field.name] = np.concatenate([more[::-1], old] if first else [old, more])
    return replace(line, **changes)


def followed(view: Slice, points: Points, half_width: float) -> Points:
    """Return the points that a line goes on with at its last one.

    Parameters
    ----------
    view : Slice
        The slice.
    points : ndarray, (N, 2)
        The line so far, (y, x) in px, 2 px apart, at least 24 of them.
    half_width : float
        Of the line, px.

    Returns
    -------
    ndarray, (M, 2)
        2 px apart; empty if nothing goes on.
    """
    half_widths = [max(1.0, share * half_width) for share in _WIDTHS]
    behind = _evidence(view, points[-_BEHIND:], half_widths, 6)
    path = best_path(behind, 1, _MOVE_COST)
    own = float(np.median(behind[np.arange(len(path)), path]))
    least = max(_LEAST, _SHARE * own)
    line = points
    proof: list[float] = []
    for _ in range(_ROUNDS):
        way = line[-1] - line[-_DIRECTION]
        way /= max(float(np.linalg.norm(way)), 1e-9)
        ahead = line[-1] + way * _STEP * np.arange(_AHEAD + 1)[:, None]
        inside = ((ahead >= 0) & (ahead <= np.asarray(view.shape) - 1)).all(axis=1)
        count = len(ahead) if inside.all() else int(inside.argmin())
        if count < 4:
            break
        shift, found = _ahead(view, ahead[:count], half_widths)
        found = np.minimum(found - least, _MOST)
        last = _last_of_line(found)
        if last < 3:
            break
        # The far part is seen again, in the direction that the line has by then.
        kept = _KEPT if last > _KEPT + 6 else last
        moved = ahead[:count] + shift[:, None] * np.array([way[1], -way[0]])
        line = np.concatenate([line, moved[1 : kept + 1]])
        proof += list(found[1 : kept + 1] - _RATE)
        if count <= _AHEAD and last >= count - 3:
            break
    total = np.cumsum([0.0, *proof])
    return line[len(points) : len(points) + int(total.argmax())]


def _ahead(
    view: Slice, ahead: Points, half_widths: list[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how far aside of straight ahead (N, 2) the line lies, and its evidence, both (N,)."""
    evidence = _evidence(view, ahead, half_widths, _REACH)
    offsets = np.arange(-_REACH, _REACH + 1.0)
    rows = np.arange(len(ahead))
    # It begins where the line ends.
    evidence[np.abs(offsets)[None, :] > 4.0 + 0.6 * _STEP * rows[:, None]] = -5.0
    path = best_path(evidence, 1, _MOVE_COST)
    shift = smooth(offsets[path], 2.0)
    shift -= shift[0] * np.exp(-rows / 4.0)
    return shift, evidence[rows, path].astype(np.float64)


def _last_of_line(found: NDArray[np.float64]) -> int:
    """Return the last sample of the line that begins at the first one, -1 if none does.

    A gap is bridged where it costs less than what lies beyond it.
    """
    best, total, last, low = 0.0, 0.0, -1, 0
    for index, value in enumerate(found):
        total += float(value)
        low = 0 if value > 0 else low + 1
        if low > _GAP:
            break
        if total > best:
            best, last = total, index
    return last


def _evidence(
    view: Slice, points: Points, half_widths: list[float], reach: int
) -> NDArray[np.float32]:
    """Return how much a line stands out from its sides at each offset up to `reach`, (N, K)."""
    margin = int(np.ceil(max(half_widths) + 2 + _FLANK)) + 1
    offsets = np.arange(-reach - margin, reach + margin + 1.0)
    level = level_beside(view, points, offsets, aside=-4.0)
    known = np.isfinite(level).astype(np.float32)
    seen = cv2.blur(known, (1, 3))
    level = np.clip(np.nan_to_num(level), 0, 1)
    level = cv2.blur(level, (1, 3)) / np.maximum(seen, 0.2)
    side = cv2.blur(level, (_FLANK, 1))
    span = 2 * reach + 1
    best = np.full((len(points), span), -1.0, np.float32)
    for half_width in half_widths:
        core = 2 * max(round(0.85 * half_width), 1) + 1
        away = round(half_width + 2 + _FLANK / 2)
        middle = cv2.blur(level, (core, 1))[:, margin : margin + span]
        left = side[:, margin - away : margin - away + span]
        right = side[:, margin + away : margin + away + span]
        stands_out = middle - 0.4 * (left + right) - 0.2 * np.maximum(left, right)
        best = np.maximum(best, stands_out)
    best[known[:, margin : margin + span] == 0] = -1.0
    return np.ascontiguousarray(best, np.float32)
