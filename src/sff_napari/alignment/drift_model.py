"""Model where a slice lies against its neighbours: a smooth random field of known strength.

Tissue moves from slice to slice, and this drift adds to what a fold did.  It is
smooth, the fold's displacement follows the fold's law, and both are fitted
together; only the law is undone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

_WAVE = 1024.0
"""Side, px, that the wave numbers below refer to."""
FINEST = 4.0
"""Half waves per `_WAVE` pixels up to which the drift is returned as a field."""
_MOST = 8
"""Half waves a side at most, however large the slice."""
_FINEST_NOISE, _MOST_NOISE = 12.0, 24
"""The same for the drift that disturbs a fit."""
_VARIANCE = 0.8
_FALL = 2.5
"""Variance of one half wave per `_WAVE` px, px^2, and the power with which it falls."""
_AT_AN_END = 0.3
"""How often a slice lies no nearer to the middle of its neighbours than to one of them."""
_SHORT_REACH = 40.0
"""Distance, px, over which windows share errors of matching: they overlap."""


@dataclass(frozen=True)
class DriftPrior:
    """What is known of a slice's drift against the middle of its neighbours.

    Parameters
    ----------
    level : float
        Likeliest strength of the smooth part, as a factor on the usual variances.
    level_spread : float
        Factor within which the strength lies; the slice itself tells the rest.
    offsets : tuple of (variance, share)
        The offset of the whole slice as a mixture: variances, px^2, and how
        often each holds.
    place : (dy, dx)
        Offset that is expected, px.
    """

    level: float = 0.4
    level_spread: float = 4.5
    offsets: tuple[tuple[float, float], ...] = ((0.4, 0.35), (3.0, 0.35), (20.0, 0.3))
    place: tuple[float, float] = (0.0, 0.0)

    def between(self, apart: float) -> DriftPrior:
        """Return what is known of a slice whose neighbours lie `apart` px from each other.

        Most such slices lie near the middle; some lie where one of the neighbours does.
        """
        variance = apart**2 / 8
        if variance <= max(variance for variance, _ in self.offsets):
            return self
        kept = tuple((own, (1 - _AT_AN_END) * share) for own, share in self.offsets)
        return replace(self, offsets=(*kept, (variance, _AT_AN_END)))

    def offset_density(self, offset: Tensor) -> float:
        """Return the logarithm of the density of an offset (dy, dx), px, of the whole slice."""
        away = float((offset - offset.new_tensor(self.place)).square().sum())
        parts = [
            share / variance * math.exp(-away / (2 * variance)) for variance, share in self.offsets
        ]
        return math.log(max(sum(parts), 1e-300))


@dataclass(frozen=True)
class DriftStrength:
    """How strongly a slice drifts, and how windows err together.

    Parameters
    ----------
    level : float
        Factor on the usual variances of the smooth part.
    short : float
        Variance of errors of matching that overlapping windows share, px^2.
    """

    level: float = 0.4
    short: float = 1.0


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
        How much the slice drifts: a factor on the usual variances.
    """

    shape: tuple[int, int]
    weights: Tensor
    finest: float = FINEST
    level: float = 1.0

    @classmethod
    def none(
        cls,
        shape: tuple[int, int],
        device: torch.device | str = "cpu",
        finest: float = FINEST,
        most: int = _MOST,
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
        """
        counts = [max(1, min(most, int(finest * side / _WAVE))) + 1 for side in shape]
        return cls(shape, torch.zeros((2, *counts), device=device), finest)

    @property
    def offset(self) -> Tensor:
        """The offset of the whole slice, (2,), px."""
        return self.weights[:, 0, 0]

    def with_offset(self, offset: Tensor) -> SliceDrift:
        """Return the field with another offset (2,), px, of the whole slice."""
        weights = self.weights.clone()
        weights[:, 0, 0] = offset.to(weights)
        return replace(self, weights=weights)

    def spread(self) -> Tensor:
        """Return the usual standard deviation (rows, columns) of each weight over slices, px.

        Measured on clean serial sections; zero for the offset, which has a prior of its
        own, and for waves that are too short to count.
        """
        height, width = self.shape
        rows, columns = self.weights.shape[1:]
        i = torch.arange(rows, device=self.weights.device)[:, None] / height
        j = torch.arange(columns, device=self.weights.device) / width
        waves = _WAVE * torch.hypot(i.expand(rows, columns), j.expand(rows, columns))
        # The slower waves of a small slice stand for a wider band of the spectrum.
        band = _WAVE**2 / (height * width)
        variance = self.level * _VARIANCE * band * waves.clamp_min(1e-6).pow(-_FALL)
        variance[waves > max(self.finest, _WAVE / min(height, width)) + 0.1] = 0.0
        variance[0, 0] = 0.0
        return variance.sqrt()

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

    def at(self, places: Tensor) -> Tensor:
        """Return the field (2, N), px, at places (2, N)."""
        rows, columns = self.cosines(places[0], places[1])
        return torch.einsum("cij,ni,nj->cn", self.weights, rows, columns)

    def on_grid(
        self, shape: tuple[int, int], origin: tuple[float, float] = (0.0, 0.0), step: float = 1.0
    ) -> Tensor:
        """Return the field (2, height, width), in px, on a grid of the slice."""
        device = self.weights.device
        y = origin[0] + step * torch.arange(shape[0], device=device)
        x = origin[1] + step * torch.arange(shape[1], device=device)
        rows, columns = self.cosines(y, x)
        return rows @ self.weights @ columns.T


class DriftCovariance:
    """How the drift of places is correlated, the offset of the whole slice left out.

    Parameters
    ----------
    points : Tensor, (2, N)
        Places, px.
    shape : (height, width)
        Of the slice, px.
    """

    def __init__(self, points: Tensor, shape: tuple[int, int]) -> None:
        field = SliceDrift.none(shape, points.device, _FINEST_NOISE, _MOST_NOISE)
        waves, variance = field.waves(points)
        self.smooth = (waves * variance) @ waves.T
        apart = torch.cdist(points.T.double(), points.T.double())
        self.near = torch.exp(-apart.square() / (2 * _SHORT_REACH**2))

    def of(self, strength: DriftStrength) -> Tensor:
        """Return the covariance (N, N), px^2, of dy and, the same, of dx."""
        return strength.level * self.smooth + strength.short * self.near


def _cosines(places: Tensor, side: int, count: int) -> Tensor:
    waves = torch.arange(count, device=places.device, dtype=places.dtype)
    values = torch.cos(math.pi * (places[:, None] + 0.5) / side * waves)
    values[:, 1:] *= math.sqrt(2)
    return values
