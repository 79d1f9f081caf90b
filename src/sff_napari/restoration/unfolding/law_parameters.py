"""The free parameters of a fitted law as one vector, what they do, and what is usual."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sff_napari.folds.law import interpolate
from sff_napari.restoration.unfolding.fitted_fold import FittedFold
from sff_napari.restoration.unfolding.law_search import (
    SideFit,
    fall,
    fall_slopes,
    keep_in_bounds,
    spline_matrix,
)

_BEND, _DECAY, _TAIL = 0.15, 0.6, 0.35
"""Spread over folds: bends of the displacement along the line, as a share of it; logarithm of the
decay; tail."""
_GAP = 40.0
"""Spread of the displacement next to the line, px."""
_ANY_DECAY = 1.5
"""Spread of the logarithm of the decay of the paper's law."""
_USUAL_GAP, _USUAL_DECAY, _USUAL_TAIL = 40.0, 0.04, 0.3
"""Means over folds: displacement next to the line, px; decay, px a px; tail."""
_LEAST = 0.05
"""Displacement, px, that a law is given where it has none, so that it has a shape."""


@dataclass(frozen=True)
class LawPlaces:
    """Points of the unfolded slice, as the parameters of a law see them.

    Each stands for a point of the damaged slice, where the fold that was fitted finds
    its tissue; that point stays when the parameters change.

    Parameters
    ----------
    basis : Tensor, (N, K)
        Splines along the line.
    beyond : Tensor, (N,)
        Distance from the edge of the dark line in the damaged slice, px.
    positive : Tensor, (N,) bool
        On which side.
    taper : Tensor, (N,)
        Share of the displacement that is left near an end inside the slice.
    seen : Tensor, (N,) bool
        Where tissue is not hidden.
    normal : Tensor, (2, N)
        Of the line, in y and x.
    """

    basis: Tensor
    beyond: Tensor
    positive: Tensor
    taper: Tensor
    seen: Tensor
    normal: Tensor

    def where_seen(self) -> LawPlaces:
        """Return those points at which tissue is not hidden."""
        kept = self.seen
        return LawPlaces(
            self.basis[kept],
            self.beyond[kept],
            self.positive[kept],
            self.taper[kept],
            self.seen[kept],
            self.normal[:, kept],
        )


