"""Join the lines that were found in overlapping windows of a slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from sff_napari.folds import Curve, Fold

_STEP = 4.0
"""Distance between the points of a line, px."""
_LEAST_SHARED = 48.0
"""Length over which two lines must run side by side to be one, px."""
_INSIDE = 0.8
"""A line that shares more than this with another is a part of it."""
_LEAST_PARALLEL = 0.9
"""Cosine of the largest angle between lines that are one."""


@dataclass(frozen=True, eq=False)
class Course:
    """A line as points close to each other.

    Parameters
    ----------
    points : ndarray, (N, 2)
        (y, x) in px.
    half_widths : ndarray, (N,)
        At the points, px.
    score : float
        How sure the detector is, in [0, 1].
    """

    points: NDArray[np.float64]
    half_widths: NDArray[np.float64]
    score: float

    @classmethod
    def of(cls, fold: Fold, offset: tuple[float, float] = (0.0, 0.0)) -> Course:
        """Return the course of a fold, moved by `offset` (y, x)."""
        curve = Curve.of(fold, dtype=torch.float64)
        count = max(2, int(curve.length / _STEP) + 1)
        along = torch.linspace(0.0, curve.length, count, dtype=torch.float64)
        points = curve.at(along)[0].T.numpy() + np.asarray(offset)
        widths = np.full(count, fold.half_width)
        if fold.half_widths is not None:
            widths = np.interp(along.numpy(), curve.vertices_along, fold.half_widths)
        return cls(points, widths, 1.0 if fold.score is None else fold.score)

    @property
    def length(self) -> float:
        """Length in px."""
        return float(np.linalg.norm(np.diff(self.points, axis=0), axis=1).sum())

    def reversed(self) -> Course:
        """Return the same line from its other end."""
        return Course(self.points[::-1], self.half_widths[::-1], self.score)

    def scaled(self, factor: int) -> Course:
        """Return the line on an image with pixels `factor` times smaller."""
        return Course((self.points + 0.5) * factor - 0.5, self.half_widths * factor, self.score)


def joined(courses: list[Course]) -> list[Course]:
    """Return the lines with those made one that run side by side and go on from each other.

    Parameters
    ----------
    courses : list of Course
        In pixels of one image.

    Returns
    -------
    list of Course
        Longest first.
    """
    left = sorted(courses, key=lambda course: -course.length)
    done: list[Course] = []
    while left:
        line = left.pop(0)
        has_grown = True
        while has_grown:
            has_grown = False
            for other in list(left):
                longer = _joined_pair(line, other)
                if longer is not None:
                    left.remove(other)
                    line, has_grown = longer, True
        done.append(line)
    return sorted(done, key=lambda course: -course.length)


def _joined_pair(one: Course, two: Course) -> Course | None:
    """Return the line that two are parts of, or None if they are two lines."""
    near_two, at_two = _near(one, two)
    near_one, _ = _near(two, one)
    score = max(one.score, two.score)
    if min((~near_one).sum(), (~near_two).sum()) >= 2:
        longer = _continued(one, two, near_two, near_one, at_two, score)
        if longer is not None:
            return longer
    if near_one.mean() > _INSIDE:
        return Course(one.points, one.half_widths, score)
    if near_two.mean() > _INSIDE:
        return Course(two.points, two.half_widths, score)
    return None


def _continued(
    one: Course,
    two: Course,
    near_two: NDArray[np.bool_],
    near_one: NDArray[np.bool_],
    at_two: NDArray[np.int64],
    score: float,
) -> Course | None:
    """Return one line and the other that goes on from it, None if neither does.

    Parameters
    ----------
    one, two : Course
        Two lines.
    near_two, near_one : ndarray of bool
        Which points of `one` lie on `two`, and of `two` on `one`.
    at_two : ndarray of int
        The point of `two` nearest to each of `one`.
    score : float
        Of the result.
    """
    if near_two.sum() * _STEP < _LEAST_SHARED:
        return None
    shared = np.flatnonzero(near_two)
    angle = (_ways(one.points)[shared] * _ways(two.points)[at_two[shared]]).sum(axis=1)
    way = float(np.median(angle))
    if abs(way) < _LEAST_PARALLEL:
        return None
    if way < 0:
        two = two.reversed()
        near_one = near_one[::-1]
    # One line goes on where the other ends: what they share is the end of one, the start of two.
    for first, second, ends, starts in (
        (one, two, near_two, near_one),
        (two, one, near_one, near_two),
    ):
        tail, head = np.flatnonzero(ends), np.flatnonzero(starts)
        slack = 8
        if tail[-1] >= len(ends) - slack and head[0] < slack:
            cut = int(tail[len(tail) // 2])
            meets = int(np.linalg.norm(second.points - first.points[cut], axis=1).argmin())
            return Course(
                np.concatenate([first.points[:cut], second.points[meets:]]),
                np.concatenate([first.half_widths[:cut], second.half_widths[meets:]]),
                score,
            )
    return None


def _near(one: Course, two: Course) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which points of one line lie on another, and the nearest point of that."""
    distance, at = cKDTree(two.points).query(one.points)
    return distance <= np.maximum(two.half_widths[at], one.half_widths) + 3.0, at


def _ways(points: NDArray[np.float64]) -> NDArray[np.float64]:
    way = np.gradient(points, axis=0)
    return np.asarray(way / np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-9))
