"""Undoing what folds did to a slice, by their own law (no training needed)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sff_napari.folds import (
    Curve,
    Fold,
    FoldLaw,
    fold_displacement,
    unfold_displacement,
)
from sff_napari.folds.curve import grid_points
from sff_napari.folds.law import interpolate
from sff_napari.progress import Reporter
from sff_napari.restoration.lawfit import SideFit, fit_side, fit_uniform, law_of
from sff_napari.restoration.matching import Features, SideScores, side_scores
from sff_napari.restoration.refine import Stage, refine
from sff_napari.warp import warp

NEGLIGIBLE = 0.02
"""Displacement, in px, below which the slice counts as untouched."""
_STAGES = (Stage(48, 24, 3), Stage(32, 16, 2))
_SIMPLER = 0.022
"""Share of the score that the paper's simple law may lose against the flexible one and still be
preferred: a flexible law always gains a little by following the drift of the tissue."""


@dataclass(frozen=True)
class FittedFold:
    """A fold with the law that was found for it.

    Parameters
    ----------
    fold : Fold
        The line as given.
    curve : Curve
        The line in the frame in which the law holds.
    law : FoldLaw
        What it did.
    drifts : Tensor, (neighbours, 2, 3)
        Affine misalignment of the slice against each neighbour: offset (dy, dx)
        in px at the centre, change over half the height, over half the width.
    uniform : bool
        Whether the paper's simple law was found to be enough.
    score : float
        Mean correlation with the neighbours after unfolding, 0 if unknown.
    """

    fold: Fold
    curve: Curve
    law: FoldLaw
    drifts: Tensor
    uniform: bool
    score: float


def dark_line(curve: Curve, fold: Fold, cover: float) -> tuple[Tensor, Tensor]:
    """Return knots along a smoothed line and the half width that covers the dark line there.

    Parameters
    ----------
    curve : Curve
        The smoothed centre line of `fold`.
    fold : Fold
        The line as given.
    cover : float
        Pixels beside the dark line that count as part of it.

    Returns
    -------
    knots, half_widths : Tensor, (K,)
        Arc lengths along `curve` and half widths about it, px.
    """
    exact = Curve.of(fold, curve.device, curve.dtype)
    count = max(8, int(curve.length / 16))
    share = torch.linspace(0, 1, count, dtype=curve.dtype, device=curve.device)
    along = torch.tensor(exact.vertices_along, dtype=curve.dtype, device=curve.device)
    widths = along.new_tensor(fold.half_widths or [fold.half_width] * len(along))
    # Where smoothing moved the line aside, the dark line reaches as much farther on that side.
    points, _ = exact.at(share * exact.length)
    aside = curve.project(points).distance.abs().clamp(max=4.0)
    return share * curve.length, interpolate(along, widths, share * exact.length) + cover + aside


def clearance(
    fold: Fold,
    shape: tuple[int, int],
    device: torch.device | str = "cpu",
    origin: tuple[float, float] = (0.0, 0.0),
    step: float = 1.0,
) -> Tensor:
    """Return the distance of the pixels of a grid from the rim of a dark line.

    Returns
    -------
    Tensor, (height, width)
        In px; zero and below on the line.
    """
    curve = Curve.of(fold, device)
    here = curve.on_grid(shape, origin, step)
    along = torch.tensor(curve.vertices_along, dtype=curve.dtype, device=curve.device)
    widths = along.new_tensor(fold.half_widths or [fold.half_width] * len(along))
    beside = here.distance.abs() - interpolate(along, widths, here.along)
    beyond = torch.maximum(-here.along, here.along - curve.length)
    return torch.maximum(beside, beyond)


def covered(
    fold: Fold,
    shape: tuple[int, int],
    cover: float,
    device: torch.device | str = "cpu",
    origin: tuple[float, float] = (0.0, 0.0),
    step: float = 1.0,
) -> Tensor:
    """Return which pixels of a grid lie on the dark line, widened by `cover` px, (Y, X) bool."""
    return clearance(fold, shape, device, origin, step) <= cover


class LawUnfolding:
    """The way back from a damaged slice through the laws of its folds.

    Parameters
    ----------
    fitted : sequence of FittedFold
        In the order in which they are to be undone in the restored frame: each
        curve lies in the frame in which all later ones are undone already.
    cover : float
        Pixels beside the dark line that count as part of it.
    """

    def __init__(self, fitted: Sequence[FittedFold], cover: float) -> None:
        self.fitted = list(fitted)
        self.cover = cover

    def on_grid(
        self,
        shape: tuple[int, int],
        origin: tuple[float, float] = (0.0, 0.0),
        step: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return the flow and the hidden pixels on a grid of the restored slice.

        Returns
        -------
        flow : Tensor, (2, height, width)
            (dy, dx) in px: ``unfolded(x) = damaged(x + flow(x))``; exactly zero
            where the folds do nothing, defined but meaningless where hidden.
        hidden : Tensor, (height, width) bool
            Pixels whose tissue was swallowed.
        """
        device = self.fitted[0].curve.device
        points = grid_points(shape, origin, step, device)
        flow = torch.zeros_like(points)
        hidden = torch.zeros(shape, dtype=torch.bool, device=device)
        for index, one in enumerate(self.fitted):
            here = one.curve.on_grid(shape, origin, step)
            if index:
                here = one.curve.project(points + flow, here.along)
            hidden |= one.law.is_hidden(here.along, here.distance)
            flow = flow + unfold_displacement(one.law, here)
        flow = torch.where(flow.abs().amax(0) < NEGLIGIBLE, torch.zeros_like(flow), flow)
        return flow, hidden

    @property
    def drifts(self) -> Tensor:
        """Affine misalignment against each neighbour, of the fold that was fitted best."""
        return max(self.fitted, key=lambda one: one.score).drifts


