"""Hold the free parameters of a law as one vector, and what they do at places of the slice."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from sff_napari.folds.law import interpolate
from sff_napari.restoration.unfolding.fitted_fold import FittedFold
from sff_napari.restoration.unfolding.law_search import (
    SideFit,
    bounded,
    fall,
    fall_slopes,
    spline_matrix,
)

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

    @classmethod
    def of(cls, one: FittedFold, points: Tensor) -> LawPlaces:
        """Return points (2, N), px, of the slice unfolded by a fold's law, as the law sees them."""
        law, curve = one.law, one.curve
        at = curve.project(points)
        away = at.distance.abs() - law.shift(at.along, at.distance)
        whole = replace(law, gap=torch.ones_like(law.gap)).with_ends(curve, one.drift.shape)
        count = len(one.fits[0].gap)
        return cls(
            spline_matrix(at.along.clamp(0, curve.length), curve.length, count),
            (away - law.half_width(at.along)).clamp_min(0),
            at.distance > 0,
            interpolate(whole.knots, whole.gap[0], at.along),
            ~law.is_hidden(at.along, at.distance),
            at.normal,
        )

    def where_seen(self) -> LawPlaces:
        """Return those points at which tissue is not hidden, on the CPU, float64."""
        kept = {part.name: getattr(self, part.name) for part in fields(self)}
        for name, values in kept.items():
            values = values[:, self.seen] if name == "normal" else values[self.seen]
            values = values.cpu()
            kept[name] = values.double() if values.is_floating_point() else values
        return LawPlaces(**kept)


class LawParameters:
    """The free parameters of a law as one vector.

    For the side of negative distance the coefficients of the displacement, the
    decay and the tail; then the same for the other side.

    Parameters
    ----------
    count : int
        Coefficients of the displacement of one side.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.size = 2 * (count + 2)

    def vector_of(self, fits: tuple[SideFit, SideFit]) -> Tensor:
        """Return fits of both sides as a vector of parameters, (P,) float64 on the CPU."""
        parts = [torch.cat([fit.gap, fit.decay[None], fit.tail[None]]) for fit in fits]
        return torch.cat(parts).double().cpu()

    def fits_at(self, vector: Tensor) -> tuple[SideFit, SideFit]:
        """Return what a vector of parameters stands for, kept to what a fold can do."""
        first, second = (bounded(*side) for side in self.sides(vector))
        return first, second

    def bounded(self, vector: Tensor) -> Tensor:
        """Return parameters kept to what a fold can do."""
        return self.vector_of(self.fits_at(vector))

    def sides(self, vector: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return gap coefficients, decay and tail of each side."""
        half = self.count + 2
        return [
            (part[: self.count], part[self.count], part[self.count + 1])
            for part in (vector[:half], vector[half:])
        ]

    def displacement(self, vector: Tensor, places: LawPlaces) -> Tensor:
        """Return the displacement (N,) along the normal, px, that parameters stand for."""
        sides = []
        for gap, decay, tail in self.sides(vector):
            left = (places.taper * (places.basis @ gap)).clamp_min(_LEAST)
            sides.append(fall(left, decay, tail, places.beyond))
        return torch.where(places.positive, sides[1], -sides[0])

    def slopes(self, vector: Tensor, places: LawPlaces) -> Tensor:
        """Return the derivative (N, P) of the displacement by the parameters."""
        sides = []
        for sign, (gap, decay, tail) in zip((-1, 1), self.sides(vector), strict=True):
            left = (places.taper * (places.basis @ gap)).clamp_min(_LEAST)
            by_gap, by_decay, by_tail = fall_slopes(left, decay, tail, places.beyond)
            by_gap = by_gap * places.taper * (left > _LEAST)
            own = places.positive if sign > 0 else ~places.positive
            parts = [by_gap[:, None] * places.basis, by_decay[:, None], by_tail[:, None]]
            sides.append(torch.cat(parts, dim=1) * (sign * own)[:, None])
        return torch.cat(sides, dim=1)
