"""Draw random folds: where they lie and what they do, deterministic from a generator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from sff_napari.errors import InputError
from sff_napari.folds import Curve, Fold, FoldLaw

HALF_WIDTH_RANGE = (5.0, 30.0)
"""w1 of straight folds, px (paper, section 5.2)."""
HIDDEN_LIMIT = 80.0
"""Upper end of w2 of straight folds, px (paper, section 5.2)."""
DECAY_RANGE = (1e-5, 0.1)
"""alpha of straight folds, 1/px (paper, section 5.2)."""


@dataclass(frozen=True)
class FoldPlan:
    """A fold to be simulated.

    Parameters
    ----------
    fold : Fold
        The line as it appears in the damaged slice.
    law : FoldLaw
        What it does to the tissue beside it.
    """

    fold: Fold
    law: FoldLaw


def _border_point(shape: tuple[int, int], border: int, share: float) -> tuple[float, float]:
    height, width = shape[0] - 1, shape[1] - 1
    return (
        (0.0, share * width),
        (share * height, float(width)),
        (float(height), share * width),
        (share * height, 0.0),
    )[border]


def random_ends(
    shape: tuple[int, int], rng: np.random.Generator, least_share: float = 0.5
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return two points on two different borders of a slice (Y, X).

    Parameters
    ----------
    shape : (height, width)
        Of the slice, in pixels.
    rng : Generator
        Source of randomness.
    least_share : float
        Smallest distance of the two points, as a share of the shorter side; a
        line that only cuts a corner says nothing about a restoration.
    """
    for _ in range(1000):
        first, second = rng.choice(4, size=2, replace=False)
        p = _border_point(shape, int(first), float(rng.uniform()))
        q = _border_point(shape, int(second), float(rng.uniform()))
        if math.dist(p, q) >= max(least_share * min(shape), 2.0):
            return p, q
    raise InputError(f"No fold line fits into a slice of {shape[0]} x {shape[1]} pixels.")


def random_straight(
    shape: tuple[int, int],
    rng: np.random.Generator,
    half_width: tuple[float, float] = HALF_WIDTH_RANGE,
    hidden_limit: float = HIDDEN_LIMIT,
    decay: tuple[float, float] = DECAY_RANGE,
) -> FoldPlan:
    """Return a random fold as the paper simulates it (section 3.2 and 5.2).

    Parameters
    ----------
    shape : (height, width)
        Of the slice, in pixels.
    rng : Generator
        Source of randomness.
    half_width : (low, high)
        Range of w1, px.
    hidden_limit : float
        Upper end of w2, px; its lower end is w1.
    decay : (low, high)
        Range of alpha, 1/px.
    """
    ends = random_ends(shape, rng)
    limit = 0.45 * min(shape)
    w1 = float(rng.uniform(min(half_width[0], limit / 2), min(half_width[1], limit)))
    w2 = float(rng.uniform(w1, max(min(hidden_limit, limit), w1)))
    fold = Fold(ends, w1, source="simulated")
    return FoldPlan(fold, FoldLaw.uniform(Curve.of(fold), w1, w2, float(rng.uniform(*decay))))


@dataclass(frozen=True)
class RealisticRanges:
    """Ranges realistic folds are drawn from (pixels at about 4 nm a pixel).

    The defaults span what was measured on real folds of the adult fly brain:
    dark lines 12 to 36 px wide along one fold, displacements at the line of 23
    to 81 px, unequal on the two sides, falling by 0.02 to 0.06 px a pixel.
    """

    half_width: tuple[float, float] = (5.0, 16.0)
    half_width_variation: float = 0.35
    gap: tuple[float, float] = (12.0, 75.0)
    gap_variation: float = 0.2
    decay: tuple[float, float] = (0.015, 0.08)
    bow: float = 0.05
    wiggle: float = 0.008
    inside_end: float = 0.3
    knot_spacing: float = 220.0