class LawParameters:
    """The free parameters of a fitted law as one vector.

    Displacement coefficients, logarithm of the decay and tail of each side; for
    the paper's law one displacement and one decay.

    Parameters
    ----------
    one : FittedFold
        The fold.
    uniform : bool, optional
        Whether to take the law as the paper's; as it was fitted if not given.
    """

    def __init__(self, one: FittedFold, uniform: bool | None = None) -> None:
        self.uniform = one.uniform if uniform is None else uniform
        self.count = len(one.fits[0].gap)
        self.fits = one.fits
        self.gaps = [max(float(fit.gap.mean()), 2.0) for fit in one.fits]
        self.start = self.vector_of(one.fits)

    def vector_of(self, fits: tuple[SideFit, SideFit]) -> Tensor:
        """Return fits of both sides as a vector of parameters (P,)."""
        parts = []
        for fit in fits[: 1 if self.uniform else 2]:
            gap = fit.gap.mean()[None] if self.uniform else fit.gap
            tail = fit.tail.new_empty(0) if self.uniform else fit.tail[None]
            parts += [gap, fit.log_decay.mean()[None], tail]
        return torch.cat(parts)

    def sides(self, vector: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return gap coefficients, logarithm of the decay and tail of each side."""
        if self.uniform:
            fit = self.fits[0]
            side = (vector[:1].expand(self.count), vector[1], fit.tail)
            return [side, side]
        size = self.count + 2
        return [
            (part[: self.count], part[self.count], part[self.count + 1])
            for part in (vector[:size], vector[size:])
        ]

    def places(self, one: FittedFold, points: Tensor) -> LawPlaces:
        """Return points (2, N) of the slice unfolded by a fold's law, px, as it sees them."""
        law, curve = one.law, one.curve
        here = curve.project(points)
        away = here.distance.abs() - law.shift(here.along, here.distance)
        whole = replace(law, gap=torch.ones_like(law.gap)).with_ends(curve, one.drift.shape)
        return LawPlaces(
            spline_matrix(here.along.clamp(0, curve.length), curve.length, self.count),
            (away - law.half_width(here.along)).clamp_min(0),
            here.distance > 0,
            interpolate(whole.knots, whole.gap[0], here.along),
            ~law.is_hidden(here.along, here.distance),
            here.normal,
        )

    def displacement(self, vector: Tensor, places: LawPlaces) -> Tensor:
        """Return the displacement (N,) along the normal, px, that parameters stand for."""
        sides = []
        for gap, decay, tail in self.sides(vector):
            left = (places.taper * (places.basis @ gap)).clamp_min(_LEAST)
            sides.append(fall(left, torch.exp(decay), tail, places.beyond))
        return torch.where(places.positive, sides[1], -sides[0])

    def slopes(self, vector: Tensor, places: LawPlaces) -> Tensor:
        """Return the derivative (N, P) of the displacement by the parameters."""
        sides = []
        for sign, (gap, decay, tail) in zip((-1, 1), self.sides(vector), strict=True):
            left = (places.taper * (places.basis @ gap)).clamp_min(_LEAST)
            by_gap, by_decay, by_tail = fall_slopes(left, torch.exp(decay), tail, places.beyond)
            by_gap = by_gap * places.taper * (left > _LEAST)
            here = places.positive if sign > 0 else ~places.positive
            gaps = by_gap[:, None] * places.basis
            if self.uniform:
                parts = [gaps.sum(1, keepdim=True), by_decay[:, None]]
            else:
                parts = [gaps, by_decay[:, None], by_tail[:, None]]
            sides.append(torch.cat(parts, dim=1) * (sign * here)[:, None])
        return sides[0] + sides[1] if self.uniform else torch.cat(sides, dim=1)

    def jacobian(self, one: FittedFold, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the derivative of the displacement along the normal, by the parameters.

        Parameters
        ----------
        one : FittedFold
            The fold.
        points : Tensor, (2, N)
            In the restored slice, px.

        Returns
        -------
        jacobian : Tensor, (N, P)
            Zero where the tissue is hidden.
        seen : Tensor, (N,) bool
            Where it is not.
        decay : Tensor, (N,)
            Of the displacement, per px.
        """
        places = self.places(one, points)
        slopes = self.slopes(self.start, places)
        decays = [torch.exp(side[1]) for side in self.sides(self.start)]
        decay = torch.where(places.positive, decays[1], decays[0])
        moved = self.displacement(self.start, places).abs() > 1e-3
        return slopes * (places.seen & (places.taper > 0))[:, None], places.seen, decay * moved

    def usual(self) -> Tensor:
        """Return the mean of the parameters over folds, (P,) float64."""
        gap, decay = [_USUAL_GAP], [math.log(_USUAL_DECAY)]
        side = gap + decay if self.uniform else gap * self.count + decay + [_USUAL_TAIL]
        both = side if self.uniform else side * 2
        return torch.tensor(both, dtype=torch.float64, device=self.start.device)

    def precision(self) -> Tensor:
        """Return the inverse of the covariance of the parameters over folds, (P, P) float64."""
        blocks = []
        for gap in self.gaps[: 1 if self.uniform else 2]:
            if self.uniform:
                blocks.append(torch.diag(torch.tensor([_GAP**-2, _ANY_DECAY**-2])))
                continue
            bends = torch.zeros(self.count - 2, self.count)
            for row in range(self.count - 2):
                bends[row, row : row + 3] = torch.tensor([1.0, -2.0, 1.0])
            block = torch.zeros(self.count + 2, self.count + 2)
            block[: self.count, : self.count] = bends.T @ bends / (_BEND * gap) ** 2
            block[: self.count, : self.count] += torch.eye(self.count) / _GAP**2
            block[self.count, self.count] = 1 / _DECAY**2
            block[self.count + 1, self.count + 1] = 1 / _TAIL**2
            blocks.append(block)
        return torch.block_diag(*blocks).double().to(self.start.device)

    def fits_at(self, vector: Tensor) -> tuple[SideFit, SideFit]:
        """Return what a vector of parameters stands for, kept to what a fold can do."""
        found = []
        for (gap, decay, tail), fit in zip(self.sides(vector), self.fits, strict=True):
            one = SideFit(gap.clone(), decay.expand(2).clone(), tail.clone(), fit.score)
            keep_in_bounds(one)
            found.append(one)
        return found[0], found[1]
