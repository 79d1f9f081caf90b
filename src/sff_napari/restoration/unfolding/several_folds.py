"""Finding what each fold of a slice did, from its neighbours (no training needed)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sff_napari.alignment.drift_fields import DriftField
from sff_napari.alignment.drift_model import USUAL_JITTER, SliceDrift, drift_level
from sff_napari.alignment.features import Features, SideScores, side_scores
from sff_napari.folds import Curve, Fold, FoldLaw
from sff_napari.folds.law import interpolate
from sff_napari.progress import Reporter
from sff_napari.restoration.unfolding.fitted_fold import (
    FittedFold,
    LawUnfolding,
    dark_line,
    is_weak,
)
from sff_napari.restoration.unfolding.law_posterior import polished, polished_simple
from sff_napari.restoration.unfolding.law_search import SideFit, fit_side, fit_uniform, law_of
from sff_napari.restoration.unfolding.refine import Refined, Stage, refine
from sff_napari.restoration.unfolding.side_motion import SideMotion, find_motion, neighbour_of_sides
from sff_napari.warp import warp

_STAGES = (Stage(48, 24, 3), Stage(32, 16, 2))
_SIMPLER = 0.75
"""Summed correlation that each further parameter of a flexible law must gain with one neighbour to
be preferred to the paper's simple one: it always gains a little by following the drift."""
_UNUSUAL = 3.0
"""How much what the drift costs counts in that: unequal sides taken for a fold with equal ones look
like a slice that lies far off."""
_SMALL, _LARGE = 768, 3072
"""Sides of slices, px, up to which a law is searched for on a finer grid, and up to which its last
step is made on one of `_GRID` pixels: more windows make up for coarser ones."""
_GRID = 4
_LEAST_WEIGHT = 100.0
"""Windows that a side must show for its correlation to tell anything."""
_LOOK_CLOSER = 2.5
"""Gain a parameter on the coarser grid from which on the simple law is given up at once."""
_JOINED = 15.0
"""Distance of an end of a line from the dark line of another, px, at which it is a branch of it."""


