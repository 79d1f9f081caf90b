"""Find what each fold of a slice did, from its neighbours (no training needed)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sff_napari.alignment.drift_fields import DriftField, met_half_way
from sff_napari.alignment.drift_model import DriftPrior, SliceDrift
from sff_napari.alignment.features import Features
from sff_napari.folds import Curve, Fold
from sff_napari.progress import Reporter
from sff_napari.restoration.unfolding.chain import carried_line, compose_folds, undone_features
from sff_napari.restoration.unfolding.fit_fold import Scene, fit_fold
from sff_napari.restoration.unfolding.fitted_fold import FittedFold, LawUnfolding

_SMALL = 768
"""Side of slices, px, up to which a law is searched for on a finer grid."""
_JOINED = 15.0
"""Distance of an end of a line from the dark line of another, px, at which it is a branch of it."""


def fit_folds(
    folds: Sequence[Fold],
    damaged: tuple[Tensor, Tensor],
    neighbours: Sequence[tuple[Tensor, Tensor]],
    *,
    cover: float = 2.0,
    mutual: DriftField | None = None,
    offset: Tensor | None = None,
    prior: DriftPrior | None = None,
    reporter: Reporter | None = None,
) -> LawUnfolding:
    """Find what each fold did to a slice.

    Parameters
    ----------
    folds : sequence of Fold
        As they lie in the damaged slice.
    damaged : (image, known)
        The damaged slice (Y, X) in [0, 1], and where it shows tissue (no dark line), bool.
    neighbours : sequence of (image, known)
        The same for each neighbour.
    cover : float
        Pixels beside the dark line that count as part of it.
    mutual : DriftField, optional
        From the first neighbour to the second; each is moved half way.
    offset : Tensor, (2,), optional
        Where the search for the slice begins, (dy, dx) in px against the neighbours.
    prior : DriftPrior, optional
        What is known of the drift of the slice.
    reporter : Reporter, optional
        Told of progress, asked for cancellation.
    """
    reporter = reporter or Reporter()
    shape = (damaged[0].shape[0], damaged[0].shape[1])
    device = damaged[0].device
    fine = 2 if max(shape) <= _SMALL else 4
    pools = (2 * fine, fine)
    features = {pool: Features.of(*damaged, pool) for pool in pools}
    around = {pool: [Features.of(*one, pool) for one in neighbours] for pool in pools}
    if mutual is not None and len(neighbours) == 2:
        around = {pool: met_half_way(pair, mutual) for pool, pair in around.items()}
    reporter(0.15, "Matching the neighbours")
    start = SliceDrift.none(shape, device)
    if offset is not None:
        start = start.with_offset(offset)
    scene = Scene(features, around, start, prior or DriftPrior(), cover)
    stems = stems_of(folds, device)
    above = [_above(index, stems) for index in range(len(folds))]
    order = sorted(range(len(folds)), key=lambda index: len(above[index]))
    alone = [index for index in order if stems[index] is None]
    found: dict[int, FittedFold] = {}
    for count, index in enumerate(order):
        part = reporter.part(
            0.15 + 0.85 * count / len(folds), 0.15 + 0.85 * (count + 1) / len(folds)
        )
        fold, own = folds[index], scene
        curve = Curve.of(fold, device).smoothed()
        if above[index]:
            # A branch moved what its stem had moved much farther.
            chain = compose_folds([found[other] for other in above[index]], cover)
            curve = Curve.of(carried_line(Curve.of(fold, device), fold, chain), device).smoothed()
            own = scene.with_damaged(undone_features(features, chain))
        elif len(alone) > 1:
            others = [folds[other] for other in alone]
            own = scene.with_damaged(nearest_only(features, others, alone.index(index), device))
        one = fit_fold(fold, curve, own, len(folds) == 1, bool(above[index]), part)
        found[index] = _in_the_slice(one, fold)
    fitted = [found[index] for index in range(len(folds))]
    if len(fitted) == 1:
        return LawUnfolding(fitted, cover)
    # Again, each on the slice in which the others are undone already.
    for index in order:
        fold = folds[index]
        chain = compose_folds([fitted[other] for other in order if other != index], cover)
        moved = carried_line(Curve.of(fold, device), fold, chain)
        own = scene.with_damaged(undone_features(features, chain))
        curve = Curve.of(moved, device).smoothed()
        again = fit_fold(moved, curve, own, True, bool(above[index]), reporter)
        fitted[index] = _in_the_slice(again, fold)
    return compose_folds(fitted, cover)


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
    damaged: dict[int, Features], folds: Sequence[Fold], index: int, device: torch.device
) -> dict[int, Features]:
    """Return features in which only what lies nearest to one fold is known."""
    result = {}
    for pool, features in damaged.items():
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


def _in_the_slice(one: FittedFold, fold: Fold) -> FittedFold:
    """Return a fold that was fitted where others are undone, with its line as it was given."""
    curve = Curve.of(fold, one.curve.device).smoothed()
    # The law holds along the line.  It is about as long there; but a branch lost its beginning
    # to the dark line of its stem.
    knots = one.law.knots * (curve.length / one.curve.length)
    return replace(one, fold=fold, curve=curve, law=replace(one.law, knots=knots))
