"""Bringing the neighbours to the damaged slice: brightness, contrast, whole-slice shifts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sff_napari.alignment.drift_fields import global_shift
from sff_napari.alignment.drift_model import USUAL_JITTER
from sff_napari.alignment.features import Features
from sff_napari.folds import Curve, Fold
from sff_napari.restoration.neighbours.slice_offset import shift_of_slice

_TOLERATED = 5.0
"""Shift between the two neighbours, px, that is left to the finer steps."""
_LEAST_SCORE = 0.08
"""Correlation of the neighbours below which their displacement is not believed."""
_LEAST_GAIN = 0.015
"""Correlation that a shift of the slice must gain over none: a fold with unequal sides looks a
little like a shift."""
_POOLS = ((640, 4), (8192, 8), (1 << 30, 16))
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
    """Return the neighbours moved by whole pixels to where the slice lies, if that is far off.

    The displacement between the two neighbours is seen without any fold.  Where the
    slice lies against both is found together with what the fold did to it.

    Parameters
    ----------
    neighbours : list of Neighbour
        One or two.
    damaged, known : Tensor, (Y, X)
        The damaged slice and where it shows tissue.
    folds : list of Fold
        The longest tells the sides apart.
    """
    pool = pool_of((damaged.shape[0], damaged.shape[1]))
    if min(damaged.shape) < 32 * pool:
        return neighbours
    features = [Features.of(one.image, one.known, pool) for one in neighbours]
    between = torch.zeros(2)
    if len(features) == 2:
        found, score = global_shift(features[0], features[1])
        if score < _LEAST_SCORE:
            # They tell nothing of each other, and a wrong guess would spoil both.
            return neighbours
        if float(found.norm()) > _TOLERATED:
            between = found
    here = Features.of(damaged, known, pool)
    longest = max(folds, key=lambda fold: Curve.of(fold, "cpu").length)
    scores = shift_of_slice(here, features, longest, between)
    apart = bool(between.any())
    shift, score = scores.best((-float(between[0]), -float(between[1])))
    gain = score - scores.at((0.0, 0.0), _TOLERATED)
    first = torch.tensor(shift)
    if not apart and (gain <= _LEAST_GAIN or float(first.norm()) <= _TOLERATED):
        return neighbours
    vectors = (first, first + between)
    return [_moved(one, vector) for one, vector in zip(neighbours, vectors, strict=False)]


def usual_jitter(neighbours: list[Neighbour]) -> float:
    """Return the variance to expect of the offset of the slice against its neighbours, px^2.

    Where neighbours had to be moved to each other, slices jitter, and across the fold
    the place of the one between them is known no better than that.
    """
    if len(neighbours) < 2:
        return USUAL_JITTER
    apart = math.dist(neighbours[0].shift, neighbours[1].shift)
    return max(USUAL_JITTER, apart**2 / 8)


def pool_of(shape: tuple[int, int]) -> int:
    """Return the pixels a side averaged into one where whole slices (Y, X) are compared."""
    return next(pool for side, pool in _POOLS if max(shape) <= side)


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
