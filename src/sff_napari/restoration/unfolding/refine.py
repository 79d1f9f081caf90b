"""Sharpening a fitted law: both sides together, by gradient, with drift as a nuisance.

The damaged slice is unfolded with the current law and compared with each
neighbour over small shifts.  A window may be off because the law is wrong, which
moves it along the normal, or because the slice has drifted against its
neighbours, which is a smooth field.  Both are fitted together; only the law is
undone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sff_napari.alignment.drift_model import SliceDrift
from sff_napari.alignment.features import (
    Features,
    read_scores,
    shift_scores,
    window_centres,
)
from sff_napari.folds import Curve, FoldLaw, unfold_displacement
from sff_napari.progress import Reporter
from sff_napari.restoration.unfolding.law_search import SideFit, fall, keep_in_bounds, spline_matrix
from sff_napari.warp import warp

_SMOOTH = 0.002
"""Loss for the squared second difference of neighbouring gap coefficients, px^-2."""
_EVEN_DECAY = 0.5
"""Loss for the squared difference of the logarithms of the decay at the two ends."""
_EVIDENCE = 4.0
"""Logarithm of the likelihood that a summed score of one stands for; windows overlap, and the
drift has waves too short for the model, so that it is less than a window alone would tell."""


@dataclass(frozen=True)
class Stage:
    """One round of refinement.

    Parameters
    ----------
    window, stride : int
        Of the windows, px.
    reach : int
        Largest shift, in pixels of the features' grid.
    steps : int
        Of the optimiser.
    """

    window: int
    stride: int
    reach: int
    steps: int = 70


@dataclass(frozen=True)
class Refined:
    """Where refinement starts and what it returns.

    Parameters
    ----------
    fits : (SideFit, SideFit)
        Sides of negative and positive distance.
    drift : SliceDrift
        The unfolded slice at x shows what the neighbours show at ``x + drift(x)``.
    score : float
        Summed correlation reached, less what the drift costs.
    cost : float
        What the drift costs: more, the less usual it is.
    """

    fits: tuple[SideFit, SideFit]
    drift: SliceDrift
    score: float = 0.0
    cost: float = 0.0


@dataclass
class _Windows:
    """Where the compared windows lie and how well they fit at which shift."""

    scores: Tensor
    weight: Tensor
    cosines: tuple[Tensor, Tensor]
    normal: Tensor
    positive: Tensor
    beyond: Tensor
    share: Tensor
    basis: tuple[Tensor, Tensor]


def refine(
    curve: Curve,
    law: FoldLaw,
    start: Refined,
    damaged: Features,
    neighbours: Sequence[Features],
    stage: Stage,
    uniform: bool = False,
    reporter: Reporter | None = None,
) -> Refined:
    """Return better fits, the drift of the slice, and the score reached.

    Parameters
    ----------
    curve : Curve
        The fold's centre line.
    law : FoldLaw
        What the fits of `start` describe.
    start : Refined
        Where to start.
    damaged, neighbours : Features
        On the same grid.
    stage : Stage
        Windows and steps.
    uniform : bool
        Keep the law the same everywhere on both sides, as the paper's.
    reporter : Reporter, optional
        Asked for cancellation.
    """
    fits, drift = start.fits, start.drift
    windows = _compare(curve, law, start, damaged, neighbours, stage, reporter)
    if windows is None:
        return start
    pool = damaged.pool
    gaps = [fit.gap.clone().requires_grad_() for fit in fits]
    decays = [fit.log_decay.clone().requires_grad_() for fit in fits]
    tails = [fit.tail.clone().requires_grad_(not uniform) for fit in fits]
    # In units of what is usual for each wave, so that all are equally easy to find.
    spread = drift.spread()
    usual = (drift.weights / spread.clamp_min(1e-6)).requires_grad_()
    optimiser = torch.optim.Adam(
        [
            {"params": gaps, "lr": 0.3},
            {"params": decays, "lr": 0.03},
            {"params": [usual], "lr": 0.1},
            *([] if uniform else [{"params": tails, "lr": 0.04}]),
        ]
    )
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.965)

    def displacement() -> Tensor:
        """Return u of every window; side by side, so that gradients reach both."""
        sides = []
        for index in range(2):
            gap = (windows.basis[index] @ gaps[index]).clamp_min(0.05)
            rate = decays[index]
            decay = torch.exp(rate[0] * (1 - windows.share) + rate[1] * windows.share)
            sides.append(fall(gap, decay, tails[index], windows.beyond))
        return torch.where(windows.positive, sides[1], sides[0])

    with torch.no_grad():
        before = displacement()
    sign = torch.where(windows.positive, 1.0, -1.0)
    rows, columns = windows.cosines
    score = cost = torch.zeros(())
    for _ in range(stage.steps):
        if reporter is not None:
            reporter.check()
        push = sign * (displacement() - before) * windows.normal
        field = torch.einsum("cij,ni,nj->cn", usual * spread - drift.weights, rows, columns)
        alike = read_scores(windows.scores, *((push + field) / pool)) * windows.weight
        cost = usual.square().sum() / (2 * _EVIDENCE)
        score = alike.sum() - cost
        loss = -score
        for gap, decay in zip(gaps, decays, strict=True):
            bend = gap[2:] - 2 * gap[1:-1] + gap[:-2]
            loss = loss + _SMOOTH * bend.square().sum()
            loss = loss + _EVEN_DECAY * (decay[0] - decay[1]).square()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if uniform:
            _share_gradients(gaps, decays)
        optimiser.step()
        schedule.step()
        for gap, decay, tail in zip(gaps, decays, tails, strict=True):
            keep_in_bounds(SideFit(gap, decay, tail))
    better = [
        SideFit(gap.detach(), decay.detach(), tail.detach(), float(score.detach()) / 2)
        for gap, decay, tail in zip(gaps, decays, tails, strict=True)
    ]
    found = replace(drift, weights=(usual * spread).detach())
    return Refined((better[0], better[1]), found, float(score.detach()), float(cost.detach()))


def _share_gradients(gaps: list[Tensor], decays: list[Tensor]) -> None:
    """Make all coefficients move together: the sum of their gradients drives each."""
    for group in (gaps, decays):
        grads = [p.grad for p in group if p.grad is not None]
        together = torch.stack([g.sum() for g in grads]).sum()
        for grad in grads:
            grad.fill_(float(together))


def _compare(
    curve: Curve,
    law: FoldLaw,
    start: Refined,
    damaged: Features,
    neighbours: Sequence[Features],
    stage: Stage,
    reporter: Reporter | None,
) -> _Windows | None:
    """Unfold with the current law and score small shifts of every window."""
    pool = damaged.pool
    values, known = unfolded_features(curve, law, damaged)
    window, stride = max(stage.window // pool, 2), max(stage.stride // pool, 1)
    if min(values.shape) < window:
        return None
    every, weight = [], None
    first = (pool - 1) / 2
    # Shifts are counted from where the slice is thought to lie, which may be far off.
    offset = start.drift.on_grid((values.shape[0], values.shape[1]), (first, first), float(pool))
    for neighbour in neighbours:
        if reporter is not None:
            reporter.check()
        there = neighbour.moved(offset)
        scores, weight = shift_scores(values, known, there, stage.reach, window, stride)
        every.append(scores)
    if weight is None:
        return None
    chosen = torch.nonzero(weight > 0)
    if len(chosen) < 4:
        return None
    rows, columns = chosen.T
    y = window_centres(weight.shape[0], window, stride, pool).to(curve.device)[rows]
    x = window_centres(weight.shape[1], window, stride, pool).to(curve.device)[columns]
    place = curve.project(torch.stack([y, x]))
    distance = place.distance.abs() - law.shift(place.along, place.distance)
    return _Windows(
        torch.stack([scores[rows, columns] for scores in every]).mean(0),
        weight[rows, columns],
        start.drift.cosines(y, x),
        place.normal,
        place.distance > 0,
        (distance - law.half_width(place.along)).clamp_min(0),
        (place.along / curve.length).clamp(0, 1),
        (
            spline_matrix(place.along, curve.length, len(start.fits[0].gap)),
            spline_matrix(place.along, curve.length, len(start.fits[1].gap)),
        ),
    )


def unfolded_features(curve: Curve, law: FoldLaw, damaged: Features) -> tuple[Tensor, Tensor]:
    """Return the features of the damaged slice after unfolding, and where they are known."""
    pool = damaged.pool
    shape = (damaged.values.shape[0], damaged.values.shape[1])
    here = curve.on_grid(shape, ((pool - 1) / 2, (pool - 1) / 2), float(pool))
    hidden = law.is_hidden(here.along, here.distance)
    flow = torch.where(hidden, 0.0, unfold_displacement(law, here)) / pool
    both = warp(damaged.stacked(), flow[None], "bilinear", "zeros")[0]
    known = ((both[1] > 0.9) & ~hidden).to(both.dtype)
    # Windows next to the hidden band would compare tissue dragged by its edge.
    clear = -F.max_pool2d(-known[None, None], 3, stride=1, padding=1)[0, 0]
    return both[0] * clear, clear
