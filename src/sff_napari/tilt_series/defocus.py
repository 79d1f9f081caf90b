"""Blur by defocus, which grows with the tilt and the distance from the tilt axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


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
    """The blur of every image of a series: Gaussians whose width goes with tilt and line.

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
        widths = np.maximum(defocus_widths(tilts, width, largest), 1e-3)
        # Across the axis a matrix for each image, with as much outside as a kernel reaches.
        reach = int(np.ceil(4 * largest)) + 1
        offsets = np.arange(-reach, reach + 1)
        total = np.exp(-0.5 * (offsets / widths[:, :, None]) ** 2).sum(-1)
        distance = np.subtract.outer(np.arange(width), np.arange(width))
        across = np.exp(-0.5 * (distance / widths[:, :, None]) ** 2) / total[:, :, None]
        self._across = torch.tensor(across, dtype=torch.float32)
        self._widths = torch.tensor(widths, dtype=torch.float32)

    def to(self, device: torch.device) -> DefocusBlur:
        """Return the same blur on a device."""
        self._across, self._widths = self._across.to(device), self._widths.to(device)
        return self

    def __call__(self, images: torch.Tensor, tilts: torch.Tensor | None = None) -> torch.Tensor:
        """Return images (T, Y, X), 0 outside, blurred; `tilts` are their numbers."""
        across = self._across if tilts is None else self._across[tilts]
        widths = self._widths if tilts is None else self._widths[tilts]
        length = images.shape[2]
        padded = length + int(np.ceil(4 * self.largest)) + 1
        frequency = torch.fft.rfftfreq(padded, device=images.device)
        damping = torch.exp(-0.5 * (2 * torch.pi * frequency * widths[:, :, None]) ** 2)
        along = torch.fft.irfft(torch.fft.rfft(images, n=padded) * damping, n=padded)
        return across @ along[:, :, :length]
