"""Bringing the neighbours to the damaged slice: brightness, contrast, whole-slice shifts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sff_napari.folds import Curve, Fold
from sff_napari.restoration.drift import global_shift
from sff_napari.restoration.matching import Features

_TOLERATED = 5.0
"""Shift between the two neighbours, px, that is left to the finer steps."""
_POOLS = ((1024, 4), (8192, 8), (1 << 30, 16))
"""Pixels a side averaged into one, by the side of the slice up to which it is used."""


@dataclass(frozen=True)
class Neighbour:
    """A neighbouring slice as it is used.

    Parameters
    ----------
    name : {"previous", "following"}
        Which one.
    image : Tensor, (Y, X)
        In [0, 1], brightness and contrast as in the damaged slice; NaN-free.
    known : Tensor, (Y, X) bool
        Where it shows tissue.
    shift : (dy, dx)
        Whole pixels by which it was moved.
    gain, offset : float
        What its grey values were multiplied by, and what was added.
    """

    name: str
    image: Tensor
    known: Tensor
    shift: tuple[int, int] = (0, 0)
    gain: float = 1.0
    offset: float = 0.0


def load(name: str, unit: NDArray[np.float32], device: torch.device) -> Neighbour:
    """Return a neighbour (Y, X) given in working values; NaN is not known."""
    image = torch.from_numpy(unit).to(device)
    known = torch.isfinite(image)
    return Neighbour(name, torch.nan_to_num(image, nan=0.5), known)


def with_contrast_of(neighbour: Neighbour, damaged: Tensor, known: Tensor) -> Neighbour:
    """Return the neighbour with the mean and spread of the damaged slice.

    Parameters
    ----------
    neighbour : Neighbour
        To be adjusted.
    damaged, known : Tensor, (Y, X)
        The damaged slice and where it shows tissue away from the fold.
    """
    if int(known.sum()) < 1000 or int(neighbour.known.sum()) < 1000:
        return neighbour
    mean, spread = _moments(damaged, known)
    own_mean, own_spread = _moments(neighbour.image, neighbour.known)
    gain = min(max(spread / max(own_spread, 1e-4), 0.25), 4.0)
    offset = mean - gain * own_mean
    if abs(gain - 1) < 0.01 and abs(offset) < 0.004:
        return neighbour
    return replace(neighbour, image=neighbour.image * gain + offset, gain=gain, offset=offset)


def _moments(image: Tensor, known: Tensor) -> tuple[float, float]:
    values = image[known]
    return float(values.mean()), float(values.std())


def aligned(
    neighbours: list[Neighbour], damaged: Tensor, known: Tensor, folds: list[Fold]
) -> list[Neighbour]:
    """Return the neighbours, one that lies far off moved back by whole pixels.

    The two neighbours are compared with each other, which no fold disturbs.  If
    they disagree, the one that lies off the damaged slice along the fold line,
    where a fold moves nothing, is moved; if the shift is across the line, the one
    that makes the two sides of the fold less alike.

    Parameters
    ----------
    neighbours : list of Neighbour
        One or two.
    damaged, known : Tensor, (Y, X)
        The damaged slice and where it shows tissue.
    folds : list of Fold
        The first one tells the sides apart.
    """
    pool = next(pool for side, pool in _POOLS if max(damaged.shape) <= side)
    if min(damaged.shape) < 32 * pool:
        return neighbours
    features = [Features.of(one.image, one.known, pool) for one in neighbours]
    between = None
    if len(features) == 2:
        between, score = global_shift(features[0], features[1])
        if float(between.norm()) <= _TOLERATED or score < 0.08:
            return neighbours
    here = Features.of(damaged, known, pool)
    sides = _sides(here, folds[0], damaged.device)
    offences = [_offence(sides, one, folds[0]) for one in features]
    if between is None:
        along, vector = offences[0].along, offences[0].vector
        if abs(along) <= _TOLERATED or offences[0].disagreement > _TOLERATED:
            return neighbours
        return [_moved(neighbours[0], vector)]
    tangential = [abs(offence.along) for offence in offences]
    uneven = [offence.uneven for offence in offences]
    if abs(tangential[0] - tangential[1]) > 3:
        worse = int(tangential[1] > tangential[0])
    else:
        worse = int(uneven[1] > uneven[0])
    # `between` says where the second shows what the first shows at x.
    vector = between if worse == 1 else -between
    result = list(neighbours)
    result[worse] = _moved(neighbours[worse], vector)
    return result


def _sides(here: Features, fold: Fold, device: torch.device) -> list[Features]:
    curve = Curve.of(fold, device)
    shape = (here.values.shape[0], here.values.shape[1])
    origin = (here.pool - 1) / 2
    distance = curve.on_grid(shape, (origin, origin), float(here.pool)).distance
    result = []
    for sign in (-1, 1):
        mask = (distance * sign > 0).to(here.known.dtype)
        result.append(Features(here.values * mask, here.known * mask, here.pool))
    return result


@dataclass(frozen=True)
class _Offence:
    """How a neighbour lies against the two sides of a fold.

    Parameters
    ----------
    along : float
        Shift along the line, px, the mean of both sides.
    disagreement : float
        How much the sides differ in that, px: a shift of the whole slice moves
        both alike.  Infinite if only one side could be compared.
    uneven : float
        How much the sides differ in their shift across the line, px.
    vector : Tensor, (2,)
        The shift along the line as (dy, dx), px.
    """

    along: float
    disagreement: float
    uneven: float
    vector: Tensor


def _offence(sides: list[Features], neighbour: Features, fold: Fold) -> _Offence:
    line = torch.tensor(fold.vertices[-1]) - torch.tensor(fold.vertices[0])
    tangent = line / line.norm()
    normal = torch.stack([tangent[1], -tangent[0]])
    along, across = [], []
    for side, sign in zip(sides, (-1.0, 1.0), strict=True):
        if float(side.known.mean()) < 0.05:
            continue
        shift, _ = global_shift(side, neighbour, least_overlap=0.02, largest=112.0)
        along.append(float(shift @ tangent))
        across.append(float(shift @ normal) * sign)
    if not along:
        return _Offence(0.0, math.inf, 0.0, torch.zeros(2))
    mean = sum(along) / len(along)
    both = len(along) == 2
    return _Offence(
        mean,
        abs(along[0] - along[1]) if both else math.inf,
        abs(across[0] - across[1]) if both else abs(min(across[0], 0.0)),
        mean * tangent,
    )


def _moved(neighbour: Neighbour, vector: Tensor) -> Neighbour:
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