def random_realistic(
    shape: tuple[int, int],
    rng: np.random.Generator,
    ranges: RealisticRanges | None = None,
) -> FoldPlan:
    """Return a random fold like real ones: bent, of varying width, with unequal sides.

    Parameters
    ----------
    shape : (height, width)
        Of the slice, in pixels.
    rng : Generator
        Source of randomness.
    ranges : RealisticRanges, optional
        What to draw from.
    """
    ranges = ranges or RealisticRanges()
    limit = 0.45 * min(shape)
    p, q = (np.asarray(end) for end in random_ends(shape, rng, 0.6))
    span = float(np.linalg.norm(q - p))
    tangent = (q - p) / span
    normal = np.array([tangent[1], -tangent[0]])
    inside = rng.uniform(size=2) < (ranges.inside_end, ranges.inside_end / 3)
    start = rng.uniform(0.1, 0.3) if inside[0] else 0.0
    stop = 1 - rng.uniform(0.1, 0.3) if inside[1] else 1.0

    count = int(np.clip(round(span / ranges.knot_spacing), 3, 12)) + 1
    share = np.linspace(start, stop, count)
    bow = rng.uniform(-ranges.bow, ranges.bow) * span
    wiggle = ranges.wiggle * span
    sway = bow * 4 * share * (1 - share)
    for waves in (2, 3):
        sway = sway + rng.normal(0, wiggle / waves**2) * np.sin(np.pi * waves * share)
    vertices = p + share[:, None] * span * tangent + sway[:, None] * normal
    # The ends were drawn on the border; the bow is zero there, so they stay on it.
    half_width = float(
        rng.uniform(min(ranges.half_width[0], limit / 3), min(ranges.half_width[1], limit / 2))
    )
    widths = half_width * _smooth_factors(rng, count, ranges.half_width_variation)
    gaps = np.empty((2, count))
    for side in range(2):
        gap = rng.uniform(min(ranges.gap[0], limit / 3), min(ranges.gap[1], limit))
        gaps[side] = gap * _smooth_factors(rng, count, ranges.gap_variation)
    decay = rng.uniform(*ranges.decay, size=2)
    # Half of the sides fall off linearly as in the paper, half with a longer tail.
    tail = np.where(rng.uniform(size=2) < 0.5, 0.0, rng.uniform(0.2, 1.0, size=2))
    fold = Fold(
        [(float(y), float(x)) for y, x in vertices],
        float(widths.mean()),
        half_widths=[float(w) for w in widths],
        source="simulated",
    )
    curve = Curve.of(fold)
    return FoldPlan(fold, _law_on_curve(curve, widths, gaps, decay, tail, shape))


def _smooth_factors(rng: np.random.Generator, count: int, spread: float) -> np.ndarray:
    """Return `count` factors around 1 that vary smoothly."""
    noise = rng.normal(size=count + 2)
    smooth = np.convolve(noise, [0.25, 0.5, 0.25], mode="valid") / np.sqrt(0.375)
    return np.exp(spread * np.clip(smooth, -1.8, 1.8))


def _law_on_curve(
    curve: Curve,
    widths: np.ndarray,
    gaps: np.ndarray,
    decay: np.ndarray,
    tail: np.ndarray,
    shape: tuple[int, int],
) -> FoldLaw:
    """Return the law with the vertices' values on fine knots, tapered at ends inside."""
    fine = np.linspace(0, curve.length, max(8, int(curve.length / 16)))

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(array, dtype=curve.dtype, device=curve.device)

    law = FoldLaw(
        tensor(fine),
        tensor(np.interp(fine, curve.vertices_along, widths)),
        tensor(np.stack([np.interp(fine, curve.vertices_along, side) for side in gaps])),
        tensor(np.repeat(decay[:, None], len(fine), axis=1)),
        tensor(tail),
    )
    return law.with_ends(curve, shape)
