"""Search for what one side of a fold did, over all laws and all displacements.

The search is exhaustive, as there are many local optima: for each decay and tail,
dynamic programming along the line finds the displacement next to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import BSpline
from torch import Tensor

from sff_napari.folds import Curve, FoldLaw
from sff_napari.restoration.unfolding.side_scores import SideScores

LARGEST_GAP = 112.0
"""Largest displacement next to the line that is considered, px."""
_DECAYS = (1e-4, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.085, 0.1)
_TAILS = (0.02, 0.65)
_STIFFNESS = 0.02
"""Loss of score for a jump of one pixel between windows along the line, squared."""
_SPACING = 130.0
"""Arc length between the coefficients of the splines along the line, px."""
LEAST_TAIL, MOST_TAIL = 0.02, 0.94
LEAST_DECAY, MOST_DECAY = 1e-5, 0.3
LEAST_GAP = 0.1


@dataclass(frozen=True)
class SideFit:
    """Law of one side as spline coefficients.

    Parameters
    ----------
    gap : Tensor, (N,)
        B-spline coefficients of g along the line, px.
    decay : Tensor, ()
        Loss of displacement, px a px.
    tail : Tensor, ()
        Shape of the fall, in (0, 1); see `FoldLaw`.
    score : float
        Summed correlation that the search reached.
    """

    gap: Tensor
    decay: Tensor
    tail: Tensor
    score: float = 0.0


def bounded(gap: Tensor, decay: Tensor, tail: Tensor, score: float = 0.0) -> SideFit:
    """Return a fit, its parameters kept to what a fold can do."""
    return SideFit(
        gap.clamp(LEAST_GAP, LARGEST_GAP),
        decay.clamp(LEAST_DECAY, MOST_DECAY),
        tail.clamp(LEAST_TAIL, MOST_TAIL),
        score,
    )


def spline_matrix(along: Tensor, length: float, count: int) -> Tensor:
    """Return the values (N, count) of uniform B-splines over [0, length] at arc lengths (N,)."""
    degree = min(3, count - 1)
    inner = np.linspace(0, length, count - degree + 1)
    knots = np.concatenate([np.zeros(degree), inner, np.full(degree, length)])
    places = np.clip(along.detach().cpu().numpy().astype(np.float64), 0, length * (1 - 1e-9))
    matrix = BSpline.design_matrix(places, knots, degree).toarray()
    return torch.as_tensor(matrix, dtype=along.dtype, device=along.device)


def spline_count(length: float) -> int:
    """Return how many coefficients a line of this length (px) gets."""
    return max(4, int(length / _SPACING) + 3)


def fall(gap: Tensor, decay: Tensor, tail: Tensor, beyond: Tensor) -> Tensor:
    """Return the displacement at `beyond` px from the edge of the dark line."""
    q = 1 - tail
    return gap * (1 - q * decay * beyond / gap).clamp_min(1e-6).pow(1 / q)


def fall_slopes(
    gap: Tensor, decay: Tensor, tail: Tensor, beyond: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the derivatives of `fall` by the gap, by the decay and by the tail."""
    q = 1 - tail
    x = decay * beyond / gap
    left = (1 - q * x).clamp_min(1e-6)
    inside = (1 - q * x > 1e-6).to(left.dtype)
    steep = left.pow(1 / q - 1) * inside
    by_gap = left.pow(1 / q) + x * steep
    by_tail = gap * (left.pow(1 / q) * left.log() / q.square() + x * steep / q)
    return by_gap, -beyond * steep, by_tail


def fit_side(side: SideScores, length: float) -> SideFit:
    """Return the best law of one side by exhaustive search.

    Parameters
    ----------
    side : SideScores
        Matching scores of the side.
    length : float
        Of the fold line, px.
    """
    gaps = torch.arange(0, int(LARGEST_GAP), dtype=side.scores.dtype, device=side.scores.device)
    laws = [(decay, tail) for tail in _TAILS for decay in _DECAYS]
    tables = torch.stack([_score_table(side, gaps, decay, tail) for decay, tail in laws])
    index, score, path = _smooth_path(tables, _STIFFNESS)
    decay, tail = laws[index]
    basis = spline_matrix(side.along, length, spline_count(length))
    # A touch of ridge: windows do not reach the ends, where a coefficient may hang in the air.
    eye = 1e-2 * torch.eye(basis.shape[1], dtype=basis.dtype, device=basis.device)
    mean = path.mean()
    gap = torch.linalg.solve(basis.T @ basis + eye, basis.T @ (path - mean)) + mean
    return bounded(gap, gap.new_tensor(decay), gap.new_tensor(tail), score)


