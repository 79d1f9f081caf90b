"""Bring the full-resolution neighbours onto a low-magnification slice, from place to place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sff_napari.low_magnification.resampling import (
    back_project,
    band_of_low,
    enlarge_cubic,
    reduce_area,
    reduced_to,
)
from sff_napari.warp import warp

_PATCH, _PATCH_STRIDE = 8, 3
"""Of the optical flow, px of the grid it is found on.  Chosen on slices that are trained on."""
_SPREAD_OF_8_BIT = 50.0
_LARGEST_SIDE = 2048

Grey = NDArray[np.float32]


@dataclass(frozen=True)
class Aligned:
    """A low slice and its neighbours as the methods take them, all (1, 1, Y, X) in the frame.

    Grey values have mean 0 and spread 1 in the low slice.

    Parameters
    ----------
    low : Tensor, (1, 1, y, x)
        The low slice.
    factor : int
        Pixels of the frame along the side of one of it.
    base : Tensor
        The low slice enlarged: cubic with back-projection.
    neighbours : tuple of Tensor
        The two neighbours brought onto it, with its brightness and contrast; one twice
        if there is no other; none if there is none.
    level, spread : float
        Mean and spread of the low slice, in the grey values given.
    """

    low: Tensor
    factor: int
    base: Tensor
    neighbours: tuple[Tensor, ...]
    level: float
    spread: float

    def mean(self) -> Tensor:
        """Return the mean of the aligned neighbours."""
        return sum(self.neighbours, torch.zeros_like(self.base)) / len(self.neighbours)

    def mean_with_low(self) -> Tensor:
        """Return the mean of the aligned neighbours with its low band replaced."""
        return back_project(self.mean(), self.low, self.factor)

    def disagreement(self) -> Tensor:
        """Return how far the neighbours, reduced, lie from the low slice, (1, 1, y, x)."""
        apart = [(reduce_area(one, self.factor) - self.low).abs() for one in self.neighbours]
        return sum(apart, torch.zeros_like(self.low)) / len(apart)

    def to_grey(self, image: Tensor) -> Grey:
        """Return working values (1, 1, Y, X) as the grey values given, (Y, X)."""
        return (image[0, 0].float() * self.spread + self.level).cpu().numpy()


def align(low: Grey, neighbours: Sequence[Grey], factor: int) -> Aligned:
    """Return a low slice with its neighbours brought onto it by optical flow.

    Parameters
    ----------
    low : ndarray, (y, x) float32
        The low slice, NaN-free.
    neighbours : sequence of ndarray, (y factor, x factor) float32
        At most two, NaN-free, in the frame.
    factor : int
        Pixels of the frame along the side of one of the low slice.

    Notes
    -----
    Both are compared as far as the low slice can show them, at two samples a pixel of
    it: dense inverse search (Kroeger et al., 2016) with variational refinement.
    """
    level, spread = level_and_spread(low)
    small = torch.from_numpy((low - level) / spread)[None, None].float()
    base = back_project(enlarge_cubic(small, factor), small, factor)
    target, _ = _for_flow(base, factor)
    brought = []
    for neighbour in neighbours:
        image = torch.from_numpy(neighbour)[None, None].float()
        image = with_contrast_of(image, small, factor)
        moving, step = _for_flow(band_of_low(image, factor), factor)
        flow = F.interpolate(
            optical_flow(target, moving) * step,
            size=base.shape[-2:],
            mode="bicubic",
            align_corners=False,
        )
        # A second look at the contrast, now that the same tissue lies at the same place.
        moved = warp(image, flow, "bicubic", "reflection")
        brought.append(with_contrast_of(moved, small, factor))
    if len(brought) == 1:
        brought *= 2
    return Aligned(small, factor, base, tuple(brought), level, spread)


def level_and_spread(low: Grey) -> tuple[float, float]:
    """Return the mean of a low slice and its spread, which is above zero."""
    spread = float(low.std(dtype=np.float64))
    level = float(low.mean(dtype=np.float64))
    return level, spread if spread > 1e-6 * max(1.0, abs(level)) else 1.0


def with_contrast_of(image: Tensor, low: Tensor, factor: int) -> Tensor:
    """Return a slice (1, 1, Y, X) whose means have the mean and spread of `low`."""
    own = reduce_area(image, factor)
    gain = float(low.std()) / max(float(own.std()), 1e-6)
    return (image - own.mean()) * min(max(gain, 0.1), 1e6) + low.mean()


def _for_flow(image: Tensor, factor: int) -> tuple[Tensor, int]:
    """Return a slice at about two samples a pixel of the low one, and by how much reduced."""
    side = max(32, 2 * math.ceil(max(image.shape[-2:]) / factor))
    return reduced_to(image, min(side, _LARGEST_SIDE))


def optical_flow(fixed: Tensor, moving: Tensor) -> Tensor:
    """Return where `fixed` is found in `moving`, (1, 2, Y, X) as (dy, dx) in px."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setPatchSize(_PATCH)
    search.setPatchStride(_PATCH_STRIDE)
    search.setFinestScale(0)
    grey = [
        np.clip(image[0, 0].numpy() * _SPREAD_OF_8_BIT + 128, 0, 255).astype(np.uint8)
        for image in (fixed, moving)
    ]
    if min(grey[0].shape) < 4 * _PATCH:
        return torch.zeros((1, 2, *grey[0].shape))
    found = search.calc(grey[0], grey[1], None)
    return torch.from_numpy(np.ascontiguousarray(found[..., ::-1].transpose(2, 0, 1)))[None]
