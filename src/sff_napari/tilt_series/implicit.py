"""Implicit reconstruction: a network that gives the density at any place."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from sff_napari.tilt_series.grid import GridProblem
from sff_napari.tilt_series.image_model import ImageModel
from sff_napari.tilt_series.noise_flow import NoiseFlow
from sff_napari.tilt_series.total_variation import total_variation

Watcher = Callable[[float, "ImplicitVolume"], bool]
"""Called now and then with the share done and the network; True stops the work."""


@dataclass(frozen=True)
class ImplicitSettings:
    """Size and schedule of an implicit reconstruction.

    Parameters
    ----------
    features, layers : int
        Width and number of the hidden layers.
    frequencies : int
        Octaves of the positional encoding.
    skip : int, optional
        Hidden layer before which the encoding is fed again.
    rows : int
        Neighbouring columns along the tilt axis in a step; all tilts are projected from them.
    steps : int
        Most steps.
    rate : float
        Learning rate of Adam at the start; it falls to a hundredth by a cosine.
    smoothness : float
        Weight of the total variation, in units of `GridProblem.natural_weight`.
    """

    features: int = 64
    layers: int = 4
    frequencies: int = 5
    skip: int | None = None
    rows: int = 4
    steps: int = 4000
    rate: float = 3e-3
    smoothness: float = 0.25


_VOXELS = 8192

SMALL = ImplicitSettings()
"""What two processor cores can train in minutes."""

PAPER = ImplicitSettings(
    features=256,
    layers=9,
    frequencies=10,
    skip=5,
    rows=8,
    steps=400_000,
    rate=5e-5,
    smoothness=0.0,
)
"""The network and schedule of the paper, for those with a GPU and a day."""


class ImplicitVolume(nn.Module):
    """Density as a network of the place, after Mildenhall et al. (2020).

    Parameters
    ----------
    settings : ImplicitSettings
        Its size.
    shape : (Z, Y, X)
        Of the volume whose voxels are asked for.
    peak : float
        Density that the network's output 1 means.
    """

    def __init__(
        self, settings: ImplicitSettings, shape: tuple[int, int, int], peak: float
    ) -> None:
        super().__init__()
        self.settings, self.shape, self.peak = settings, shape, peak
        encoded = 6 * settings.frequencies
        sizes = [encoded, *[settings.features] * settings.layers]
        self.hidden = nn.ModuleList(
            nn.Linear(a + (encoded if number == settings.skip else 0), b)
            for number, (a, b) in enumerate(itertools.pairwise(sizes))
        )
        self.last = nn.Linear(settings.features, 1)
        nn.init.constant_(self.last.bias, -3.0)

    def encoded(self, first: int, count: int, device: torch.device) -> torch.Tensor:
        """Return the encoding of the voxels of columns, (Z * Y * count, 6 * frequencies)."""
        largest = max(self.shape)
        z, y, x = (
            (torch.arange(n, device=device, dtype=torch.float32) - (n - 1) / 2) * (2 / largest)
            for n in self.shape
        )
        powers = math.pi * 2.0 ** torch.arange(self.settings.frequencies, device=device)
        waves = []
        for place in (z, y, x[first : first + count]):
            angle = place[:, None] * powers
            waves.append(torch.cat([angle.sin(), angle.cos()], 1))
        size = (len(z), len(y), count, waves[0].shape[1])
        return torch.cat(
            [
                waves[0][:, None, None].expand(size),
                waves[1][None, :, None].expand(size),
                waves[2][None, None].expand(size),
            ],
            -1,
        ).reshape(-1, 6 * self.settings.frequencies)

    def columns(self, first: int, count: int) -> torch.Tensor:
        """Return the density of `count` columns from `first`, (Z, Y, count)."""
        encoded = self.encoded(first, count, self.last.weight.device)
        return self(encoded).reshape(self.shape[0], self.shape[1], count)

    def forward(self, encoded: torch.Tensor) -> torch.Tensor:
        """Return the density of encoded places, (N, 6 * frequencies)."""
        values = encoded
        for number, layer in enumerate(self.hidden):
            if number == self.settings.skip:
                values = torch.cat([values, encoded], 1)
            values = torch.relu(layer(values))
        return torch.sigmoid(self.last(values))[:, 0] * self.peak

    @torch.no_grad()
    def volume(self) -> torch.Tensor:
        """Return the density of all voxels, (Z, Y, X)."""
        count = self.settings.rows
        return torch.cat(
            [
                self.columns(first, min(count, self.shape[2] - first))
                for first in range(0, self.shape[2], count)
            ],
            2,
        )


def learn_volume(
    network: ImplicitVolume,
    volume: torch.Tensor,
    steps: int,
    seconds: float | None = None,
    watch: Watcher | None = None,
) -> None:
    """Teach a network a volume (Z, Y, X) voxel by voxel, which is much quicker than by images."""
    settings = network.settings
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.rate)
    count = min(settings.rows, volume.shape[2])
    samples = min(_VOXELS, volume[:, :, :count].numel())
    began = time.monotonic()
    for step in range(steps):
        if seconds is not None and time.monotonic() - began > seconds:
            break
        first = int(torch.randint(0, volume.shape[2] - count + 1, ()))
        chosen = torch.randint(0, volume[:, :, :count].numel(), (samples,), device=volume.device)
        encoded = network.encoded(first, count, volume.device)[chosen]
        truth = volume[:, :, first : first + count].reshape(-1)[chosen]
        loss = (network(encoded) - truth).square().mean() / network.peak**2
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if watch is not None and step % 10 == 9 and watch(0.0, network):
            break


def fit_implicit(
    problem: GridProblem,
    peak: float,
    settings: ImplicitSettings = SMALL,
    *,
    flow: bool = False,
    seconds: float | None = None,
    seed: int = 0,
    watch: Watcher | None = None,
    start: ImplicitVolume | torch.Tensor | None = None,
) -> tuple[ImplicitVolume, NoiseFlow | None]:
    """Return a network trained on all images, and the flow of the noise if asked for.

    Each step evaluates the network once on a few neighbouring columns and projects all
    tilts from them, so that its cost does not grow with the tilts.

    Parameters
    ----------
    problem : GridProblem
        Images and how they come about.
    peak : float
        Largest density a voxel.
    settings : ImplicitSettings
        Size and schedule.
    flow : bool
        Learn the noise by a flow in place of the measured mean and variance.
    seconds : float, optional
        Time to train; the rate falls so as to end with it.
    seed : int
        Of weights and columns.
    watch : callable, optional
        Called now and then; True stops.
    start : ImplicitVolume or Tensor, (Z, Y, X), optional
        Training goes on from this network, or the new one first learns this volume.
    """
    device = problem.images.device
    shape = (problem.projector.thickness, *problem.images.shape[1:])
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        began, share = time.monotonic(), 0.0
        if isinstance(start, ImplicitVolume):
            made = start
        else:
            made = ImplicitVolume(settings, shape, peak).to(device)
        if isinstance(start, torch.Tensor):
            most = None if seconds is None else 0.25 * seconds
            learn_volume(made, start, settings.steps // 4, most, watch)
        trainer = _Training(problem, made, settings, flow)
        for step in range(settings.steps):
            share = step / settings.steps
            if seconds is not None:
                share = max(share, (time.monotonic() - began) / seconds)
            if share >= 1:
                break
            trainer.step(share)
            if watch is not None and step % 10 == 9 and watch(share, made):
                break
    return made, trainer.flow


class _Training:
    """One optimiser for the density, and one for the flow of the noise."""

    def __init__(
        self,
        problem: GridProblem,
        network: ImplicitVolume,
        settings: ImplicitSettings,
        flow: bool,
    ) -> None:
        self._problem, self._network, self._settings = problem, network, settings
        self._optimiser = torch.optim.Adam(network.parameters(), lr=settings.rate)
        sums = problem.model.sums(problem.images)
        sensitivity = problem.model.typical_sensitivity(sums)
        rays = len(problem.images) * problem.projector.width
        self._smoothness = (
            settings.smoothness
            * sensitivity
            * math.sqrt(len(problem.images))
            * (problem.projector.thickness * problem.projector.width)
            / rays
        )
        self.flow: NoiseFlow | None = None
        if flow:
            spread = float(problem.model.precision.median().rsqrt())
            self.flow = NoiseFlow(spread).to(problem.images.device)
            self._flow_optimiser = torch.optim.Adam(self.flow.parameters(), lr=5e-3)

    def step(self, share: float) -> None:
        """Train on one block of columns."""
        problem, settings = self._problem, self._settings
        rate = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share))
        for group in self._optimiser.param_groups:
            group["lr"] = settings.rate * rate
        width = problem.images.shape[2]
        count = min(settings.rows, width)
        first = int(torch.randint(0, width - count + 1, ()))
        block = self._network.columns(first, count)
        sums = problem.projector.project(block)
        images = problem.images[:, :, first : first + count]
        if self.flow is not None and share > 0.3:
            misfit = self._flow_loss(problem.model, sums, images)
        else:
            misfit = 0.5 * problem.model.whitened(sums, images, problem.numbers).square()
        if problem.visible is not None:
            misfit = misfit * problem.visible
        loss = misfit.mean()
        if settings.smoothness > 0:
            loss = loss + self._smoothness * total_variation(block)
        self._optimiser.zero_grad(set_to_none=True)
        if self.flow is not None:
            self._flow_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._optimiser.step()
        if self.flow is not None and share > 0.15:
            if share <= 0.3:
                # The density is fitted by least squares until the flow knows the noise.
                self._flow_loss(problem.model, sums.detach(), images).mean().backward()
            torch.nn.utils.clip_grad_norm_(self.flow.parameters(), 100.0)
            self._flow_optimiser.step()

    def _flow_loss(
        self, model: ImageModel, sums: torch.Tensor, images: torch.Tensor
    ) -> torch.Tensor:
        """Return minus the log-likelihood of each pixel, with a penalty on the noise's mean.

        A pixel at an end where the series is clipped stands for all noise beyond it.
        The mean noise is held at 0: left free, noise and signal would trade offsets.
        """
        assert self.flow is not None
        clean = model.blurred_signal(sums, self._problem.numbers)
        signals = torch.linspace(0, 1, 32, device=sums.device)
        anchor = (self.flow.mean(signals) / self.flow.scale).square().mean()
        z, log_slope = self.flow(images - clean, clean)
        likelihood = -0.5 * z.square() + log_slope
        levels = model.levels
        if levels.clipped_high:
            high = torch.special.log_ndtr(-z)
            likelihood = torch.where(images >= levels.high - 1e-6, high, likelihood)
        if levels.clipped_low:
            low = torch.special.log_ndtr(z)
            likelihood = torch.where(images <= levels.low + 1e-6, low, likelihood)
        return 100.0 * anchor - likelihood
