"""Decide when a found line counts as a true one: the criterion of all scores of detection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sff_napari.folds import Curve, Fold

MAX_DISTANCE = 3.0
"""Largest mean distance of the found line from the true one, px."""
LEAST_COVER = 0.9
"""Smallest share of the true line that must be found."""


@dataclass(frozen=True)
class Agreement:
    """How well a found line fits a true one.

    Parameters
    ----------
    distance : float
        Mean distance of the found line to the true one, in px, over the part
        of the true line that is covered.
    cover : float
        Share of the true line, inside the slice, beside which the found line runs.
    """

    distance: float
    cover: float

    @property
    def is_match(self) -> bool:
        """Whether the true line counts as found."""
        return self.distance <= MAX_DISTANCE and self.cover >= LEAST_COVER


def compare(found: Fold, true: Fold, shape: tuple[int, int]) -> Agreement:
    """Return how well `found` fits `true` in a slice of shape (Y, X).

    Only the part of the true line inside the slice counts.  A point of it is
    covered if the found line passes within three times `MAX_DISTANCE`.
    """
    points = _inside(_sampled(true), shape)
    if len(points) == 0:
        return Agreement(float("inf"), 0.0)
    curve = Curve.of(found, dtype=torch.float64)
    at = curve.project(torch.as_tensor(points.T, dtype=torch.float64))
    distance = at.distance.abs().numpy()
    along = at.along.numpy()
    slack = 2.0
    beside = (along >= -slack) & (along <= curve.length + slack) & (distance <= 3 * MAX_DISTANCE)
    if not beside.any():
        return Agreement(float("inf"), 0.0)
    return Agreement(float(distance[beside].mean()), float(beside.mean()))


@dataclass(frozen=True)
class Matching:
    """Which found lines are true ones in one slice.

    Parameters
    ----------
    pairs : tuple of (int, int)
        Indices of found and true lines that belong together.
    distances : tuple of float
        Mean distance of each pair, px.
    found, true : int
        How many lines there were.
    """

    pairs: tuple[tuple[int, int], ...]
    distances: tuple[float, ...]
    found: int
    true: int

    @property
    def false(self) -> int:
        """Number of found lines that are no true ones."""
        return self.found - len(self.pairs)

    @property
    def missed(self) -> int:
        """Number of true lines that were not found."""
        return self.true - len(self.pairs)


def match(found: Sequence[Fold], true: Sequence[Fold], shape: tuple[int, int]) -> Matching:
    """Return which found lines are true ones, each used once, closest first."""
    candidates = []
    for i, line in enumerate(found):
        for j, truth in enumerate(true):
            agreement = compare(line, truth, shape)
            if agreement.is_match:
                candidates.append((agreement.distance, i, j))
    pairs: list[tuple[int, int]] = []
    distances = []
    for distance, i, j in sorted(candidates):
        if all(i != a and j != b for a, b in pairs):
            pairs.append((i, j))
            distances.append(distance)
    return Matching(tuple(pairs), tuple(distances), len(found), len(true))


def _sampled(fold: Fold) -> np.ndarray:
    curve = Curve.of(fold, dtype=torch.float64)
    along = torch.linspace(0, curve.length, max(16, int(curve.length / 2)), dtype=torch.float64)
    return np.asarray(curve.at(along)[0].T.numpy())


def _inside(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    within = ((points >= -0.5) & (points <= np.asarray(shape) - 0.5)).all(axis=1)
    return points[within]
