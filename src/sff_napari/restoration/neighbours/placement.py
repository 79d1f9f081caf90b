"""Bring both neighbours to their middle, and guess where the slice lies.

The displacement between the two neighbours is seen without any fold.  Where the
slice lies against their middle is not decided here: that is a parameter of the
fit, and only the place where its search begins is told.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sff_napari.alignment.drift_fields import global_shift
from sff_napari.alignment.features import Features
from sff_napari.folds import Curve, Fold
from sff_napari.restoration.neighbours.neighbour import Neighbour
from sff_napari.restoration.neighbours.slice_offset import shift_of_slice

_TOLERATED = 5.0
"""Shift between the two neighbours, px, that is left to the finer steps."""
_LEAST_SCORE = 0.08
"""Correlation of the neighbours below which their displacement is not believed."""
_LEAST_GAIN = 0.015
"""Correlation that a shift of the slice must gain for the search to begin there."""
_CHANCE, _GRAIN = 2.0, 8.0
"""The same in units of what chance gives, with one independent look for each square of so many
px: small slices fit anywhere a little."""
_ACROSS = 14.0
"""Shift across the line, px, up to which the search of a law stands in for it."""
_POOLS = ((640, 4), (8192, 8), (1 << 30, 16))
"""Pixels a side averaged into one, by the side of the slice up to which it is used."""


def brought_together(neighbours: list[Neighbour]) -> list[Neighbour]:
    """Return two neighbours that lie far apart moved by whole pixels, each half way.

    Parameters
    ----------
    neighbours : list of Neighbour
        One or two.
    """
    if len(neighbours) < 2:
        return neighbours
    first, second = neighbours
    pool = pool_of((first.image.shape[0], first.image.shape[1]))
    if min(first.image.shape) < 32 * pool:
        return neighbours
    features = [Features.of(one.image, one.known, pool) for one in neighbours]
    between, score = global_shift(features[0], features[1])
    # If they tell nothing of each other, a wrong guess would spoil both.
    if score < _LEAST_SCORE or float(between.norm()) <= _TOLERATED:
        return neighbours
    half = -(between / 2).round()
    return [moved_by(first, half), moved_by(second, half + between.round())]


def distance_between(neighbours: list[Neighbour]) -> float:
    """Return how far apart two neighbours lay that were brought together, px; 0 for one."""
    if len(neighbours) < 2:
        return 0.0
    return math.dist(neighbours[0].shift, neighbours[1].shift)


def start_offset(
    neighbours: list[Neighbour], damaged: Tensor, known: Tensor, folds: list[Fold]
) -> Tensor:
    """Return where the search for the slice begins against its neighbours, (dy, dx) in px.

    Along the line a shift is seen at once, as a fold moves nothing along it.  Across
    the line a law stands in for a shift, unless that is large.

    Parameters
    ----------
    neighbours : list of Neighbour
        One or two, brought together.
    damaged, known : Tensor, (Y, X)
        The damaged slice and where it shows tissue.
    folds : list of Fold
        The longest tells the sides apart.
    """
    nothing = torch.zeros(2)
    pool = pool_of((damaged.shape[0], damaged.shape[1]))
    if min(damaged.shape) < 32 * pool:
        return nothing
    features = [Features.of(one.image, one.known, pool) for one in neighbours]
    longest = max(folds, key=lambda fold: Curve.of(fold, "cpu").length)
    scores = shift_of_slice(Features.of(damaged, known, pool), features, longest)
    shift, score = scores.best()
    looks = float(known.sum()) / _GRAIN**2
    least = max(_LEAST_GAIN, _CHANCE / math.sqrt(max(looks, 1.0)))
    if score - scores.at((0.0, 0.0)) <= least:
        return nothing
    found = torch.tensor(shift)
    curve = Curve.of(longest, "cpu")
    tangent = curve.at(torch.tensor([0.0, curve.length]))[0].diff(dim=1)[:, 0]
    tangent = tangent / tangent.norm()
    along = (found @ tangent) * tangent
    place = (float(along[0]), float(along[1]))
    if float((found - along).norm()) <= _ACROSS:
        return along
    return found if score - scores.at(place, _ACROSS) > least else along


def pool_of(shape: tuple[int, int]) -> int:
    """Return the pixels a side averaged into one where whole slices (Y, X) are compared."""
    return next(pool for side, pool in _POOLS if max(shape) <= side)


def moved_by(neighbour: Neighbour, vector: Tensor) -> Neighbour:
    """Return the neighbour read at x + vector, rounded to whole pixels."""
    dy, dx = (round(float(v)) for v in vector)
    return replace(
        neighbour,
        image=_shifted(neighbour.image, dy, dx, 0.5),
        known=_shifted(neighbour.known, dy, dx, False),
        shift=(dy, dx),
    )


def _shifted(image: Tensor, dy: int, dx: int, fill: float | bool) -> Tensor:
    height, width = image.shape
    pads = (max(-dx, 0), max(dx, 0), max(-dy, 0), max(dy, 0))
    padded = (
        F.pad(image, pads, value=float(fill))
        if image.dtype != torch.bool
        else (F.pad(image.to(torch.uint8), pads, value=int(fill)).to(torch.bool))
    )
    top, left = max(dy, 0), max(dx, 0)
    return padded[top : top + height, left : left + width]
