"""What a reconstruction returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tomogram:
    """A reconstructed volume and how well it explains the images.

    Parameters
    ----------
    volume : ndarray, (Z, Y, X) float32
        Density a voxel: attenuation of a bright field, grey of a dark one in units of the
        series' brightest part.
    projections : ndarray, (T, Y, X) float32
        The images that the volume foretells, in grey values of the series.
    residuals : ndarray, (T, Y, X) float32
        Measured minus foretold.
    held_out : float or None
        PSNR in dB of tilts foretold without having been used, after the best
        gain and offset; None where it was not measured.
    report : dict
        How it was made, plain JSON types.

    See Also
    --------
    sff_napari.reconstruct : Makes it.

    Examples
    --------
    >>> import sff_napari as sff
    >>> from sff_napari.tilt_series import make_phantom, simulate_tilts
    >>> made = simulate_tilts(make_phantom((16, 32, 32), seed=1))
    >>> tomogram = sff.reconstruct(made.noisy, made.tilts, thickness=16, method="wbp")
    >>> tomogram.volume.shape, tomogram.residuals.shape == made.noisy.shape
    ((16, 32, 32), True)
    """

    volume: NDArray[np.float32]
    projections: NDArray[np.float32]
    residuals: NDArray[np.float32]
    held_out: float | None
    report: dict[str, Any] = field(default_factory=dict)
