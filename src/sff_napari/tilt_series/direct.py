"""Weighted back-projection and SIRT: the quick methods, and the baselines."""

from __future__ import annotations

from collections.abc import Callable

import torch

from sff_napari.tilt_series.projector import Projector


def weighted_back_projection(
    projector: Projector, sums: torch.Tensor, cutoff: float = 0.5
) -> torch.Tensor:
    """Return the back-projection of ramp-filtered sums along rays.

    Parameters
    ----------
    projector : Projector
        For the tilts.
    sums : Tensor, (T, Y, X)
        Along the rays.
    cutoff : float
        Where a Hann window ends the filter, as a share of the highest frequency.

    Returns
    -------
    Tensor, (Z, Y, X)
        Density a voxel.
    """
    width = sums.shape[1]
    padded = 2 * width
    frequency = torch.fft.rfftfreq(padded, device=sums.device)
    end = 0.5 * cutoff
    ramp = frequency * (0.5 + 0.5 * torch.cos(torch.pi * frequency / end)) * (frequency <= end)
    # The mean of what is outside the image continues it better than zeros do.
    edge = 0.5 * (sums[:, :1] + sums[:, -1:])
    spectrum = torch.fft.rfft(sums - edge, n=padded, dim=1) * ramp[None, :, None]
    filtered = torch.fft.irfft(spectrum, n=padded, dim=1)[:, :width]
    step = torch.pi / len(projector.tilts)
    return projector.back_project(filtered) * step


def sirt(
    projector: Projector,
    sums: torch.Tensor,
    steps: int,
    watch: Callable[[int, torch.Tensor], bool] | None = None,
    visible: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the simultaneous iterative reconstruction of sums along rays, kept non-negative.

    Parameters
    ----------
    projector : Projector
        For the tilts.
    sums : Tensor, (T, Y, X)
        Along the rays.
    steps : int
        Most steps.
    watch : callable, optional
        Called after each with its number and the volume; True stops.
    visible : Tensor, (T, Y, 1), optional
        1 for rays to use, 0 for others.
    """
    lengths = projector.ray_lengths()
    rows = torch.where(lengths > 0.5, 1 / lengths.clamp(min=0.5), 0.0)
    if visible is not None:
        rows = rows * visible
    seen = projector.back_project(torch.ones_like(lengths) if visible is None else visible)
    columns = torch.where(seen > 1e-2, 1 / seen.clamp(min=1e-2), 0.0)
    shape = (projector.thickness, projector.width, sums.shape[2])
    volume = torch.zeros(shape, device=sums.device)
    for step in range(steps):
        misfit = rows * (sums - projector.project(volume))
        volume = (volume + columns * projector.back_project(misfit)).clamp_(min=0)
        if watch is not None and watch(step, volume):
            break
    return volume
