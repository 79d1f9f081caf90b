"""The last step of a fit: the law's parameters with the drift as correlated noise.

Each window of the unfolded slice is off its neighbours by what is wrong with the
law and by the drift of the slice there.  Shifts of windows, added to what was
undone, give the displacement of the fold plus drift and errors of matching.  The
covariance of these and what is usual for folds are known, so the parameters have
a likeliest value, and so has the choice between the paper's law of two
parameters and a flexible one: the one under which what was seen is likelier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sff_napari.alignment.drift_fields import window_shifts
from sff_napari.alignment.drift_model import SliceDrift
from sff_napari.alignment.features import Features
from sff_napari.folds import FoldLaw
from sff_napari.restoration.unfolding.fitted_fold import FittedFold
from sff_napari.restoration.unfolding.law_parameters import LawParameters, LawPlaces
from sff_napari.restoration.unfolding.law_search import SideFit
from sff_napari.restoration.unfolding.refine import unfolded_features

LawOfFits = Callable[[tuple[SideFit, SideFit]], FoldLaw]

_REACH = 16.0
"""Largest shift of a window that is looked for, px."""
_FINEST = 12.0
"""Half waves per 1024 px up to which the drift is taken as correlated."""
_NOISE = 3.0
"""Error of the shift of one window, px; three times as much counts as an outlier."""
_LEAST_WINDOWS, _MOST_WINDOWS = 20, 1200
_ROUNDS = 1
"""Rounds in which outliers are told from the rest, before the last."""
_STEPS = 2
"""Steps of the search for parameters in each round."""
_SURE = 18.0
"""Logarithm of the odds from which a flexible law is believed: it also follows drift that is
stronger than usual."""
_USUAL_MISFIT = 0.5
"""Mean square of what is left, in units of its expected variance, where `_SURE` was found; where
more is left, evidence counts for less."""


@dataclass(frozen=True)
class _Seen:
    """What windows tell of a fold: the displacement along both axes, fold and drift together.

    Parameters
    ----------
    points : Tensor, (2, N)
        Centres of the windows in the unfolded slice, px.
    places : LawPlaces
        The same in the fold's coordinates.
    total : Tensor, (2, N) float64
        Displacement in y and x, px.
    """

    points: Tensor
    places: LawPlaces
    total: Tensor


@dataclass(frozen=True)
class _Solved:
    """The likeliest parameters of one kind of law.

    Parameters
    ----------
    vector : Tensor, (P,) float64
        The parameters.
    evidence : float
        Logarithm of how likely this kind of law makes what was seen.
    misfit : float
        Mean square of what is left, in units of its expected variance.
    weights : Tensor, (2, rows, columns)
        Of the drift.
    """

    vector: Tensor
    evidence: float
    misfit: float
    weights: Tensor


def polished(
    rich: FittedFold,
    plain: FittedFold | None,
    damaged: Features,
    neighbours: Sequence[Features],
    law_of_fits: LawOfFits,
) -> FittedFold | None:
    """Return the better of two fits of one fold, made better; None with too little to see.

    Parameters
    ----------
    rich : FittedFold
        A fit of a flexible law, within some pixels of the truth.
    plain : FittedFold, optional
        A fit of the paper's law, if that may be enough.
    damaged, neighbours : Features
        On the same grid.
    law_of_fits : callable
        Makes a law from fits.
    """
    seen = _look(rich, damaged, neighbours)
    if seen is None:
        return None
    rich = _with(rich, _solve(rich, seen), law_of_fits)
    seen = _look(rich, damaged, neighbours) or seen
    flexible = _solve(rich, seen)
    rich = replace(_with(rich, flexible, law_of_fits), misfit=flexible.misfit)
    if plain is None:
        return rich
    simple = _solve(plain, seen)
    doubt = max(flexible.misfit / _USUAL_MISFIT, 1.0)
    lead = (flexible.evidence - simple.evidence) / doubt
    if lead > _SURE:
        return rich
    plain = replace(_with(plain, simple, law_of_fits), misfit=flexible.misfit, lead=lead)
    return polished_simple(plain, damaged, neighbours, law_of_fits)


def polished_simple(
    plain: FittedFold, damaged: Features, neighbours: Sequence[Features], law_of_fits: LawOfFits
) -> FittedFold:
    """Return a fit of the paper's law, made better; see `polished`."""
    seen = _look(plain, damaged, neighbours)
    return plain if seen is None else _with(plain, _solve(plain, seen), law_of_fits)


