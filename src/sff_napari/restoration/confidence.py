"""How sure a fit is: the spread of its parameters, and of the flow they make, under drift.

The law is fitted to displacements that the drift of the slice disturbs.  With
the drift's covariance and what is usual for folds as a prior, the parameters
have a posterior covariance, and with it each pixel of the flow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sff_napari.folds.curve import grid_points
from sff_napari.restoration.law_parameters import LawParameters
from sff_napari.restoration.slice_drift import SliceDrift
from sff_napari.restoration.unfolding import FittedFold

WITHIN = 1.0
"""Error of the flow, px, that the confidence refers to."""
_POINTS = 900
"""Places of a slice at which displacements count as observed."""
_FINEST = 12.0
"""Half waves per 1024 px up to which drift disturbs the fit."""
_NOISE = 1.0
"""Error of one observed displacement, px."""
_FLOOR = 0.1
"""Error of the flow, px, that no fit is without."""
_SCALE = 1.0
"""What the spreads are multiplied by, so that they are right on simulated folds."""


class FlowConfidence:
    """The chance that the flow of a slice is right, pixel by pixel.

    Parameters
    ----------
    fitted : sequence of FittedFold
        The folds of the slice.
    shape : (height, width)
        Of the slice, px.
    """

    def __init__(
        self,
        fitted: Sequence[FittedFold],
        shape: tuple[int, int],
    ) -> None:
        self._folds = [(LawParameters(one), one) for one in fitted]
        self._covariances = [self._covariance(*pair, shape) for pair in self._folds]

    def spread(
        self, shape: tuple[int, int], origin: tuple[float, float] = (0.0, 0.0), step: float = 1.0
    ) -> Tensor:
        """Return the standard error (height, width) of the flow on a grid, in px."""
        points = grid_points(shape, origin, step, self._folds[0][1].curve.device)
        places = points.reshape(2, -1)
        variance = torch.zeros(places.shape[1], device=places.device)
        for (parameters, one), covariance in zip(self._folds, self._covariances, strict=True):
            jacobian, _, decay = parameters.jacobian(one, places)
            # An error of the displacement counts for more where the tissue was stretched.
            own = ((jacobian @ covariance) * jacobian).sum(1).clamp_min(0)
            variance = variance + own / (1 - decay.clamp(max=0.5)).square()
        return _SCALE * (variance + _FLOOR**2 * (variance > 1e-6)).sqrt().reshape(shape)

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
        drift = SliceDrift.none(shape, one.curve.device, _FINEST, 24, one.drift.level)
        waves, variance = drift.waves(places[:, seen])
        shared = (waves * variance) @ waves.T
        error = shared * (normal.T @ normal)
        error += (_NOISE**2 * one.drift.level) * torch.eye(
            len(error), dtype=error.dtype, device=error.device
        )
        known = jacobian.T @ torch.linalg.solve(error, jacobian)
        return torch.linalg.inv(known + parameters.precision()).to(torch.float32)
