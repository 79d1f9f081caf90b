"""Blur by defocus, which grows with the tilt and the distance from the tilt axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

_STEPS = 7


def defocus_widths(
    tilts: Sequence[float] | NDArray[Any], width: int, largest: float
) -> NDArray[np.float64]:
    """Return the blur of each line of each image, (T, Y), as a standard deviation in pixels.

    It grows with ``|tan(tilt)|`` and with the distance from the tilt axis and
    reaches `largest` at the edge of the most tilted image.
    """
    slope = np.abs(np.tan(np.radians(np.asarray(tilts, float))))
    distance = np.abs(np.arange(width) - (width - 1) / 2)
    steepest, farthest = max(float(slope.max()), 1e-12), max(float(distance.max()), 1e-12)
    return largest * (slope / steepest)[:, None] * (distance / farthest)[None, :]


class DefocusBlur:
    """The blur of every image of a series, between a few fixed Gaussians.

    Parameters
    ----------
    tilts : ndarray, (T,)
        In degrees.
    width : int
        Pixels across the tilt axis.
    largest : float
        Standard deviation in pixels at the edge of the most tilted image.
    """

    def __init__(self, tilts: NDArray[Any], width: int, largest: float) -> None:
        self.largest = float(largest)
        self._levels = np.linspace(0, largest, _STEPS)
        place = defocus_widths(tilts, width, largest) / largest * (_STEPS - 1)
        self._place = torch.tensor(place, dtype=torch.float32)

    def to(self, device: torch.device) -> DefocusBlur:
        """Return the same blur on a device."""
        self._place = self._place.to(device)
        return self

    def __call__(self, images: torch.Tensor, tilts: torch.Tensor | None = None) -> torch.Tensor:
        """Return images (T, Y, X), 0 outside, blurred; `tilts` are their numbers."""
        place = self._place if tilts is None else self._place[tilts]
        total = torch.zeros_like(images)
        for number, level in enumerate(self._levels):
            share = (1 - (place - number).abs()).clamp(min=0)[:, :, None]
            total = total + share * (_gaussian(images, float(level)) if level > 0 else images)
        return total


def _gaussian(images: torch.Tensor, sigma: float) -> torch.Tensor:
    reach = max(1, int(np.ceil(3 * sigma)))
    x = torch.arange(-reach, reach + 1, dtype=torch.float32, device=images.device)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = kernel / kernel.sum()
    stacked = images[:, None]
    stacked = F.conv2d(stacked, kernel[None, None, :, None], padding=(reach, 0))
    return F.conv2d(stacked, kernel[None, None, None, :], padding=(0, reach))[:, 0]
