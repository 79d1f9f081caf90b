"""Finding what a fold did: a fit of the fold's own law, global first, then exact.

A fold can only do what `FoldLaw` says, and that is all that is undone; the
drift of the tissue from slice to slice is not (a free flow would follow it and
destroy the slice).  The search is exhaustive where there are many local
optima (displacement and its decay, by dynamic programming along the line) and
by gradient where there is one (splines along the line, both sides together,
with the slice's own affine misalignment as a nuisance that is fitted and thrown
away).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import BSpline
from torch import Tensor

from sff_napari.alignment.features import SideScores
from sff_napari.folds import Curve, FoldLaw

LARGEST_GAP = 112.0
"""Largest displacement next to the line that is considered, px."""
_DECAYS = (1e-4, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.085, 0.1)
_TAILS = (0.02, 0.65)
_STIFFNESS = 0.02
"""Loss of score for a jump of one pixel between windows along the line, squared."""
_SPACING = 130.0
"""Arc length between the coefficients of the splines along the line, px."""
_LEAST_TAIL, _MOST_TAIL = 0.02, 0.94
_LEAST_GAP = 0.1


@dataclass
class SideFit:
    """Law of one side as spline coefficients.

    Parameters
    ----------
    gap : Tensor, (N,)
        B-spline coefficients of g along the line, px.
    log_decay : Tensor, (2,)
        Natural logarithm of the decay at the two ends of the line.
    tail : Tensor, ()
        Shape of the fall, in (0, 1); see `FoldLaw`.
    score : float
        Summed correlation reached.
    """

    gap: Tensor
    log_decay: Tensor
    tail: Tensor
    score: float = 0.0


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
    """Return the displacement at `beyond` px from the edge of the dark line; differentiable."""
    q = 1 - tail
    return gap * (1 - q * decay * beyond / gap).clamp_min(1e-6).pow(1 / q)


def fall_slopes(
    gap: Tensor, decay: Tensor, tail: Tensor, beyond: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the derivatives of `fall` by the gap, by the decay's logarithm and by the tail."""
    q = 1 - tail
    x = decay * beyond / gap
    left = (1 - q * x).clamp_min(1e-6)
    inside = (1 - q * x > 1e-6).to(left.dtype)
    steep = left.pow(1 / q - 1) * inside
    by_gap = left.pow(1 / q) + x * steep
    by_tail = gap * (left.pow(1 / q) * left.log() / q.square() + x * steep / q)
    return by_gap, -gap * x * steep, by_tail


def _score_table(side: SideScores, gaps: Tensor, decay: float, tail: float) -> Tensor:
    """Return the score (T, G) of each window along the line for each displacement."""
    beyond = side.beyond[None]
    u = fall(
        gaps[:, None].clamp_min(_LEAST_GAP),
        gaps.new_tensor(decay),
        gaps.new_tensor(tail),
        beyond,
    )
    place = (u / side.step).clamp(0, side.scores.shape[-1] - 1.001)
    low = place.floor().long()
    share = (place - low).T
    count = side.scores.shape[0]
    index = low.T[None].expand(count, -1, -1)
    below = torch.gather(side.scores, 2, index)
    above = torch.gather(side.scores, 2, index + 1)
    return ((below + share * (above - below)) * side.weight[..., None]).sum(1)


def _smooth_path(table: Tensor, stiffness: float) -> tuple[float, Tensor]:
    """Return the best total of a table (T, G) over paths with few jumps, and the path (T,)."""
    levels = torch.arange(table.shape[1], dtype=table.dtype, device=table.device)
    cost = stiffness * (levels[:, None] - levels[None]).square()
    total, back = table[0], []
    for row in table[1:]:
        best, origin = (total[None] - cost).max(dim=1)
        back.append(origin)
        total = best + row
    score, last = total.max(dim=0)
    path = [int(last)]
    for origin in reversed(back):
        path.append(int(origin[path[-1]]))
    return float(score), levels.new_tensor(path[::-1])


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
    best: tuple[float, float, float, Tensor] | None = None
    for tail in _TAILS:
        for decay in _DECAYS:
            score, path = _smooth_path(_score_table(side, gaps, decay, tail), _STIFFNESS)
            if best is None or score > best[0]:
                best = (score, decay, tail, path)
    assert best is not None
    score, decay, tail, path = best
    basis = spline_matrix(side.along, length, spline_count(length))
    # A touch of ridge: windows do not reach the ends, where a coefficient may hang in the air.
    eye = 1e-2 * torch.eye(basis.shape[1], dtype=basis.dtype, device=basis.device)
    mean = path.mean()
    gap = torch.linalg.solve(basis.T @ basis + eye, basis.T @ (path - mean)) + mean
    log_decay = gap.new_tensor([math.log(decay)] * 2)
    return SideFit(gap.clamp_min(_LEAST_GAP), log_decay, gap.new_tensor(tail), score)


def fit_uniform(sides: tuple[SideScores, SideScores], length: float) -> tuple[SideFit, SideFit]:
    """Return the best law that is the same everywhere: the paper's, one gap and one decay."""
    first = sides[0].scores
    gaps = torch.arange(0, int(LARGEST_GAP), dtype=first.dtype, device=first.device)
    best = (-math.inf, 0.0, 0.0)
    for decay in np.geomspace(1e-4, 0.1, 28):
        tables = [_score_table(side, gaps, float(decay), _LEAST_TAIL).sum(0) for side in sides]
        top, index = (tables[0] + tables[1]).max(dim=0)
        if float(top) > best[0]:
            best = (float(top), float(gaps[index]), float(decay))
    score, gap, decay = best
    count = spline_count(length)

    def fit() -> SideFit:
        return SideFit(
            first.new_full((count,), max(gap, _LEAST_GAP)),
            first.new_tensor([math.log(decay)] * 2),
            first.new_tensor(_LEAST_TAIL),
            score / 2,
        )

    return fit(), fit()


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
    share = (knots / curve.length).clamp(0, 1)
    gaps, decays, tails = [], [], []
    for fit in fits:
        basis = spline_matrix(knots, curve.length, len(fit.gap))
        gap = (basis @ fit.gap).clamp_min(0)
        gaps.append(torch.where(gap <= 2 * _LEAST_GAP, torch.zeros_like(gap), gap))
        decays.append(torch.exp(fit.log_decay[0] * (1 - share) + fit.log_decay[1] * share))
        tail = fit.tail.detach()
        tails.append(torch.where(tail <= 1.5 * _LEAST_TAIL, torch.zeros_like(tail), tail))
    return FoldLaw(
        knots,
        half_widths,
        torch.stack(gaps),
        torch.stack(decays).clamp(max=0.5),
        torch.stack(tails),
    )


def keep_in_bounds(fit: SideFit) -> None:
    """Clip parameters to what a fold can do, in place."""
    with torch.no_grad():
        fit.gap.clamp_(_LEAST_GAP, LARGEST_GAP)
        fit.log_decay.clamp_(math.log(1e-5), math.log(0.3))
        fit.tail.clamp_(_LEAST_TAIL, _MOST_TAIL)
