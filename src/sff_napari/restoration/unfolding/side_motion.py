"""Find a side of a fold that moved as a whole, farther than a fold's law reaches.

Small pieces of a section may float free when it folds.  All of a side then lies turned
and shifted, along the line as well as across it.  The law of the fold moves tissue
across its line only, so such a side is brought back as a whole first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sff_napari.alignment.features import Features
from sff_napari.folds import Curve
from sff_napari.folds.curve import grid_points
from sff_napari.warp import warp

_SIDE = 256
"""Largest side of the grid on which sides are compared as a whole."""
_TURNS = 8
"""Degrees up to which a side may be turned."""
_FARTHEST = 0.3
"""Largest shift, as a share of the longer side of the slice."""
_LEAST_SHARE = 0.05
"""Smallest share of the slice that a side must show to be compared as a whole."""
_LEAST_OVERLAP = 0.4
"""Share of a side that must be compared for a shift to count."""
_LEAST_SCORE = 0.15
"""Correlation at which a side may count as found."""
_BETTER = 2.0
"""How much larger it must be than that of any shift which the law can cause."""
_CHANCE = 6.0
"""How much larger it must be than what chance gives: small sides fit anywhere a little."""
_LAW_REACH = 112.0
_LAW_ASIDE = 8.0
"""Shifts, px, across and along the line that the law and the drift of the slice can cause."""
_LEFT = 24.0
"""How much of the shift across the line is left to the law, px: it moves tissue one way only."""


@dataclass(frozen=True)
class SideMotion:
    """A turn and a shift of one side of a fold.

    Parameters
    ----------
    turn : float
        Angle in radians; positive turns the y axis towards the x axis.
    centre : (y, x)
        What is turned about, px.
    shift : (dy, dx)
        Where the centre goes, px.
    score : float
        Correlation with the neighbours of the side as a whole, brought back.
    """

    turn: float
    centre: tuple[float, float]
    shift: tuple[float, float]
    score: float = 0.0

    def back(self, points: Tensor) -> Tensor:
        """Return where what the slice shows at points (2, ...), px, belongs."""
        return self._turned(points, self.turn, self.centre, self.shift)

    def origin(self, points: Tensor) -> Tensor:
        """Return where in the slice is seen what belongs at points (2, ...), px."""
        neighbours = (self.centre[0] + self.shift[0], self.centre[1] + self.shift[1])
        return self._turned(points, -self.turn, neighbours, (-self.shift[0], -self.shift[1]))

    @staticmethod
    def _turned(
        points: Tensor, turn: float, centre: tuple[float, float], shift: tuple[float, float]
    ) -> Tensor:
        y, x = points[0] - centre[0], points[1] - centre[1]
        c, s = math.cos(turn), math.sin(turn)
        return torch.stack(
            [c * y - s * x + centre[0] + shift[0], s * y + c * x + centre[1] + shift[1]]
        )


Motions = tuple[SideMotion | None, SideMotion | None]
"""Of the sides of negative and positive distance; None where only the law moved tissue."""


def find_motion(
    curve: Curve, damaged: Features, neighbours: Sequence[Features], side: int
) -> SideMotion | None:
    """Return how a side lies as a whole, None if no motion explains it far better than none does.

    Parameters
    ----------
    curve : Curve
        The fold's centre line.
    damaged, neighbours : Features
        The damaged slice and its neighbours, on the same grid.
    side : {-1, 1}
        Side of negative or positive distance.
    """
    factor = math.ceil(max(damaged.values.shape) / _SIDE)
    pool = damaged.pool * factor
    own, known = _reduced(damaged, factor)
    others = [_reduced(one, factor) for one in neighbours]
    shape, first = (own.shape[0], own.shape[1]), (pool - 1) / 2
    place = curve.on_grid(shape, (first, first), float(pool))
    known = known * (place.distance * side > 0)
    if float(known.mean()) < _LEAST_SHARE:
        return None
    outward = side * torch.stack([(place.normal[i] * known).sum() for i in range(2)])
    outward = outward / outward.norm().clamp_min(1e-6)
    points = grid_points(shape, (first, first), float(pool), own.device)
    middle = (points * known).sum(dim=(1, 2)) / known.sum()
    centre = (float(middle[0]), float(middle[1]))
    shifts = _shifts(shape, pool, own.device)
    across = (shifts * outward[:, None, None]).sum(0)
    along = shifts[0] * outward[1] - shifts[1] * outward[0]

    def compared(turn: float) -> Tensor:
        """Return the correlation of the turned side at every shift."""
        motion = SideMotion(turn, centre, (0.0, 0.0))
        flow = (motion.origin(points) - points) / pool
        turned = warp(torch.stack([own * known, known])[None], flow[None], "bilinear", "zeros")[0]
        seen = (turned[1] > 0.9).to(own.dtype)
        every = [_correlation(turned[0] * seen, seen, *one) for one in others]
        return torch.stack(every).mean(0)

    straight = compared(0.0)
    # What the law can do to a side as a whole, with the drift of the slice.
    usual = (along.abs() <= _LAW_ASIDE + pool) & (across <= _LAW_REACH)
    usual &= across >= -_LAW_ASIDE - pool
    base = float(straight[usual].max())
    far = shifts.abs().amax(0) > _FARTHEST * max(shape) * pool
    best = (-1.0, 0.0, 0)
    for degrees in range(-_TURNS, _TURNS + 1):
        turn = math.radians(degrees)
        best = max(best, _best(compared(turn), far, across, turn))
    whole = best[1]
    for degrees in (-1, 1):
        turn = whole + math.radians(degrees / 2)
        best = max(best, _best(compared(turn), far, across, turn))
    score, turn, index = best
    chance = float(straight[straight > -1].std())
    if score < max(_LEAST_SCORE, _BETTER * base, _CHANCE * chance):
        return None
    shift = shifts.flatten(1)[:, index] - _LEFT * outward
    return SideMotion(turn, centre, (float(shift[0]), float(shift[1])), score)


def _best(scores: Tensor, far: Tensor, across: Tensor, turn: float) -> tuple[float, float, int]:
    """Return the best score, the turn, and the index of the shift; undoing goes outward."""
    allowed = scores.masked_fill(far | (across < 0), -1.0)
    index = int(allowed.argmax())
    return float(allowed.flatten()[index]), turn, index


def _reduced(features: Features, factor: int) -> tuple[Tensor, Tensor]:
    """Return values and known (rows, columns), averaged over `factor` pixels a side."""
    both = F.avg_pool2d(features.stacked(), factor, ceil_mode=True, count_include_pad=False)[0]
    known = (both[1] > 0.5).to(both.dtype)
    return both[0] * known, known


def _shifts(shape: tuple[int, int], pool: int, device: torch.device) -> Tensor:
    """Return the shift (2, 2 * rows, 2 * columns), px, of each place of a correlation."""
    rows, columns = (torch.fft.fftfreq(2 * side, device=device) * 2 * side for side in shape)
    return pool * torch.stack(torch.meshgrid(rows, columns, indexing="ij"))


def _correlation(a: Tensor, a_known: Tensor, b: Tensor, b_known: Tensor) -> Tensor:
    """Return how well `a` at x fits `b` at x + shift, at all shifts (2 * rows, 2 * columns)."""
    size = [2 * side for side in a.shape]

    def correlate(left: Tensor, right: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(left, s=size).conj() * torch.fft.rfft2(right, s=size)
        return torch.fft.irfft2(spectrum, s=size)

    b = b * b_known
    norm = correlate(a.square(), b_known) * correlate(a_known, b.square())
    score = correlate(a, b) / norm.clamp_min(1e-3).sqrt()
    overlap = correlate(a_known, b_known)
    return score.masked_fill(overlap < _LEAST_OVERLAP * a_known.sum(), -1.0)


def neighbour_of_sides(curve: Curve, neighbour: Features, motions: Motions) -> Features:
    """Return a neighbour as the two sides of the fold see it, each from where it lies.

    Parameters
    ----------
    curve : Curve
        The fold's centre line.
    neighbour : Features
        The neighbour.
    motions : (SideMotion or None, SideMotion or None)
        Of the two sides.
    """
    shape = (neighbour.values.shape[0], neighbour.values.shape[1])
    first = (neighbour.pool - 1) / 2
    points = grid_points(shape, (first, first), float(neighbour.pool), neighbour.values.device)
    positive = curve.on_grid(shape, (first, first), float(neighbour.pool)).distance > 0
    offset = torch.zeros_like(points)
    for motion, mine in zip(motions, (~positive, positive), strict=True):
        if motion is not None:
            offset = torch.where(mine, motion.back(points) - points, offset)
    return neighbour.moved(offset)
