"""Reconstruction on a voxel grid: likelihood of the images plus total variation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from sff_napari.tilt_series.image_model import ImageModel
from sff_napari.tilt_series.projector import Projector
from sff_napari.tilt_series.total_variation import TotalVariationStep

Watcher = Callable[[int, torch.Tensor], bool]
"""Called after each step with its number and the volume; True stops the work."""


@dataclass(frozen=True)
class GridProblem:
    """What a volume is fitted to.

    Parameters
    ----------
    projector : Projector
        For the tilts of `images`.
    images : Tensor, (T, Y, X)
        Scaled as `ImageModel` expects them.
    model : ImageModel
        Contrast and noise.
    numbers : Tensor, (T,), optional
        Numbers of the images in the whole series, where they are some of it.
    visible : Tensor, (T, Y, 1), optional
        1 for pixels to use, 0 for others.
    """

    projector: Projector
    images: torch.Tensor
    model: ImageModel
    numbers: torch.Tensor | None = None
    visible: torch.Tensor | None = None

    def gradient(self, volume: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the misfit by the volume."""
        slope = self.model.gradient(self.projector.project(volume), self.images, self.numbers)
        return self.projector.back_project(slope if self.visible is None else slope * self.visible)

    def natural_weight(self, volume: torch.Tensor) -> float:
        """Return the strength of the noise in the gradient of a voxel.

        The total variation is weighted in units of it, which makes one choice
        serve series of different noise, contrast and number of tilts.
        """
        sensitivity = self.model.typical_sensitivity(self.projector.project(volume))
        return sensitivity * math.sqrt(len(self.images))


def fit_grid(
    problem: GridProblem,
    smoothness: float,
    steps: int,
    start: torch.Tensor | None = None,
    watch: Watcher | None = None,
) -> torch.Tensor:
    """Return the non-negative volume of least penalised misfit.

    Accelerated proximal gradient steps (Beck and Teboulle, 2009) with restarts
    where the acceleration overshoots.

    Parameters
    ----------
    problem : GridProblem
        Images and how they come about.
    smoothness : float
        Weight of the total variation; the misfit is half the sum of squared
        residuals in units of their noise.
    steps : int
        Most steps.
    start : Tensor, (Z, Y, X), optional
        Where to start; zeros where not given.
    watch : callable, optional
        Called after each step; True stops.

    Returns
    -------
    Tensor, (Z, Y, X)
        Density a voxel.
    """
    projector, images = problem.projector, problem.images
    shape = (projector.thickness, projector.width, images.shape[2])
    volume = torch.zeros(shape, device=images.device) if start is None else start.clone()
    bound = projector.squared_norm() * problem.model.curvature()
    denoise = TotalVariationStep(shape, smoothness / bound, images.device)
    ahead, momentum = volume, 1.0
    for step in range(steps):
        moved = denoise(ahead - problem.gradient(ahead) / bound)
        change = moved - volume
        if float(((ahead - moved) * change).sum()) > 0:
            momentum = 1.0
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = moved + ((momentum - 1) / following) * change
        volume, momentum = moved, following
        if watch is not None and watch(step, volume):
            break
    return volume
