"""Tell how sure a fit is: the spread of its parameters and of the flow they make, under drift.

The fit of a law gives its parameters with their covariance, and so each pixel of
the flow has a variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sff_napari.alignment.features import Features, gaussian
from sff_napari.folds import Curve
from sff_napari.folds.curve import grid_points
from sff_napari.restoration.unfolding.fitted_fold import FittedFold
from sff_napari.restoration.unfolding.law_parameters import LawParameters, LawPlaces

WITHIN = 1.0
"""Error of the flow, px, that the confidence refers to."""
_AT_ONCE = 65536
"""Places at which the spread of the flow is asked for in one go."""
_USUAL_MISFIT = 0.3
_INFLATIONS = (0.65, 3.0)
"""What fits leave of the shifts of windows where the spreads are right, in units of the expected
variance; smallest and largest factor on the spread where they leave more or less."""
_SCALE = 1.0
"""What the variance of the flow is multiplied by, so that it is right on simulated folds."""
_FLOORS = (0.3, 0.55)
"""Error of the flow, px, that no fit of the paper's law or of a flexible one is without."""
_USUAL_FILLING = 0.5
_LOCAL = 24.0
"""Radius, px, over which neighbours are compared."""


class FlowConfidence:
    """The chance that the flow of a slice is right, pixel by pixel.

    Parameters
    ----------
    fitted : sequence of FittedFold
        The folds of the slice.
    """

    def __init__(self, fitted: Sequence[FittedFold]) -> None:
        self._device = fitted[0].curve.device
        self._floor = max(least_error(one) for one in fitted)
        self._fitted = [one for one in fitted if one.covariance is not None]

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
        for one in self._fitted:
            assert one.covariance is not None
            asked = one if curve is None else replace(one, curve=curve)
            places = LawPlaces.of(asked, points)
            seen = places.seen & (places.taper > 0)
            parameters = LawParameters(len(one.fits[0].gap))
            vector = parameters.vector_of(one.fits).to(points)
            slopes = parameters.slopes(vector, places) * seen[:, None]
            own = ((slopes @ one.covariance.to(points)) * slopes).sum(1).clamp_min(0)
            # An error of the displacement counts for more where the tissue was stretched.
            (_, before, _), (_, after, _) = parameters.sides(vector)
            decay = torch.where(places.positive, after, before)
            moved = parameters.displacement(vector, places).abs() > 1e-3
            own = own / (1 - (decay * moved).clamp(max=0.5)).square()
            variance = variance + _SCALE * _inflation(one) ** 2 * own
        return variance

    def on_grid(
        self, shape: tuple[int, int], origin: tuple[float, float] = (0.0, 0.0), step: float = 1.0
    ) -> Tensor:
        """Return the chance (height, width) that the flow is within one px of the true one."""
        spread = self.spread(shape, origin, step)
        return torch.erf(WITHIN / math.sqrt(2) / spread.clamp_min(1e-3))


def least_error(one: FittedFold) -> float:
    """Return the error of the flow, px, that the fit of a fold is not without."""
    simple, flexible = _FLOORS
    return (flexible + one.uniform_share * (simple - flexible)) * _inflation(one)


def _inflation(one: FittedFold) -> float:
    """Return the factor on the spread that what a fit left unexplained asks for."""
    if one.misfit is None:
        return 1.0
    return min(max(math.sqrt(one.misfit / _USUAL_MISFIT), _INFLATIONS[0]), _INFLATIONS[1])


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
