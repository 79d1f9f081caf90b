"""The free parameters of a fitted law as one vector, what they do, and what is usual."""

from __future__ import annotations

import threading

import torch
from torch import Tensor
from torch.func import jacfwd

from sff_napari.restoration.lawfit import SideFit, fall, keep_in_bounds, spline_matrix
from sff_napari.restoration.unfolding import FittedFold

_BEND, _DECAY, _TAIL = 0.15, 0.6, 0.35
"""Spread over folds: bends of the displacement along the line, as a share of it; logarithm of the
decay; tail."""
_GAP = 40.0
"""Spread of the displacement next to the line, px."""
_ANY_DECAY = 1.5
"""Spread of the logarithm of the decay of the paper's law."""
_one_at_a_time = threading.Lock()
"""Forward derivatives share a state of the process: two threads at once spoil each other's."""


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
        parts = []
        for fit in one.fits[: 1 if self.uniform else 2]:
            gap = fit.gap.mean()[None] if self.uniform else fit.gap
            decay = fit.log_decay.mean()[None]
            tail = fit.tail.new_empty(0) if self.uniform else fit.tail[None]
            parts += [gap, decay, tail]
        self.start = torch.cat(parts)

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

    def jacobian(self, one: FittedFold, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the derivative of the displacement along the normal, by the parameters.

        Parameters
        ----------
        one : FittedFold
            The fold.
        places : Tensor, (2, N)
            Points of the restored slice, px.

        Returns
        -------
        jacobian : Tensor, (N, P)
            Zero where the tissue is hidden.
        seen : Tensor, (N,) bool
            Where it is not.
        decay : Tensor, (N,)
            Of the displacement, per px.
        """
        law, curve = one.law, one.curve
        here = curve.project(places)
        seen = ~law.is_hidden(here.along, here.distance)
        away = here.distance.abs() - law.shift(here.along, here.distance)
        beyond = (away - law.half_width(here.along)).clamp_min(0)
        basis = spline_matrix(here.along.clamp(0, curve.length), curve.length, self.count)
        positive = here.distance > 0

        def displacement(vector: Tensor) -> Tensor:
            sides = [
                sign * fall((basis @ gap).clamp_min(0.05), torch.exp(decay), tail, beyond)
                for sign, (gap, decay, tail) in zip((-1, 1), self.sides(vector), strict=True)
            ]
            return torch.where(positive, sides[1], sides[0])

        with _one_at_a_time:
            jacobian = jacfwd(displacement)(self.start)
        # Beyond an end inside the slice the law fades, and so does its error.
        faded = (law.shift(here.along, here.distance) > 0) | (jacobian.abs().amax(1) > 0)
        decays = [torch.exp(side[1]) for side in self.sides(self.start)]
        decay = torch.where(positive, decays[1], decays[0])
        moved = law.shift(here.along, here.distance) > 1e-3
        return jacobian * (seen & faded)[:, None], seen, decay * moved

    def precision(self) -> Tensor:
        """Return the inverse of the prior's covariance, (P, P) float64."""
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
