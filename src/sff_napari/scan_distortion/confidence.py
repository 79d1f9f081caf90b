"""Say how sure each pixel of a restored scan is."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
_REACH = 6.0
"""Standard deviation, px, of the Gaussian over which errors are averaged."""
_FROM_DIFFERENCE = 58.0
"""Squared error over that difference squared: fitted on 16 simulated scans of four specimens."""
_FROM_NOISE = 0.04
"""Squared error over the noise's, of methods that know but one way."""


def expected_error(difference: Image, noise: float) -> Image:
    """Return the error to be expected of each pixel, in the units of the image.

    Parameters
    ----------
    difference : ndarray, (Y, X)
        Half of that between the restored image and that of the slice upside down; 0 for
        methods that do not tell it.
    noise : float
        Standard deviation of the noise.
    """
    local = cv2.GaussianBlur(difference**2, (0, 0), _REACH)
    share = 0.0 if difference.any() else _FROM_NOISE
    return np.asarray(np.sqrt(_FROM_DIFFERENCE * local + share * noise**2), np.float32)


def confidence_of(
    clean: Image, difference: Image, noise: float, known: NDArray[np.bool_]
) -> NDArray[np.float16]:
    """Return confidence in [0, 1]; see `ScanRestoration`."""
    contrast = float(clean[known].std()) if known.any() else 0.0
    error = expected_error(difference, noise)
    sure = contrast**2 / np.maximum(contrast**2 + error**2, 1e-12)
    return np.where(known, sure, 0.0).astype(np.float16)