def fit_folds(
    folds: Sequence[Fold],
    shape: tuple[int, int],
    damaged: Tensor,
    known: Tensor,
    neighbours: Sequence[tuple[Tensor, Tensor]],
    cover: float = 2.0,
    reporter: Reporter | None = None,
) -> LawUnfolding:
    """Find what each fold did to a slice.

    Parameters
    ----------
    folds : sequence of Fold
        As they lie in the damaged slice.
    shape : (height, width)
        Of the slice, px.
    damaged, known : Tensor, (Y, X)
        The damaged slice in [0, 1] and where it shows tissue (no dark line).
    neighbours : sequence of (image, known)
        The same for each neighbour, aligned.
    cover : float
        Pixels beside the dark line that count as part of it.
    reporter : Reporter, optional
        Told of progress, asked for cancellation.
    """
    reporter = reporter or Reporter()
    fine = 2 if max(shape) <= 3072 else 4
    pools = (2 * fine, fine)
    here = {pool: Features.of(damaged, known, pool) for pool in pools}
    there = {pool: [Features.of(*one, pool) for one in neighbours] for pool in pools}
    reporter(0.15, "Matching the neighbours")
    device = damaged.device
    fitted: list[FittedFold] = []
    for index, fold in enumerate(folds):
        part = reporter.part(
            0.15 + 0.85 * index / len(folds), 0.15 + 0.85 * (index + 1) / len(folds)
        )
        own = here if len(folds) == 1 else _nearest_only(here, folds, index, device)
        curve = Curve.of(fold, device).smoothed()
        fitted.append(_fit_one(fold, curve, own, there, shape, cover, len(folds) == 1, part))
    if len(fitted) == 1:
        return LawUnfolding(fitted, cover)
    # Again, each on the slice in which the others are undone already.
    for index, fold in enumerate(folds):
        others = [one for other, one in enumerate(fitted) if other != index]
        chain = _chained(others, cover)
        moved = _carried(Curve.of(fold, device), fold, chain)
        undone = {pool: _undo(features, chain, shape) for pool, features in here.items()}
        again = _fit_one(
            moved, Curve.of(moved, device).smoothed(), undone, there, shape, cover, True, reporter
        )
        # The law holds along the line; its arc lengths change little with the frame.
        fitted[index] = FittedFold(
            fold,
            Curve.of(fold, device).smoothed(),
            again.law,
            again.drifts,
            again.uniform,
            again.score,
        )
    return _chained(fitted, cover)


def _fit_one(
    fold: Fold,
    curve: Curve,
    here: dict[int, Features],
    there: dict[int, list[Features]],
    shape: tuple[int, int],
    cover: float,
    to_the_end: bool,
    reporter: Reporter,
) -> FittedFold:
    coarse, fine = max(here), min(here)
    knots, widths = dark_line(curve, fold, cover)
    steps = torch.arange(int(curve.length / fine) + 1, device=curve.device) * float(fine)
    half_width = interpolate(knots, widths, steps)
    scored = []
    for index, side in enumerate((-1, 1)):
        scored.append(
            side_scores(
                curve,
                half_width,
                here[fine],
                there[fine],
                side,
                window=16 * fine,
                reporter=reporter,
            )
        )
        reporter(0.15 + 0.15 * index, "Matching the neighbours")
    sides = (scored[0], scored[1])
    flexible = _borrow((fit_side(sides[0], curve.length), fit_side(sides[1], curve.length)), sides)
    simple = fit_uniform(sides, curve.length)
    reporter(0.5, "Fitting the fold")
    drifts = torch.zeros((len(there[fine]), 2, 3), device=curve.device)

    def law(fits: tuple[SideFit, SideFit]) -> FoldLaw:
        return law_of(curve, widths, knots, fits).with_ends(curve, shape)

    if not to_the_end:
        return FittedFold(fold, curve, law(flexible), drifts, False, flexible[0].score)

    def sharpened(
        start: tuple[SideFit, SideFit], drift: Tensor, pool: int, stage: Stage, uniform: bool
    ) -> tuple[tuple[SideFit, SideFit], Tensor, float]:
        # Windows grow with the pixels of the features, so that large slices cost less.
        window, stride = stage.window * fine // 2, stage.stride * fine // 2
        scaled = Stage(window, stride, stage.reach, stage.steps)
        return refine(
            curve, law(start), start, here[pool], there[pool], drift, scaled, uniform, reporter
        )

    first, last = _STAGES
    rich, rich_drift, rich_score = sharpened(flexible, drifts, coarse, first, False)
    reporter(0.65, "Fitting the fold")
    plain, plain_drift, plain_score = sharpened(simple, drifts, coarse, first, True)
    reporter(0.8, "Fitting the fold")
    uniform = plain_score >= (1 - _SIMPLER) * rich_score
    start, drift = (plain, plain_drift) if uniform else (rich, rich_drift)
    fits, drift, score = sharpened(start, drift, fine, last, uniform)
    return FittedFold(fold, curve, law(fits), drift, uniform, score)


