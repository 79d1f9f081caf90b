"""How sure a fit is: the spread of its parameters, and of the flow they make, under drift.

The law is fitted to displacements that the drift of the slice disturbs.  With
the drift's covariance and what is usual for folds as a prior, the parameters
have a posterior covariance, and with it each pixel of the flow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sff_napari.alignment.drift_model import SliceDrift
from sff_napari.alignment.features import Features, gaussian
from sff_napari.folds import Curve
from sff_napari.folds.curve import grid_points
from sff_napari.restoration.unfolding.fitted_fold import FittedFold
from sff_napari.restoration.unfolding.law_parameters import LawParameters

WITHIN = 1.0
"""Error of the flow, px, that the confidence refers to."""
_POINTS = 900
"""Places of a slice at which displacements count as observed."""
_AT_ONCE = 65536
"""Places at which the spread of the flow is asked for in one go."""
_FINEST = 12.0
"""Half waves per 1024 px up to which drift disturbs the fit."""
_NOISE = 1.0
"""Error of one observed displacement, px."""
_DOUBT = 0.15
"""A simple law is not always the truth where it was chosen: share of the variance of a flexible
law that counts where the odds of the two are not known."""
_EVEN, _BLUR = 8.0, 6.0
"""Logarithm of the odds at which a flexible law is as often right as the simple one on simulated
folds, and how much of it makes the one nearly always right."""
_USUAL_MISFIT = 0.35
_INFLATIONS = (0.65, 3.0)
"""What fits leave of the shifts of windows where the spreads below are right, in units of the
expected variance; smallest and largest factor on the spread where they leave more or less."""
FLOORS = (0.3, 0.8)
"""Error of the flow, px, that no fit of a simple or of a flexible law is without."""
_USUAL_FILLING = 0.5
_LOCAL = 24.0
"""Radius, px, over which neighbours are compared."""
SIMPLE, FLEXIBLE = 1.5, 2.0
"""What the variances of the two kinds of law are multiplied by, so that they are right on simulated
folds: the search errs beyond what its linear picture says, more so with many parameters."""


class FlowConfidence:
    """The chance that the flow of a slice is right, pixel by pixel.

    Parameters
    ----------
    fitted : sequence of FittedFold
        The folds of the slice.
    shape : (height, width)
        Of the slice, px.
    doubt : float, optional
        How much of the variance of a flexible law counts where the paper's simple
        one was chosen; from the odds of the two if not given.
    """

    def __init__(
        self,
        fitted: Sequence[FittedFold],
        shape: tuple[int, int],
        doubt: float | None = None,
    ) -> None:
        self._device = fitted[0].curve.device
        self._floor = max(least_error(one) for one in fitted)
        self._parts: list[tuple[float, LawParameters, FittedFold, Tensor]] = []
        for one in fitted:
            own = _doubt(one) if doubt is None else doubt
            flexible = FLEXIBLE if not one.uniform else SIMPLE * own
            models = ((flexible, False), *([(SIMPLE, True)] if one.uniform else []))
            for weight, uniform in models:
                parameters = LawParameters(one, uniform)
                covariance = self._covariance(parameters, one, shape)
                self._parts.append((weight * _inflation(one) ** 2, parameters, one, covariance))

    def spread(
        self, shape: tuple[int, int], origin: tuple[float, float] = (0.0, 0.0), step: float = 1.0
    ) -> Tensor:
        """Return the standard error (height, width) of the flow on a grid, in px."""
        points = grid_points(shape, origin, step, self._device)
        variance = self.variance(points.reshape(2, -1))
        return (variance + self._floor**2 * (variance > 1e-6)).sqrt().reshape(shape)

    def variance(self, points: Tensor, curve: Curve | None = None) -> Tensor:
        """Return the variance (N,) of the flow that the parameters leave, in px^2.

        Parameters
        ----------
        points : Tensor, (2, N)
            In the restored slice, px.
        curve : Curve, optional
            A line to ask the laws on instead of each fold's own.
        """
        # Some at a time: large slices have a million.
        return torch.cat([self._variance(part, curve) for part in points.split(_AT_ONCE, dim=1)])

    def _variance(self, points: Tensor, curve: Curve | None) -> Tensor:
        variance = torch.zeros(points.shape[1], device=points.device)
        for weight, parameters, one, covariance in self._parts:
            asked = one if curve is None else replace(one, curve=curve)
            jacobian, _, decay = parameters.jacobian(asked, points)
            # An error of the displacement counts for more where the tissue was stretched.
            own = ((jacobian @ covariance) * jacobian).sum(1).clamp_min(0)
            variance = variance + weight * own / (1 - decay.clamp(max=0.5)).square()
        return variance

    def on_grid(
        self, shape: tuple[int, int], origin: tuple[float, float] = (0.0, 0.0), step: float = 1.0
    ) -> Tensor:
        """Return the chance (height, width) that the flow is within one px of the true one."""
        spread = self.spread(shape, origin, step)
        return torch.erf(WITHIN / math.sqrt(2) / spread.clamp_min(1e-3))

    def _covariance(
        self, parameters: LawParameters, one: FittedFold, shape: tuple[int, int]
    ) -> Tensor:
        """Return the posterior covariance of the parameters of one fold."""
        step = max(16.0, math.sqrt(shape[0] * shape[1] / _POINTS))
        grid = (max(1, int(shape[0] / step)), max(1, int(shape[1] / step)))
        places = grid_points(grid, (step / 2, step / 2), step, one.curve.device).reshape(2, -1)
        jacobian, seen, _ = parameters.jacobian(one, places)
        normal = one.curve.project(places).normal[:, seen].double()
        jacobian = jacobian[seen].double()
        drift = SliceDrift.none(
            shape, one.curve.device, _FINEST, 24, one.drift.level, one.drift.jitter
        )
        waves, variance = drift.waves(places[:, seen])
        shared = (waves * variance) @ waves.T
        error = shared * (normal.T @ normal)
        error += (_NOISE**2 * one.drift.level) * torch.eye(
            len(error), dtype=error.dtype, device=error.device
        )
        known = jacobian.T @ torch.linalg.solve(error, jacobian)
        return torch.linalg.inv(known + parameters.precision()).to(torch.float32)


def least_error(one: FittedFold) -> float:
    """Return the error of the flow, px, that the fit of a fold is not without."""
    return (FLOORS[0] if one.uniform else FLOORS[1]) * _inflation(one)


def _inflation(one: FittedFold) -> float:
    """Return the factor on the spread that what a fit left unexplained asks for."""
    if one.misfit is None:
        return 1.0
    return min(max(one.misfit / _USUAL_MISFIT, _INFLATIONS[0]), _INFLATIONS[1])


def _doubt(one: FittedFold) -> float:
    """Return the chance that a flexible law is right where the simple one was chosen."""
    if one.lead is None:
        return _DOUBT
    return (1 + math.tanh((one.lead - _EVEN) / (2 * _BLUR))) / 2


def filling_confidence(neighbours: Sequence[Features]) -> Tensor:
    """Return how well tissue made up from the neighbours should correlate with the true tissue.

    What two neighbours share, the slice between them shares with both; with a
    single neighbour nothing is known and a usual value stands everywhere.

    Parameters
    ----------
    neighbours : sequence of Features
        One or two, moved to where the slice lies.

    Returns
    -------
    Tensor, (Y / pool, X / pool)
        In [0, 1].
    """
    if len(neighbours) < 2:
        return torch.full_like(neighbours[0].values, _USUAL_FILLING)
    first, second = neighbours
    known = first.known * second.known

    def local(values: Tensor) -> Tensor:
        return gaussian((values * known)[None, None], _LOCAL / first.pool)[0, 0]

    spreads = (local(first.values**2) * local(second.values**2)).clamp_min(1e-6).sqrt()
    alike = (local(first.values * second.values) / spreads).clamp(0, 1)
    # The correlation of neighbours two slices apart is taken as the square of that of adjacent
    # ones, and the mean of two is better than either.
    return (2 * alike / (1 + alike)).sqrt()
