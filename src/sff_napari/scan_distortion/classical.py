"""Restore a scan without networks: Gaussian, median, alignment of rows."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from sff_napari.scan_distortion.displacement import (
    RowShifts,
    estimate_row_shifts,
    inverse_displacement,
)
from sff_napari.scan_distortion.noise import noise_deviation
from sff_napari.scan_distortion.simulation import sample

Image = NDArray[np.float32]

_WIDTHS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)


def gaussian(image: Image, sigma: float | None = None) -> Image:
    """Return an image (Y, X) blurred; by the width that should fit its noise where not given.

    That width has the least estimate of risk after Stein (1981): the squared difference
    from the measured image, plus what the blur keeps of the noise.
    """
    return cv2.GaussianBlur(image, (0, 0), best_width(image) if sigma is None else sigma)


def best_width(image: Image) -> float:
    """Return the standard deviation, px, of the Gaussian that should fit an image's noise."""
    variance = noise_deviation(image) ** 2
    risks = []
    for sigma in _WIDTHS:
        blurred = cv2.GaussianBlur(image, (0, 0), sigma)
        reach = int(4 * sigma + 0.5)
        line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        middle = float((line.max() / line.sum()) ** 2)
        risks.append(float(((blurred - image) ** 2).mean()) + 2 * variance * middle)
    return _WIDTHS[int(np.argmin(risks))]


def median(image: Image) -> Image:
    """Return an image (Y, X) of medians of 5 x 5 pixels."""
    return np.asarray(cv2.medianBlur(np.ascontiguousarray(image, np.float32), 5))


def aligned_rows(image: Image) -> tuple[Image, RowShifts]:
    """Return an image (Y, X) whose rows are moved to fit those around them, and blurred."""
    width = max(0.7, best_width(image) / 2)
    blur = partial(cv2.GaussianBlur, ksize=(0, 0), sigmaX=width, sigmaY=2.0)
    shifts = estimate_row_shifts(image, blur(image), restore=blur)
    moved = sample(image, inverse_displacement(shifts.field(image.shape[1])))
    return gaussian(moved), shifts