def _borrow(
    fits: tuple[SideFit, SideFit], sides: tuple[SideScores, SideScores]
) -> tuple[SideFit, SideFit]:
    """Give a side that shows hardly any tissue the law of the other."""
    evidence = [float(side.weight.sum()) for side in sides]
    for poor, rich in ((0, 1), (1, 0)):
        if evidence[poor] < 25 and evidence[rich] > 4 * evidence[poor]:
            lent = fits[rich]
            own = SideFit(lent.gap.clone(), lent.log_decay.clone(), lent.tail.clone(), lent.score)
            return (own, fits[1]) if poor == 0 else (fits[0], own)
    return fits


def _nearest_only(
    here: dict[int, Features], folds: Sequence[Fold], index: int, device: torch.device
) -> dict[int, Features]:
    """Return features in which only what lies nearest to one fold is known."""
    result = {}
    for pool, features in here.items():
        shape = (features.values.shape[0], features.values.shape[1])
        origin = ((pool - 1) / 2, (pool - 1) / 2)
        distances = torch.stack(
            [
                Curve.of(fold, device).on_grid(shape, origin, float(pool)).distance.abs()
                for fold in folds
            ]
        )
        own = (distances.argmin(0) == index).to(features.known.dtype)
        result[pool] = Features(features.values * own, features.known * own, pool)
    return result


def _undo(features: Features, chain: LawUnfolding, shape: tuple[int, int]) -> Features:
    """Return the features of the slice in which the folds of a chain are undone."""
    pool = features.pool
    grid = (features.values.shape[0], features.values.shape[1])
    flow, hidden = chain.on_grid(grid, ((pool - 1) / 2, (pool - 1) / 2), float(pool))
    both = warp(features.stacked(), flow[None] / pool, "bilinear", "zeros")[0]
    known = ((both[1] > 0.9) & ~hidden).to(both.dtype)
    return Features(both[0] * known, known, pool)


def _chained(fitted: Sequence[FittedFold], cover: float) -> LawUnfolding:
    """Return the folds as a chain: each earlier line carried along as later ones are undone."""
    chain: list[FittedFold] = []
    for one in reversed(fitted):
        if not chain:
            chain.append(one)
            continue
        fold = _carried(one.curve, one.fold, LawUnfolding(chain, cover))
        chain.insert(
            0,
            FittedFold(
                one.fold,
                Curve.of(fold, one.curve.device).smoothed(),
                one.law,
                one.drifts,
                one.uniform,
                one.score,
            ),
        )
    return LawUnfolding(chain, cover)


def _carried(curve: Curve, fold: Fold, chain: LawUnfolding) -> Fold:
    """Return a fold line as it lies after the folds of a chain are undone."""
    count = max(len(fold.vertices), int(curve.length / 40) + 2)
    along = torch.linspace(0, curve.length, count, device=curve.device)
    points, _ = curve.at(along)
    start, keep = points, torch.ones(count, dtype=torch.bool, device=curve.device)
    for one in reversed(chain.fitted):
        place = one.curve.project(points)
        keep &= ~one.law.is_dark(place.along, place.distance)
        points = points + fold_displacement(one.law, place)
    if float((points - start).abs().max()) < 0.25 or int(keep.sum()) < 2:
        return fold
    knots = torch.tensor(curve.vertices_along, dtype=curve.dtype, device=curve.device)
    widths = interpolate(
        knots, knots.new_tensor(fold.half_widths or [fold.half_width] * len(knots)), along
    )
    vertices = [(float(y), float(x)) for y, x in points[:, keep].T.cpu()]
    return fold.with_changes(vertices=vertices, half_widths=[float(w) for w in widths[keep].cpu()])
