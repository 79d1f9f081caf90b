"""What every method starts from: scaled images, rays, and a model of the noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sff_napari.progress import Reporter
from sff_napari.tilt_series.defocus import DefocusBlur
from sff_napari.tilt_series.grid import GridProblem, fit_grid
from sff_napari.tilt_series.image_model import Contrast, ImageModel, Levels, find_levels
from sff_napari.tilt_series.projector import Projector
from sff_napari.tilt_series.series import TiltSeries

USUAL_SMOOTHNESS = 0.4
"""Weight of the total variation in units of the noise in a voxel's gradient, where a few
held-out tilts are not asked; chosen on phantoms of seeds 101 to 103."""

_BAND = 48
"""Columns along the tilt axis on which noise and smoothness are found."""

_ROUGH_STEPS = 30


@dataclass(frozen=True)
class Problem:
    """A series ready to be reconstructed.

    Parameters
    ----------
    series : TiltSeries
        The images.
    thickness : int
        Slices of the volume.
    levels : Levels
        What the grey values mean.
    model : ImageModel
        Contrast, noise and defocus.
    visible : Tensor, (T, Y, 1)
        1 for rays to use, 0 for those that cross material beside the volume.
    device : torch.device
        Where to compute.
    """

    series: TiltSeries
    thickness: int
    levels: Levels
    model: ImageModel
    visible: torch.Tensor
    device: torch.device

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the volume, (Z, Y, X), tilted about X."""
        return (self.thickness, *self.series.images.shape[1:])

    def columns(self, columns: slice) -> Problem:
        """Return the problem of some columns along the tilt axis."""
        part = replace(self.series, images=self.series.images[:, :, columns])
        return replace(self, series=part)

    def band(self) -> Problem:
        """Return the problem of the neighbouring columns that show the most."""
        width = self.series.images.shape[2]
        if width <= _BAND:
            return self
        spread = self.series.images.std(axis=(0, 1))
        sums = np.convolve(spread, np.ones(_BAND), mode="valid")
        start = int(np.argmax(sums))
        return self.columns(slice(start, start + _BAND))

    def grid(self, chosen: NDArray[Any] | None = None) -> GridProblem:
        """Return the fit of a volume to all images, or to the chosen ones."""
        numbers = np.arange(len(self.series.tilts)) if chosen is None else np.asarray(chosen)
        _, width, _ = self.shape
        projector = Projector(self.series.tilts[numbers], width, self.thickness, device=self.device)
        images = torch.from_numpy(self.levels.scale(self.series.images[numbers]))
        where = torch.from_numpy(numbers).to(self.device)
        return GridProblem(
            projector, images.to(self.device), self.model, where, self.visible[where]
        )


def set_up(
    series: TiltSeries,
    contrast: Contrast,
    thickness: int,
    defocus: float | None,
    device: torch.device,
) -> Problem:
    """Return the problem before the noise is known."""
    levels = find_levels(series.images, contrast)
    blur = None
    if defocus:
        blur = DefocusBlur(series.tilts, series.images.shape[1], defocus)
    images = levels.scale(series.images)
    noise = float(np.median(np.abs(np.diff(images, axis=2))) / 0.954)
    noise = max(noise, 0.25 * float(np.diff(images, axis=2).std()) / 2**0.5, 1e-4)
    model = ImageModel(contrast, levels, blur=blur)
    model = replace(model, precision=model.precision / noise**2).to(device)
    visible = torch.from_numpy(visible_rays(series, levels, contrast, thickness)).to(device)
    return Problem(series, thickness, levels, model, visible, device)


def with_noise(problem: Problem, reporter: Reporter) -> tuple[Problem, torch.Tensor]:
    """Return the problem with its noise measured, and a rough volume of its band.

    Noise and volume are found in turns on the band of `Problem.band`.
    """
    band = problem.band()
    grid = band.grid()
    volume = torch.zeros(band.shape, device=problem.device)
    rounds = 3
    for turn in range(rounds):
        part = reporter.part(turn / rounds, (turn + 1) / rounds)

        def watch(step: int, found: torch.Tensor, part: Reporter = part) -> bool:
            part((step + 1) / _ROUGH_STEPS, "measuring the noise")
            return False

        smoothness = USUAL_SMOOTHNESS * grid.natural_weight(volume)
        volume = fit_grid(grid, smoothness, _ROUGH_STEPS, volume, watch)
        model = grid.model.fitted(grid.projector.project(volume), grid.images)
        grid = replace(grid, model=model)
    return replace(problem, model=grid.model), volume


def visible_rays(
    series: TiltSeries, levels: Levels, contrast: Contrast, thickness: int
) -> NDArray[np.float32]:
    """Return which rays meet nothing but the volume, (T, Y, 1).

    Where the object reaches the borders of the least tilted image, it goes on
    beside the volume, and rays that enter or leave through a side are not used.
    """
    tilts, images = series.tilts, series.images
    width = images.shape[1]
    flat = levels.scale(images[np.abs(tilts).argmin()])
    shown = 1 - flat if contrast == "bright" else flat
    border = max(2, width // 40)
    ends = 0.5 * (shown[:border].mean() + shown[-border:].mean())
    if ends < 0.3 * max(float(shown.mean()), 1e-6):
        return np.ones((len(tilts), width, 1), np.float32)
    position = np.arange(width) - (width - 1) / 2
    angle = np.radians(tilts)[:, None]
    reach = np.abs(position[None] / np.cos(angle)) + np.abs(np.tan(angle)) * thickness / 2
    visible = (reach <= width / 2).astype(np.float32)
    if visible.sum(1).min() < 0.1 * width:
        # So thick that hardly a ray is left: the volume takes what lies beside it.
        return np.ones((len(tilts), width, 1), np.float32)
    return visible[:, :, None]
