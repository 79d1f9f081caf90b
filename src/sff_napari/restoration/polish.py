"""The last step of a fit: generalised least squares with the drift as correlated noise.

Each window of the unfolded slice is off its neighbours by what is wrong with the
law and by the drift of the slice there.  The drift has a known covariance, so
the law's parameters have a best linear estimate.  It pays for laws of few
parameters; a flexible one has none to spare against the drift.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sff_napari.folds import FoldLaw
from sff_napari.restoration.drift import window_shifts
from sff_napari.restoration.law_parameters import LawParameters
from sff_napari.restoration.lawfit import SideFit
from sff_napari.restoration.matching import Features
from sff_napari.restoration.refine import unfolded_features
from sff_napari.restoration.slice_drift import SliceDrift
from sff_napari.restoration.unfolding import FittedFold

_REACH = 16.0
"""Largest shift of a window that is looked for, px."""
_ROUNDS = 2
_FINEST = 12.0
"""Half waves per 1024 px up to which the drift is taken as correlated."""
_LEVEL = 1.5
"""Variance of the drift in units of what is usual."""
_NOISE = 2.0
"""Error of the shift of one window, px; three times as much counts as an outlier."""
_LEAST_WINDOWS, _MOST_WINDOWS = 20, 1200


def polished(
    one: FittedFold,
    damaged: Features,
    neighbours: Sequence[Features],
    law_of_fits: Callable[[tuple[SideFit, SideFit]], FoldLaw],
) -> FittedFold:
    """Return a fold with a better fit of the same kind.

    Parameters
    ----------
    one : FittedFold
        A fit within a few pixels of the truth.
    damaged, neighbours : Features
        On the same grid.
    law_of_fits : callable
        Makes a law from fits.
    """
    for _ in range(_ROUNDS):
        better = _step(one, damaged, neighbours, law_of_fits)
        if better is None:
            return one
        one = better
    return one


def _step(
    one: FittedFold,
    damaged: Features,
    neighbours: Sequence[Features],
    law_of_fits: Callable[[tuple[SideFit, SideFit]], FoldLaw],
) -> FittedFold | None:
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
    places = torch.stack([rows, columns]) * shifts.step + shifts.first
    parameters = LawParameters(one)
    jacobian, seen, _ = parameters.jacobian(one, places)
    if int(seen.sum()) < _LEAST_WINDOWS:
        return None
    places = places[:, seen]
    # What the drift found so far was read out of the shifts; the whole of it is noise here.
    y, x = one.drift.cosines(places[0], places[1])
    before = torch.einsum("cij,ni,nj->cn", one.drift.weights, y, x)
    observed = (shifts.values[:, rows, columns][:, seen] + before).double()
    normal = one.curve.project(places).normal.double()
    moves = normal[:, :, None] * jacobian[seen].double()
    change, weights = _solved(moves, observed, places, parameters.precision(), one.drift)
    fits = parameters.fits_at((parameters.start.double() + change).to(torch.float32))
    drift = replace(one.drift, weights=weights.reshape(one.drift.weights.shape).to(torch.float32))
    return replace(one, fits=fits, law=law_of_fits(fits), drift=drift)


def _solved(
    moves: Tensor, observed: Tensor, places: Tensor, precision: Tensor, drift: SliceDrift
) -> tuple[Tensor, Tensor]:
    """Return the change of the parameters (P,) and the weights (2, waves) of the slow drift.

    Parameters
    ----------
    moves : Tensor, (2, N, P)
        How the shifts follow the parameters, in y and x.
    observed : Tensor, (2, N)
        Shifts of the windows, px.
    places : Tensor, (2, N)
        Their centres, px.
    precision : Tensor, (P, P)
        Of the parameters, before.
    drift : SliceDrift
        How much this stack drifts.
    """
    waves, variance = SliceDrift.none(
        drift.shape, places.device, _FINEST, 24, drift.level, drift.jitter
    ).waves(places)
    shared = (waves * (_LEVEL * variance)) @ waves.T
    trust = torch.ones(len(waves), dtype=waves.dtype, device=waves.device)
    factor, change, rest = shared, precision[0], observed
    for _ in range(3):
        factor = torch.linalg.cholesky(shared + torch.diag(_NOISE**2 / trust))
        whitened = torch.stack([torch.cholesky_solve(one, factor) for one in moves])
        known = torch.einsum("cnp,cnq->pq", moves, whitened)
        pull = torch.einsum("cnp,cn->p", whitened, observed)
        change = torch.linalg.solve(known + precision, pull)
        rest = observed - torch.einsum("cnp,p->cn", moves, change)
        off = shared @ torch.cholesky_solve(rest.T, factor)
        error = (rest.T - off).square().sum(1)
        trust = 1 / (1 + error / (2 * (3 * _NOISE) ** 2))
    waves, variance = drift.waves(places)
    weights = _LEVEL * variance[:, None] * (waves.T @ torch.cholesky_solve(rest.T, factor))
    return change, weights.T