def fit_folds(
    folds: Sequence[Fold],
    shape: tuple[int, int],
    damaged: Tensor,
    known: Tensor,
    neighbours: Sequence[tuple[Tensor, Tensor]],
    cover: float = 2.0,
    reporter: Reporter | None = None,
    mutual: DriftField | None = None,
    jitter: float = USUAL_JITTER,
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
    mutual : DriftField, optional
        From the first neighbour to the second; each is moved half way.
    jitter : float
        Usual variance of the offset of the slice against them, px^2.
    """
    reporter = reporter or Reporter()
    fine = 2 if max(shape) <= _SMALL else 4
    pools = (2 * fine, fine)
    here = {pool: Features.of(damaged, known, pool) for pool in pools}
    there = {pool: [Features.of(*one, pool) for one in neighbours] for pool in pools}
    if mutual is not None and len(neighbours) == 2:
        there = {pool: met_half_way(pair, mutual) for pool, pair in there.items()}
    reporter(0.15, "Matching the neighbours")
    device = damaged.device
    still = SliceDrift.none(shape, device, level=drift_level(mutual), jitter=jitter)
    stems = stems_of(folds, device)
    above = [_above(index, stems) for index in range(len(folds))]
    order = sorted(range(len(folds)), key=lambda index: len(above[index]))
    alone = [index for index in order if stems[index] is None]
    found: dict[int, FittedFold] = {}
    for count, index in enumerate(order):
        part = reporter.part(
            0.15 + 0.85 * count / len(folds), 0.15 + 0.85 * (count + 1) / len(folds)
        )
        fold, own = folds[index], here
        curve = Curve.of(fold, device).smoothed()
        if above[index]:
            # A branch moved what its stem had moved much farther.
            chain = chained([found[other] for other in above[index]], cover)
            curve = Curve.of(_carried(Curve.of(fold, device), fold, chain), device).smoothed()
            own = {pool: _undo(features, chain, shape) for pool, features in here.items()}
        elif len(alone) > 1:
            own = nearest_only(here, [folds[other] for other in alone], alone.index(index), device)
        found[index] = _fit_one(
            fold, curve, own, there, still, cover, len(folds) == 1, bool(above[index]), part
        )
        found[index] = _in_the_slice(found[index], fold)
    fitted = [found[index] for index in range(len(folds))]
    if len(fitted) == 1:
        return LawUnfolding(fitted, cover)
    # Again, each on the slice in which the others are undone already.
    for index in order:
        fold = folds[index]
        others = [fitted[other] for other in order if other != index]
        chain = chained(others, cover)
        moved = _carried(Curve.of(fold, device), fold, chain)
        undone = {pool: _undo(features, chain, shape) for pool, features in here.items()}
        curve = Curve.of(moved, device).smoothed()
        branch = bool(above[index])
        again = _fit_one(moved, curve, undone, there, still, cover, True, branch, reporter)
        fitted[index] = _in_the_slice(again, fold)
    return chained(fitted, cover)


def _fit_one(
    fold: Fold,
    curve: Curve,
    here: dict[int, Features],
    there: dict[int, list[Features]],
    still: SliceDrift,
    cover: float,
    to_the_end: bool,
    branch: bool,
    reporter: Reporter,
) -> FittedFold:
    coarse, fine = max(here), min(here)
    knots, widths = dark_line(curve, fold, cover)
    steps = torch.arange(int(curve.length / fine) + 1, device=curve.device) * float(fine)
    half_width = interpolate(knots, widths, steps)

    def searched(side: int) -> tuple[SideScores, SideFit]:
        scores = side_scores(
            curve, half_width, here[fine], there[fine], side, window=16 * fine, reporter=reporter
        )
        return scores, fit_side(scores, curve.length)

    found_sides = []
    motions: list[SideMotion | None] = [None, None]
    for index, side in enumerate((-1, 1)):
        found_sides.append(searched(side))
        reporter(0.15 + 0.15 * index, "Matching the neighbours")
    explained = (_side_score(*found_sides[0]), _side_score(*found_sides[1]))
    for index, side in enumerate((-1, 1)):
        if is_weak(explained, index):
            motions[index] = find_motion(curve, here[coarse], there[coarse], side)
    if motions != [None, None]:
        both = (motions[0], motions[1])
        there = {
            pool: [neighbour_of_sides(curve, one, both) for one in every]
            for pool, every in there.items()
        }
        found_sides = [
            found if motion is None else searched(side)
            for found, motion, side in zip(found_sides, motions, (-1, 1), strict=True)
        ]
        explained = (_side_score(*found_sides[0]), _side_score(*found_sides[1]))
    told: dict[str, Any] = {
        "motions": (motions[0], motions[1]),
        "side_scores": explained,
    }
    sides = (found_sides[0][0], found_sides[1][0])
    flexible = _borrow((found_sides[0][1], found_sides[1][1]), sides)
    simple = fit_uniform(sides, curve.length)
    reporter(0.5, "Fitting the fold")

    def law(fits: tuple[SideFit, SideFit]) -> FoldLaw:
        return law_of(curve, widths, knots, fits).with_ends(curve, still.shape)

    if branch and explained == (None, None):
        # Too little is seen beside it to tell what it moved: its dark line is filled.
        still_there = replace(simple[0], gap=torch.zeros_like(simple[0].gap))
        nothing = (still_there, still_there)
        return FittedFold(fold, curve, law(nothing), nothing, still, True, 0.0, **told)
    if not to_the_end:
        return FittedFold(
            fold, curve, law(flexible), flexible, still, False, flexible[0].score, **told
        )

    def sharpened(start: Refined, pool: int, stage: Stage, uniform: bool) -> Refined:
        # Windows grow with the pixels of the features, so that large slices cost less.
        window, stride = stage.window * fine // 2, stage.stride * fine // 2
        scaled = Stage(window, stride, stage.reach, stage.steps)
        return refine(
            curve, law(start.fits), start, here[pool], there[pool], scaled, uniform, reporter
        )

    first, last = _STAGES
    rich = sharpened(Refined(flexible, still), coarse, first, False)
    reporter(0.6, "Fitting the fold")
    plain = sharpened(Refined(simple, still), coarse, first, True)
    reporter(0.7, "Fitting the fold")
    if plain.score > rich.score:
        # The flexible law holds the simple one as a case: its search has gone astray.
        rich = max(rich, sharpened(plain, coarse, first, False), key=lambda one: one.score)
    # Coefficients and tails but for the two parameters of the simple law.
    more = 2 * len(rich.fits[0].gap) + 2 * len(rich.fits[0].log_decay)
    # Sides that lie apart as a whole are not what the simple law is about.
    nearly = motions == [None, None] and plain.score > rich.score - _LOOK_CLOSER * more
    rich = sharpened(rich, fine, last, False)
    reporter(0.85, "Fitting the fold")

    def found(one: Refined, uniform: bool) -> FittedFold:
        # One score for both, on the same windows, so that folds compare whatever their law.
        return FittedFold(
            fold, curve, law(one.fits), one.fits, one.drift, uniform, rich.score, **told
        )

    grid = fine if coarse > _GRID and max(still.shape) <= _LARGE else coarse
    if len(there[grid]) > 1:
        other = found(plain, True) if nearly else None
        likeliest = polished(found(rich, False), other, here[grid], there[grid], law)
        if likeliest is not None:
            return likeliest
    # How much the slice drifts against a single neighbour is not known, and with it neither the
    # odds of the laws; a small slice shows too little. There the flexible one must gain enough.
    if nearly:
        plain = sharpened(plain, fine, last, True)
        gain = rich.score - plain.score + _UNUSUAL * (plain.cost - rich.cost)
        if gain < _SIMPLER * more:
            return polished_simple(found(plain, True), here[grid], there[grid], law)
    return found(rich, False)


def _side_score(scores: SideScores, fit: SideFit) -> float | None:
    """Return the mean correlation of a side at its best law, None with too little to tell."""
    weight = float(scores.weight.sum())
    return fit.score / weight if weight >= _LEAST_WEIGHT else None


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


def stems_of(folds: Sequence[Fold], device: torch.device) -> list[int | None]:
    """Return for each fold the longer fold that it branches off from, None if it does not."""
    curves = [Curve.of(fold, device) for fold in folds]
    stems: list[int | None] = []
    for curve in curves:
        stem, least = None, _JOINED
        ends, _ = curve.at(torch.tensor([0.0, curve.length], device=device))
        for other, (longer, line) in enumerate(zip(folds, curves, strict=True)):
            if line.length <= curve.length:
                continue
            widest = max(longer.half_widths or [longer.half_width])
            away = float(line.project(ends).distance.abs().min()) - widest
            if away < least:
                stem, least = other, away
        stems.append(stem)
    return stems


def _above(index: int, stems: Sequence[int | None]) -> list[int]:
    """Return the stem of a fold, the stem of that, and so on to the longest."""
    found = []
    stem = stems[index]
    while stem is not None:
        found.append(stem)
        stem = stems[stem]
    return found


def nearest_only(
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


def met_half_way(pair: Sequence[Features], mutual: DriftField) -> list[Features]:
    """Return the features of two neighbours, each moved half way towards the other."""
    moved = []
    for one, sign in zip(pair, (-0.5, 0.5), strict=True):
        grid, first = (one.values.shape[0], one.values.shape[1]), (one.pool - 1) / 2
        moved.append(one.moved(sign * mutual.on_grid(grid, (first, first), float(one.pool))))
    return moved


def _in_the_slice(one: FittedFold, fold: Fold) -> FittedFold:
    """Return a fold that was fitted where others are undone, with its line as it was given."""
    curve = Curve.of(fold, one.curve.device).smoothed()
    # The law holds along the line.  It is about as long there; but a branch lost its beginning
    # to the dark line of its stem.
    knots = one.law.knots * (curve.length / one.curve.length)
    return replace(one, fold=fold, curve=curve, law=replace(one.law, knots=knots))


def _undo(features: Features, chain: LawUnfolding, shape: tuple[int, int]) -> Features:
    """Return the features of the slice in which the folds of a chain are undone."""
    pool = features.pool
    grid = (features.values.shape[0], features.values.shape[1])
    flow, hidden = chain.on_grid(grid, ((pool - 1) / 2, (pool - 1) / 2), float(pool))
    both = warp(features.stacked(), flow[None] / pool, "bilinear", "zeros")[0]
    known = ((both[1] > 0.9) & ~hidden).to(both.dtype)
    return Features(both[0] * known, known, pool)


def chained(fitted: Sequence[FittedFold], cover: float) -> LawUnfolding:
    """Return the folds as a chain: each earlier line carried along as later ones are undone."""
    chain: list[FittedFold] = []
    for one in reversed(fitted):
        if not chain:
            chain.append(one)
            continue
        fold = _carried(one.curve, one.fold, LawUnfolding(chain, cover))
        chain.insert(0, replace(one, curve=Curve.of(fold, one.curve.device).smoothed()))
    return LawUnfolding(chain, cover)


def _carried(curve: Curve, fold: Fold, chain: LawUnfolding) -> Fold:
    """Return a fold line as it lies after the folds of a chain are undone."""
    count = max(len(fold.vertices), int(curve.length / 40) + 2)

    def brought_back(along: Tensor) -> tuple[Tensor, Tensor, float]:
        points, _ = curve.at(along)
        start, keep = points, torch.ones(len(along), dtype=torch.bool, device=curve.device)
        for one in reversed(chain.fitted):
            points, seen = one.brought_back(points)
            keep &= seen
        return points, keep, float((points - start).abs().max())

    # A branch begins where the dark line of its stem ends, not at the next of a few places.
    dense = torch.linspace(0, curve.length, int(curve.length / 2) + 2, device=curve.device)
    _, keep, farthest = brought_back(dense)
    if farthest < 0.25 or int(keep.sum()) < 2:
        return fold
    along = torch.linspace(
        float(dense[keep][0]), float(dense[keep][-1]), count, device=curve.device
    )
    points, keep, _ = brought_back(along)
    # The line may be a smoothed one, with other vertices than the fold has widths at.
    drawn = Curve.of(fold, curve.device)
    knots = torch.tensor(drawn.vertices_along, dtype=curve.dtype, device=curve.device)
    widths = interpolate(
        knots * (curve.length / drawn.length),
        knots.new_tensor(fold.half_widths or [fold.half_width] * len(knots)),
        along,
    )
    vertices = [(float(y), float(x)) for y, x in points[:, keep].T.cpu()]
    return fold.with_changes(vertices=vertices, half_widths=[float(w) for w in widths[keep].cpu()])
