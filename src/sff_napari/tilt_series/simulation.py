"""Tilt series of a known volume, with the noise of short STEM exposures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sff_napari.errors import InputError
from sff_napari.tilt_series.defocus import DefocusBlur
from sff_napari.tilt_series.image_model import Contrast
from sff_napari.tilt_series.projector import Projector

OPTICAL_DEPTH = 7.0
"""Attenuation of density 1 over half the field of view, as in the paper's code."""

NOISE_PSNR = 15.7
"""Of noisy projections against clean ones, in dB."""

_SKEW_SHAPE = 4.0
"""Shape of the gamma distribution of the noise: its skewness is 2 / sqrt(shape)."""


@dataclass(frozen=True)
class SimulatedSeries:
    """A tilt series with its truth.

    Parameters
    ----------
    noisy, clean : ndarray, (T, Y, X) float32
        Projections in [0, 1].
    tilts : ndarray, (T,)
        In degrees.
    volume : ndarray, (Z, Y, X) float32
        The density that was projected.
    """

    noisy: NDArray[np.float32]
    clean: NDArray[np.float32]
    tilts: NDArray[np.float64]
    volume: NDArray[np.float32]


def clean_projections(
    volume: NDArray[Any], tilts: NDArray[Any], contrast: Contrast = "bright"
) -> NDArray[np.float32]:
    """Return noise-free projections (T, Y, X) in [0, 1] of a volume tilted about X.

    Bright field is ``exp(-7 sum(rho delta))`` with lengths in half fields of view, dark
    field the sum itself; both are stretched over the series to [0, 1].

    Parameters
    ----------
    volume : ndarray, (Z, Y, X)
        Density in [0, 1]; outside it is 0.
    tilts : ndarray, (T,)
        In degrees.
    contrast : {"bright", "dark"}
        Of the detector.
    """
    thickness, width, _ = volume.shape
    projector = Projector(np.asarray(tilts), width, thickness)
    sums = projector.project(torch.from_numpy(np.ascontiguousarray(volume, np.float32))).numpy()
    images = np.exp(-OPTICAL_DEPTH * (2.0 / width) * sums) if contrast == "bright" else sums
    low, high = float(images.min()), float(images.max())
    return ((images - low) / max(high - low, 1e-12)).astype(np.float32)


def add_noise(
    clean: NDArray[np.float32], rng: np.random.Generator, psnr: float = NOISE_PSNR
) -> NDArray[np.float32]:
    """Return images with skewed, signal-dependent noise, clipped to [0, 1].

    The noise is gamma-distributed around 0, its variance grows with the signal,
    and its strength is such that the clipped images have the wanted PSNR.

    Parameters
    ----------
    clean : ndarray
        In [0, 1].
    rng : Generator
        Source of the noise.
    psnr : float
        Of the noisy images against the clean ones, in dB, at a peak of 1.
    """
    unit = (rng.gamma(_SKEW_SHAPE, size=clean.shape) - _SKEW_SHAPE) / np.sqrt(_SKEW_SHAPE)
    unit *= np.sqrt(0.3 + 0.7 * clean)
    wanted = 10 ** (-psnr / 10)
    low, high = 0.0, 4.0
    for _ in range(40):
        scale = (low + high) / 2
        error = float(np.mean((np.clip(clean + scale * unit, 0, 1) - clean) ** 2))
        low, high = (scale, high) if error < wanted else (low, scale)
    return np.clip(clean + low * unit, 0, 1).astype(np.float32)


def blur_by_defocus(
    images: NDArray[np.float32], tilts: NDArray[Any], largest: float, contrast: Contrast = "bright"
) -> NDArray[np.float32]:
    """Return projections (T, Y, X) blurred as `DefocusBlur` does."""
    background = np.float32(1.0 if contrast == "bright" else 0.0)
    blur = DefocusBlur(tilts, images.shape[1], largest)
    return blur(torch.from_numpy(images - background)).numpy() + background


def simulate_tilts(
    volume: NDArray[Any],
    tilts: NDArray[Any] | None = None,
    *,
    contrast: Contrast = "bright",
    noise: float | None = NOISE_PSNR,
    defocus: float = 0.0,
    seed: int = 0,
) -> SimulatedSeries:
    """Return a noisy tilt series of a volume, tilted about X.

    Parameters
    ----------
    volume : ndarray, (Z, Y, X)
        Density in [0, 1], e.g. of `make_phantom`.
    tilts : ndarray, (T,), optional
        In degrees; 41 from -60 to 60 where not given.
    contrast : {"bright", "dark"}
        Of the detector.
    noise : float, optional
        PSNR of the projections in dB; None adds no noise.
    defocus : float
        Blur at the edge of the most tilted image, a standard deviation in pixels.
    seed : int
        Of the noise.

    Returns
    -------
    SimulatedSeries
        Noisy and clean projections in [0, 1] with tilts and volume.

    Raises
    ------
    InputError
        If the volume is not one of finite numbers.

    Examples
    --------
    >>> from sff_napari.tilt_series import make_phantom, simulate_tilts
    >>> simulate_tilts(make_phantom((16, 32, 32))).noisy.shape
    (41, 32, 32)
    """
    volume = np.asarray(volume, np.float32)
    if volume.ndim != 3 or not np.isfinite(volume).all():
        raise InputError("The volume to project needs three axes and finite numbers only.")
    tilts = np.linspace(-60, 60, 41) if tilts is None else np.asarray(tilts, float)
    clean = clean_projections(volume, tilts, contrast)
    seen = blur_by_defocus(clean, tilts, defocus, contrast) if defocus > 0 else clean
    noisy = seen if noise is None else add_noise(seen, np.random.default_rng([seed, 7]), noise)
    return SimulatedSeries(noisy, clean, tilts, volume)
