"""Put a known drift into a slice before it is folded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sff_napari.alignment.drift_model import SliceDrift
from sff_napari.alignment.stack_drift import StackDrift
from sff_napari.arrays import GreyScale
from sff_napari.errors import InputError
from sff_napari.warp import warp

_WAVE = 1024.0
_FINEST = 4.0
"""Half waves per `_WAVE` px up to which the drift varies."""
_FALL = 2.5
"""Power with which the variance of a cosine falls with its wave number."""
_OFFSET = 0.5
"""Share of the mean square that is an offset of the whole slice, where it can vary at all."""
_LARGEST = 100.0


def checked_drift(rms: float) -> float:
    """Return a strength of drift that can be injected.

    Raises
    ------
    InputError
        If it is not a number from 0 to 100 px.
    """
    if not 0 <= rms <= _LARGEST:
        raise InputError(f"A drift of {rms:g} px rms cannot be injected: use 0 to {_LARGEST:g} px.")
    return float(rms)


def random_drift(
    shape: tuple[int, int], rms: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return a random smooth drift of a slice.

    Half of its mean square is an offset of the whole slice, the rest a sum of cosines with up
    to four half waves per 1024 px, whose variance falls with the wave number to the power of
    2.5.

    Parameters
    ----------
    shape : (height, width)
        Of the slice, px.
    rms : float
        Root mean square of the length of the displacement over the slice, px; met exactly.
    rng : Generator
        Source of randomness.

    Returns
    -------
    ndarray, (2, Y, X) float32
        (dy, dx) in px.
    """
    waves = [int(_FINEST * side / _WAVE) for side in shape]
    numbers = [np.arange(most + 1) * _WAVE / side for most, side in zip(waves, shape, strict=True)]
    length = np.hypot(numbers[0][:, None], numbers[1][None])
    length[0, 0] = np.inf
    spread = np.where(length <= _FINEST, length, np.inf) ** (-_FALL / 2)
    weights = rng.normal(size=(2, *spread.shape)) * spread
    bases = [
        np.cos(np.pi * np.arange(most + 1)[:, None] * (np.arange(side) + 0.5) / side)
        for most, side in zip(waves, shape, strict=True)
    ]
    field = np.einsum("crk,ry,kx->cyx", weights, *bases, optimize=True)
    field -= field.mean(axis=(1, 2), keepdims=True)
    varied = float(np.sqrt(np.square(field).sum(axis=0).mean()))
    offset = rng.normal(size=2)
    offset *= rms / max(float(np.hypot(*offset)), 1e-9)
    if varied > 1e-9:
        field *= rms * np.sqrt(1 - _OFFSET) / varied
        offset *= np.sqrt(_OFFSET)
    drift: NDArray[np.float32] = (field + offset[:, None, None]).astype(np.float32)
    return drift


def with_injected(drift: StackDrift, shape: tuple[int, int], rms: float) -> StackDrift:
    """Return how strongly slices drift once a random drift is put into them, too.

    Parameters
    ----------
    drift : StackDrift
        Of the slices by themselves.
    shape : (height, width)
        Of a slice, px.
    rms : float
        Strength of what is put in, px, see `random_drift`.
    """
    usual = float(SliceDrift.none(shape).spread().square().sum())
    varies = max(int(_FINEST * side / _WAVE) for side in shape) > 0 and usual > 0
    # Each of dy and dx has half of the mean square.
    offset = (_OFFSET if varies else 1.0) * rms**2 / 2
    smooth = (1 - _OFFSET) * rms**2 / 2 / usual if varies else 0.0
    return replace(
        drift,
        offset_variance=drift.offset_variance + offset,
        middle_variance=drift.middle_variance + offset,
        level=drift.level + smooth,
    )


def moved(image: NDArray[Any], field: NDArray[np.float32]) -> NDArray[Any]:
    """Return ``image(x + field(x))`` in the dtype of the image; bicubic, reflected at the rims."""
    grey = GreyScale.of(image)
    unit = torch.from_numpy(np.nan_to_num(grey.to_unit(image), nan=0.0))[None, None]
    out = warp(unit, torch.from_numpy(field)[None], "bicubic", "reflection")[0, 0]
    return grey.from_unit(out.clamp(0, 1).numpy())


def shifted(image: NDArray[Any], by: tuple[float, float]) -> NDArray[Any]:
    """Return an image (Y, X) moved by (dy, dx) px: what lay at x lies at x + by."""
    if by == (0.0, 0.0):
        return image
    field = np.empty((2, *image.shape), dtype=np.float32)
    field[0], field[1] = -by[0], -by[1]
    return moved(image, field)
