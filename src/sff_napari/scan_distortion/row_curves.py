"""Compare each row of a scan with rows around it, over displacements along the fast axis."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]

REACH = 8
"""Largest displacement that is looked at, px."""
OFFSETS = np.arange(-REACH, REACH + 0.25, 0.5)
RESTORED_ROWS = (-2, -1, 0, 1, 2)
MEASURED_ROWS = (-2, -1, 1, 2)
CURVES = len(RESTORED_ROWS) + len(MEASURED_ROWS)
CHANNELS = CURVES * OFFSETS.size


def row_curves(image: Image, restored: Image) -> Image:
    """Return the correlations that tell where the rows of a scan were measured.

    Each measured row is compared with the restored rows around it, and with the measured
    ones, over displacements of -8 to 8 px in steps of a half.  Its own restored
    row may have kept some of its noise, the others have not.

    Parameters
    ----------
    image, restored : ndarray, (Y, X)
        The scan along rows, and what is restored of it.

    Returns
    -------
    ndarray, (9 * 33, Y) float32
        Curve after curve.
    """
    measured = _standardised(image)
    doubled = {
        "restored": _doubled(_standardised(restored)),
        "measured": _doubled(measured),
    }
    height, width = image.shape
    out = np.empty((CURVES, OFFSETS.size, height), np.float32)
    rows = np.arange(height)
    curve = 0
    for name, steps in (("restored", RESTORED_ROWS), ("measured", MEASURED_ROWS)):
        source = doubled[name]
        for step in steps:
            # At the first and the last rows those of the other side.
            at = rows + step
            at = np.where((at < 0) | (at >= height), rows - step, at)
            at = np.clip(at, 0, height - 1)
            line = source if step == 0 else source[at]
            for number in range(OFFSETS.size):
                moved = line[:, number : number + 2 * width : 2]
                out[curve, number] = np.einsum("yx,yx->y", measured, moved)
            curve += 1
    # In units of what chance gives: neither width nor contrast matter.
    return out.reshape(CHANNELS, height) / np.float32(np.sqrt(width))


def _standardised(image: Image) -> Image:
    """Return rows without their means, at unit spread of the whole."""
    rows = image - image.mean(axis=1, keepdims=True)
    return np.asarray(rows / max(float(rows.std()), 1e-6), np.float32)


def _doubled(image: Image) -> Image:
    """Return rows at twice the sampling, mirrored `REACH` px beyond both ends."""
    padded = np.pad(image, ((0, 0), (REACH, REACH + 1)), mode="reflect")
    out = np.empty((image.shape[0], 2 * padded.shape[1] - 2), np.float32)
    out[:, ::2] = padded[:, :-1]
    out[:, 1::2] = (padded[:, :-1] + padded[:, 1:]) / 2
    return out