def _look(one: FittedFold, damaged: Features, neighbours: Sequence[Features]) -> _Seen | None:
    """Return what windows tell if the slice is unfolded by a fit, None with too few of them."""
    values, known = unfolded_features(one.curve, one.law, damaged)
    grid, first = (values.shape[0], values.shape[1]), (damaged.pool - 1) / 2
    offset = one.drift.on_grid(grid, (first, first), float(damaged.pool))
    unfolded = Features(values, known, damaged.pool)
    shifts = window_shifts(unfolded, [there.moved(offset) for there in neighbours], _REACH)
    if shifts is None:
        return None
    rows, columns = torch.nonzero(shifts.weight > 0.5).T
    if len(rows) < _LEAST_WINDOWS:
        return None
    thin = max(1, round(len(rows) / _MOST_WINDOWS))
    rows, columns = rows[::thin], columns[::thin]
    points = torch.stack([rows, columns]) * shifts.step + shifts.first
    parameters = LawParameters(one)
    places = parameters.places(one, points)
    if int(places.seen.sum()) < _LEAST_WINDOWS:
        return None
    rows, columns, points = rows[places.seen], columns[places.seen], points[:, places.seen]
    places = places.where_seen()
    # The drift found so far was read out of the shifts; the whole of it counts here.
    y, x = one.drift.cosines(points[0], points[1])
    drift = torch.einsum("cij,ni,nj->cn", one.drift.weights, y, x)
    undone = places.normal * parameters.displacement(parameters.start, places)
    return _Seen(points, places, (shifts.values[:, rows, columns] + drift + undone).double())


def _solve(one: FittedFold, seen: _Seen) -> _Solved:
    """Return the likeliest parameters of a law of the kind that was fitted."""
    parameters = LawParameters(one)
    drift = SliceDrift.none(
        one.drift.shape, seen.points.device, _FINEST, 24, one.drift.level, one.drift.jitter
    )
    waves, variance = drift.waves(seen.points)
    shared = (waves * variance) @ waves.T
    usual, precision = parameters.usual(), parameters.precision()
    normal = seen.places.normal.double()
    vector, trust = parameters.start, torch.ones_like(normal[0])
    apart, known, rest = normal, precision, normal
    for again in range(_ROUNDS + 1):
        factor = torch.linalg.cholesky(shared + torch.diag(_NOISE**2 / trust))
        for _ in range(_STEPS):
            moves = normal[:, :, None] * parameters.slopes(vector, seen.places)
            rest = seen.total - normal * parameters.displacement(vector, seen.places)
            both = torch.cat([moves, rest[:, :, None]], dim=2)
            white = torch.linalg.solve_triangular(factor, both, upper=False)
            known = torch.einsum("cnp,cnq->pq", white[:, :, :-1], white[:, :, :-1]) + precision
            pull = torch.einsum("cnp,cn->p", white[:, :, :-1], white[:, :, -1])
            step = torch.linalg.solve(known, pull + precision @ (usual - vector))
            moved = parameters.fits_at((vector + step).to(vector.dtype))
            vector = parameters.vector_of(moved)
        rest = seen.total - normal * parameters.displacement(vector, seen.places)
        apart = torch.cholesky_solve(rest.T, factor)
        if again < _ROUNDS:
            error = (rest.T - shared @ apart).square().sum(1)
            trust = 1 / (1 + error / (2 * (3 * _NOISE) ** 2))
    away = vector - usual
    # Laplace's approximation, but for what both kinds of law share.
    volume = torch.logdet(known) - torch.logdet(precision)
    left = (rest * apart.T).sum()
    evidence = -0.5 * float(left + away @ precision @ away + volume)
    waves, variance = one.drift.waves(seen.points)
    weights = (variance[:, None] * (waves.T @ apart)).T
    weights = weights.reshape(one.drift.weights.shape).to(torch.float32)
    return _Solved(vector, evidence, float(left) / rest.numel(), weights)


def _with(one: FittedFold, solved: _Solved, law_of_fits: LawOfFits) -> FittedFold:
    """Return a fit with other parameters and another drift."""
    fits = LawParameters(one).fits_at(solved.vector)
    return replace(
        one, fits=fits, law=law_of_fits(fits), drift=replace(one.drift, weights=solved.weights)
    )