def fit_uniform(sides: tuple[SideScores, SideScores], length: float) -> tuple[SideFit, SideFit]:
    """Return the best law that is the same everywhere: the paper's, one gap and one decay.

    Parameters
    ----------
    sides : (SideScores, SideScores)
        Matching scores of both sides.
    length : float
        Of the fold line, px.
    """
    scores = sides[0].scores
    gaps = torch.arange(0, int(LARGEST_GAP), dtype=scores.dtype, device=scores.device)
    totals = torch.stack(
        [
            sum((_score_table(side, gaps, decay, LEAST_TAIL).sum(0) for side in sides), 0 * gaps)
            for decay in _DECAYS
        ]
    )
    law, gap = divmod(int(totals.argmax()), len(gaps))
    fit = bounded(
        gaps[gap].expand(spline_count(length)).clone(),
        gaps.new_tensor(_DECAYS[law]),
        gaps.new_tensor(LEAST_TAIL),
        float(totals.max()) / 2,
    )
    return fit, fit


def _score_table(side: SideScores, gaps: Tensor, decay: float, tail: float) -> Tensor:
    """Return the score (T, G) of each window along the line for each displacement."""
    u = fall(
        gaps[:, None].clamp_min(LEAST_GAP),
        gaps.new_tensor(decay),
        gaps.new_tensor(tail),
        side.beyond[None],
    )
    place = (u / side.step).clamp(0, side.scores.shape[-1] - 1.001)
    low = place.floor().long()
    share = (place - low).T
    index = low.T[None].expand(side.scores.shape[0], -1, -1)
    below = torch.gather(side.scores, 2, index)
    above = torch.gather(side.scores, 2, index + 1)
    return ((below + share * (above - below)) * side.weight[..., None]).sum(1)


def _smooth_path(tables: Tensor, stiffness: float) -> tuple[int, float, Tensor]:
    """Return which table (L, T, G) has the best path with few jumps, its total, and the path (T,).

    All tables at once: their steps are too small to be taken one by one.
    """
    levels = torch.arange(tables.shape[2], dtype=tables.dtype, device=tables.device)
    cost = stiffness * (levels[:, None] - levels[None]).square()
    total, back = tables[:, 0], []
    for step in range(1, tables.shape[1]):
        best, origin = (total[:, None] - cost).max(dim=2)
        back.append(origin)
        total = best + tables[:, step]
    tops, lasts = total.max(dim=1)
    index = int(tops.argmax())
    path = [int(lasts[index])]
    for origin in reversed(back):
        path.append(int(origin[index, path[-1]]))
    return index, float(tops[index]), levels.new_tensor(path[::-1])


def law_of(
    curve: Curve, half_widths: Tensor, knots: Tensor, fits: tuple[SideFit, SideFit]
) -> FoldLaw:
    """Return the law that the fits describe.

    Parameters
    ----------
    curve : Curve
        The fold's centre line.
    half_widths, knots : Tensor, (K,)
        w1 at arc lengths, px.
    fits : (SideFit, SideFit)
        Sides of negative and positive distance.
    """
    gaps, decays, tails = [], [], []
    for fit in fits:
        basis = spline_matrix(knots, curve.length, len(fit.gap))
        gap = (basis @ fit.gap.to(basis)).clamp_min(0)
        gaps.append(torch.where(gap <= 2 * LEAST_GAP, torch.zeros_like(gap), gap))
        decays.append(fit.decay.to(gap).expand_as(gap))
        tail = fit.tail.to(gap)
        tails.append(torch.where(tail <= 1.5 * LEAST_TAIL, torch.zeros_like(tail), tail))
    return FoldLaw(knots, half_widths, torch.stack(gaps), torch.stack(decays), torch.stack(tails))
