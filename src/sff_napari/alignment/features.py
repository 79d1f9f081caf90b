"""Compute what of slices is compared: locally normalised grey values.

Grey values differ between slices (staining, brightness, contrast beside a fold);
the features do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sff_napari.warp import warp

_CONTRAST_REACH = 24.0
"""Radius, in pixels, over which brightness and contrast are normalised away."""


@dataclass(frozen=True)
class Features:
    """What of a slice is compared: locally normalised grey values on a coarser grid.

    Parameters
    ----------
    values : Tensor, (Y / pool, X / pool)
        About zero mean and unit spread everywhere; zero where nothing is known.
    known : Tensor, (Y / pool, X / pool)
        1.0 where the slice shows tissue, else 0.0.
    pool : int
        Pixels a side that were averaged into one.
    """

    values: Tensor
    known: Tensor
    pool: int

    @classmethod
    def of(cls, image: Tensor, known: Tensor, pool: int, blur: float | None = None) -> Features:
        """Return the features of a slice.

        Parameters
        ----------
        image : Tensor, (Y, X)
            Grey values in [0, 1].
        known : Tensor, (Y, X) bool
            Where the slice shows tissue.
        pool : int
            Pixels a side to average into one.
        blur : float, optional
            Gaussian that removes the grain first, in pixels; 0.75 * pool if not given.
        """
        blur = 0.75 * pool if blur is None else blur
        weight = F.avg_pool2d(known.to(image.dtype)[None, None], pool)
        grey = F.avg_pool2d(torch.where(known, image, image.new_zeros(()))[None, None], pool)
        grey = gaussian(grey, blur / pool) / gaussian(weight, blur / pool).clamp_min(1e-3)
        share = _local_mean(weight, pool).clamp_min(1e-3)
        mean = _local_mean(grey * weight, pool) / share
        spread = (_local_mean((grey - mean).square() * weight, pool) / share).sqrt()
        values = ((grey - mean) / (spread + 0.02)).clamp(-3, 3)
        seen = weight > 0.5
        return cls((values * seen)[0, 0], seen.to(image.dtype)[0, 0], pool)

    def moved(self, offset: Tensor) -> Features:
        """Return the features read at ``x + offset(x)``; `offset` (2, Y / pool, X / pool) in px."""
        if not bool(offset.any()):
            return self
        offset = offset[None] / self.pool
        values = warp(self.values[None, None], offset, "bicubic", "zeros")[0, 0]
        seen = (warp(self.known[None, None], offset, "bilinear", "zeros")[0, 0] > 0.9).to(values)
        return Features(values * seen, seen, self.pool)

    def stacked(self) -> Tensor:
        """Return values and known as one tensor (1, 2, Y / pool, X / pool)."""
        return torch.stack([self.values, self.known])[None]


def gaussian(image: Tensor, sigma: float) -> Tensor:
    """Return `image` (B, 1, Y, X) blurred by a Gaussian of `sigma` pixels."""
    radius = max(1, math.ceil(2.5 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (offsets / max(sigma, 1e-3)).square())
    kernel = kernel / kernel.sum()
    # Reflection needs a side longer than the radius; replication serves the rest.
    mode = "reflect" if radius < min(image.shape[-2:]) else "replicate"
    image = F.conv2d(F.pad(image, (radius, radius, 0, 0), mode=mode), kernel.view(1, 1, 1, -1))
    return F.conv2d(F.pad(image, (0, 0, radius, radius), mode=mode), kernel.view(1, 1, -1, 1))


def _local_mean(image: Tensor, pool: int) -> Tensor:
    """Return the mean over the contrast reach, computed on a coarser grid for speed."""
    coarse = max(1, 8 // pool)
    small = F.avg_pool2d(image, coarse, ceil_mode=True, count_include_pad=False)
    small = gaussian(small, _CONTRAST_REACH / (pool * coarse))
    return F.interpolate(small, size=image.shape[-2:], mode="bilinear", align_corners=False)
