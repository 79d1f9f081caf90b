"""Estimate how thick the volume must be to hold all that the series shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage

from sff_napari.progress import Reporter
from sff_napari.tilt_series.image_model import Contrast
from sff_napari.tilt_series.problem import set_up, with_noise
from sff_napari.tilt_series.series import TiltSeries

_WIDTH = 64
_PRESENT = 0.2
"""Share of the fullest slice's spread from which on a slice is taken to hold something."""


def binned(series: TiltSeries, factor: int) -> TiltSeries:
    """Return the series with blocks of `factor` x `factor` pixels averaged."""
    if factor <= 1:
        return series
    count, height, width = series.images.shape
    height, width = height // factor * factor, width // factor * factor
    blocks = series.images[:, :height, :width].reshape(
        count, height // factor, factor, width // factor, factor
    )
    return replace(series, images=np.ascontiguousarray(blocks.mean((2, 4), dtype=np.float32)))


def estimate_thickness(series: TiltSeries, contrast: Contrast) -> int:
    """Return a number of slices that holds the object.

    A small, rough reconstruction is as thick as the images are wide; its
    slices tell where the object ends, and a fifteenth is added on both sides.
    """
    height = series.images.shape[1]
    factor = max(1, height // _WIDTH)
    small = binned(series, factor)
    full = small.images.shape[1]
    problem = set_up(small, contrast, full, None, torch.device("cpu"))
    _, volume = with_noise(problem, Reporter())
    middle = volume[:, full // 8 : -(full // 8) or None].numpy()
    profile = ndimage.gaussian_filter1d(middle.reshape(full, -1).std(1), 1.0)
    present = np.flatnonzero(profile > _PRESENT * profile.max())
    if not len(present):
        return height
    centre = (full - 1) / 2
    # The volume is centred on the tilt axis: the farther end counts.
    half = max(centre - present[0], present[-1] - centre) + 0.5
    return int(np.clip(np.ceil(2 * half * 1.15) * factor, 4, height))
