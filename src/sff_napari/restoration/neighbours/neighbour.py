"""Describe a neighbouring slice as it is used, with the contrast of the damaged one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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


def load(
    name: str,
    unit: NDArray[np.float32],
    device: torch.device,
    empty: NDArray[np.bool_] | None = None,
) -> Neighbour:
    """Return a neighbour (Y, X) given in working values; NaN and what is `empty` is not known."""
    image = torch.from_numpy(unit).to(device)
    known = torch.isfinite(image)
    if empty is not None:
        known &= ~torch.from_numpy(empty).to(device)
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
