"""Where a slice lies against its neighbours: a smooth field, told apart from the fold by a prior.

Tissue moves from slice to slice, and this drift adds to what the fold did.  It is
smooth and of known strength, the fold's displacement follows the fold's law, and
both are fitted together; only the law is undone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sff_napari.alignment.drift_fields import DriftField

_WAVE = 1024.0
"""Side, px, that the wave numbers below refer to."""
FINEST = 4.0
"""Half waves per `_WAVE` pixels up to which the drift is modelled."""
_MOST = 8
"""Half waves a side at most, however large the slice."""
USUAL_JITTER = 5.0
"""Variance of the offset of the whole slice, px^2, in a stack that is aligned."""
_VARIANCE = 0.8
_FALL = 2.5
"""Variance of one half wave per `_WAVE` px, px^2, and the power with which it falls."""
_USUAL_MUTUAL = 6.2
"""Spread of the displacement between neighbours, px, where these variances were measured."""
_LEVELS = (0.1, 4.0)


@dataclass(frozen=True)
class SliceDrift:
    """A smooth displacement field as a sum of cosines.

    Parameters
    ----------
    shape : (height, width)
        Of the slice, px.
    weights : Tensor, (2, rows, columns)
        Of the cosines with so many half waves over the height and the width,
        for dy and dx, px; cosines have a mean square of one.
    finest : float
        Half waves per 1024 px up to which cosines count.
    level : float
        How much this stack drifts: a factor on the usual variances.
    jitter : float
        Usual variance of the offset of the whole slice, px^2.
    """

    shape: tuple[int, int]
    weights: Tensor
    finest: float = FINEST
    level: float = 1.0
    jitter: float = USUAL_JITTER

    @classmethod
    def none(
        cls,
        shape: tuple[int, int],
        device: torch.device | str = "cpu",
        finest: float = FINEST,
        most: int = _MOST,
        level: float = 1.0,
        jitter: float = USUAL_JITTER,
    ) -> SliceDrift:
        """Return the field of no drift, with room for all cosines that count.

        Parameters
        ----------
        shape : (height, width)
            Of the slice, px.
        device : torch.device or str
            Where its weights lie.
        finest : float
            Half waves per 1024 px up to which there are cosines.
        most : int
            Half waves a side at most.
        level : float
            How much this stack drifts.
        jitter : float
            Usual variance of the offset of the whole slice, px^2.
        """
        counts = [max(1, min(most, int(finest * side / _WAVE))) + 1 for side in shape]
        return cls(shape, torch.zeros((2, *counts), device=device), finest, level, jitter)

    def spread(self) -> Tensor:
        """Return the standard deviation (rows, columns) of each weight over slices, px.

        Measured on clean serial sections; zero for waves that are too short to count.
        """
        height, width = self.shape
        rows, columns = self.weights.shape[1:]
        i = torch.arange(rows, device=self.weights.device)[:, None] / height
        j = torch.arange(columns, device=self.weights.device) / width
        waves = _WAVE * torch.hypot(i.expand(rows, columns), j.expand(rows, columns))
        # The slower waves of a small slice stand for a wider band of the spectrum.
        band = _WAVE**2 / (height * width)
        variance = _VARIANCE * band * waves.clamp_min(1e-6).pow(-_FALL)
        variance[waves > max(self.finest, _WAVE / min(height, width)) + 0.1] = 0.0
        variance[0, 0] = self.jitter
        return (self.level * variance).sqrt()

    def waves(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return all cosines at places (2, N) as (N, waves), and their usual variances, float64."""
        rows, columns = self.cosines(places[0], places[1])
        variance = self.spread().square().flatten().double()
        values = (rows[:, :, None] * columns[:, None, :]).flatten(1).double()
        return values, variance

    def cosines(self, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cosines (N, rows) and (M, columns) at rows y (N,) and columns x (M,)."""
        height, width = self.shape
        return (
            _cosines(y, height, self.weights.shape[1]),
            _cosines(x, width, self.weights.shape[2]),
        )

    def on_grid(
        self, shape: tuple[int, int], origin: tuple[float, float] = (0.0, 0.0), step: float = 1.0
    ) -> Tensor:
        """Return the field (2, height, width), in px, on a grid of the slice."""
        device = self.weights.device
        y = origin[0] + step * torch.arange(shape[0], device=device)
        x = origin[1] + step * torch.arange(shape[1], device=device)
        rows, columns = self.cosines(y, x)
        return rows @ self.weights @ columns.T


def _cosines(places: Tensor, side: int, count: int) -> Tensor:
    waves = torch.arange(count, device=places.device, dtype=places.dtype)
    values = torch.cos(math.pi * (places[:, None] + 0.5) / side * waves)
    values[:, 1:] *= math.sqrt(2)
    return values


def drift_level(mutual: DriftField | None) -> float:
    """Return how much a stack drifts, as a factor on the usual variances.

    Parameters
    ----------
    mutual : DriftField or None
        From one neighbour to the other, which no fold disturbs.
    """
    if mutual is None or mutual.values.shape[1] * mutual.values.shape[2] < 16:
        return 1.0
    middle = mutual.values.mean(dim=(1, 2), keepdim=True)
    spread = float((mutual.values - middle).square().mean().sqrt())
    return min(max((spread / _USUAL_MUTUAL) ** 2, _LEVELS[0]), _LEVELS[1])
