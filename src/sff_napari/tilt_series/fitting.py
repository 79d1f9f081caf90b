"""The methods, each from a problem to a volume with its held-out score."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sff_napari.errors import Cancelled
from sff_napari.progress import CancelledCallback, Reporter
from sff_napari.tilt_series.direct import sirt, weighted_back_projection
from sff_napari.tilt_series.grid import GridProblem, fit_grid
from sff_napari.tilt_series.held_out import HeldOut, HeldOutTest, foretold_psnr
from sff_napari.tilt_series.implicit import (
    PAPER,
    SMALL,
    ImplicitSettings,
    ImplicitVolume,
    fit_implicit,
)
from sff_napari.tilt_series.problem import USUAL_SMOOTHNESS, Problem, with_noise

if TYPE_CHECKING:
    from sff_napari.tilt_series.reconstruct import Checkpoint

GRID_STEPS = 120
_IMPLICIT_MINUTES = 4.0
_START_STEPS = 60
_KEEP_EVERY = 30.0
"""Seconds between two checkpoints."""


class Clock:
    """When to stop: after a time, or because somebody asks.

    Parameters
    ----------
    began : float
        Of ``time.monotonic``.
    seconds : float, optional
        To take in all.
    cancelled : callable, optional
        True stops.
    """

    def __init__(
        self, began: float, seconds: float | None, cancelled: CancelledCallback | None
    ) -> None:
        self._end = None if seconds is None else began + seconds
        self._cancelled = cancelled
        self._stopped = False
        self._kept = time.monotonic()

    def stopped(self) -> bool:
        """Tell whether somebody asked to stop."""
        self._stopped = self._stopped or (self._cancelled is not None and self._cancelled())
        return self._stopped

    def over(self) -> bool:
        """Tell whether to stop, for whatever reason."""
        return self.stopped() or (self._end is not None and time.monotonic() > self._end)

    def left(self) -> float | None:
        """Return the seconds left, None without an end."""
        return None if self._end is None else max(self._end - time.monotonic(), 1.0)

    def time_to_keep(self) -> bool:
        """Tell, now and then, that a checkpoint is due."""
        if time.monotonic() - self._kept < _KEEP_EVERY:
            return False
        self._kept = time.monotonic()
        return True


@dataclass(frozen=True)
class Fit:
    """A volume (Z, Y, X), tilted about X, and what is known of it."""

    problem: Problem
    volume: torch.Tensor
    held_out: HeldOut | None = None
    details: dict[str, Any] = field(default_factory=dict)


def fit(
    problem: Problem,
    method: str,
    reporter: Reporter,
    clock: Clock,
    checkpoint: Checkpoint | None = None,
) -> Fit:
    """Return the volume by a method of `METHODS`."""
    if method in ("wbp", "sirt"):
        return _fit_direct(problem, method, reporter, clock)
    problem, rough = with_noise(problem, reporter.part(0.0, 0.1))
    reporter = reporter.part(0.1, 1.0)
    if method == "grid":
        return _fit_grid(problem, rough, reporter, clock, checkpoint)
    return _fit_implicit(problem, rough, method, reporter, clock, checkpoint)


def _telling(
    reporter: Reporter, clock: Clock, steps: int, text: str
) -> Callable[[int, torch.Tensor], bool]:
    """Return a watcher that reports; it is past raising, as there is a volume to keep."""

    def watch(step: int, volume: torch.Tensor) -> bool:
        if clock.over():
            return True
        try:
            reporter((step + 1) / steps, text)
        except Cancelled:  # asked for since the line above
            return True
        return False

    return watch


def _fit_direct(problem: Problem, method: str, reporter: Reporter, clock: Clock) -> Fit:
    test = HeldOutTest(problem.band())
    grid = problem.grid()
    sums = grid.model.sums(grid.images)
    details: dict[str, Any] = {}
    if method == "wbp":
        held_out = test.cutoff(reporter.part(0.0, 0.5))
        volume = weighted_back_projection(grid.projector, sums, held_out.choice)
        details["cutoff"] = held_out.choice
    else:
        held_out = test.sirt_steps(reporter.part(0.0, 0.5))
        steps = int(held_out.choice)
        watch = _telling(reporter.part(0.5, 1.0), clock, steps, "SIRT")
        volume = sirt(grid.projector, sums, steps, watch, grid.visible)
        details["steps"] = steps
    projected = grid.projector.project(volume)
    gain = float((projected * sums).sum() / projected.square().sum().clamp(min=1e-20))
    return Fit(problem, volume * gain, held_out, details)


def _fit_grid(
    problem: Problem,
    rough: torch.Tensor,
    reporter: Reporter,
    clock: Clock,
    checkpoint: Checkpoint | None,
) -> Fit:
    held_out = HeldOutTest(problem.band()).smoothness(rough, reporter.part(0.0, 0.3))
    grid = problem.grid()
    natural = problem.band().grid().natural_weight(rough)
    kept = None if checkpoint is None else checkpoint.load()
    start, before = None, 0
    if kept is not None and kept["volume"].shape == problem.shape:
        start, before = torch.from_numpy(kept["volume"]).to(problem.device), int(kept["steps"])
    steps = max(GRID_STEPS - before, 10)
    tell = _telling(reporter.part(0.3, 1.0), clock, steps, "fitting the volume")
    taken = before

    def watch(step: int, volume: torch.Tensor) -> bool:
        nonlocal taken
        taken = before + step + 1
        if checkpoint is not None and (clock.time_to_keep() or clock.stopped()):
            checkpoint.save({"volume": volume.cpu().numpy(), "steps": np.asarray(taken)})
        return tell(step, volume)

    volume = fit_grid(grid, held_out.choice * natural, steps, start, watch)
    return Fit(problem, volume, held_out, {"smoothness": held_out.choice, "steps": taken})


def _fit_implicit(
    problem: Problem,
    rough: torch.Tensor,
    method: str,
    reporter: Reporter,
    clock: Clock,
    checkpoint: Checkpoint | None,
) -> Fit:
    count = len(problem.series.tilts)
    # Two tilts judge the result and are not trained on.
    judges = np.unique([count // 3, 2 * count // 3])
    grid = problem.grid(np.setdiff1d(np.arange(count), judges))
    full = method.endswith("-full")
    settings = PAPER if full else SMALL
    seconds = clock.left()
    if seconds is None and not full:
        seconds = 60 * _IMPLICIT_MINUTES
    peak = float(rough.max()) * 1.5
    # The network first learns a rough volume of voxels, made of the same images.
    start: ImplicitVolume | torch.Tensor | None = _resumed(problem, settings, checkpoint)
    if start is None and not full:
        smoothness = USUAL_SMOOTHNESS * problem.band().grid().natural_weight(rough)
        tell = _telling(reporter.part(0.0, 0.1), clock, _START_STEPS, "fitting a rough volume")
        start = fit_grid(grid, smoothness, _START_STEPS, None, tell)
    reporter = reporter.part(0.1, 1.0)

    def watch(share: float, network: ImplicitVolume) -> bool:
        if checkpoint is not None and (clock.time_to_keep() or clock.stopped()):
            checkpoint.save(_network_arrays(network))
        if clock.over():
            return True
        try:
            reporter(share, "training")
        except Cancelled:
            return True
        return False

    network, flow = fit_implicit(
        grid,
        peak,
        settings,
        flow="flow" in method,
        seconds=seconds,
        watch=watch,
        start=start,
    )
    volume = network.volume()
    other = problem.grid(judges)
    psnr = _judged(other, volume)
    held_out = HeldOut(
        psnr, tuple(float(t) for t in problem.series.tilts[judges]), float(settings.features), {}
    )
    details: dict[str, Any] = {"features": settings.features, "layers": settings.layers}
    if flow is not None:
        signals = torch.linspace(0, 1, 5, device=problem.device)
        with torch.no_grad():
            details["flow_mean"] = [round(float(m), 5) for m in flow.mean(signals)]
    return Fit(problem, volume, held_out, details)


def _judged(other: GridProblem, volume: torch.Tensor) -> float:
    predicted = other.model.expected(other.projector.project(volume), other.numbers)
    return foretold_psnr(predicted.cpu().numpy(), other.images.cpu().numpy())


def _network_arrays(network: ImplicitVolume) -> dict[str, Any]:
    arrays = {name: value.cpu().numpy() for name, value in network.state_dict().items()}
    return {**arrays, "peak": np.asarray(network.peak)}


def _resumed(
    problem: Problem, settings: ImplicitSettings, checkpoint: Checkpoint | None
) -> ImplicitVolume | None:
    """Return the network that was kept, if it is of this size."""
    kept = None if checkpoint is None else checkpoint.load()
    if kept is None or "peak" not in kept:
        return None
    network = ImplicitVolume(settings, problem.shape, float(kept.pop("peak")))
    try:
        network.load_state_dict({name: torch.from_numpy(value) for name, value in kept.items()})
    except RuntimeError:
        return None
    return network.to(problem.device)
