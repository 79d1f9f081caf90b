"""Judge a reconstruction by tilts that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sff_napari.progress import Reporter
from sff_napari.tilt_series.direct import sirt, weighted_back_projection
from sff_napari.tilt_series.grid import fit_grid
from sff_napari.tilt_series.problem import USUAL_SMOOTHNESS, Problem

SMOOTHNESS_CHOICES = (0.1, 0.16, 0.25, 0.4, 0.63, 1.0)
CUTOFF_CHOICES = (1.0, 0.7, 0.5, 0.35, 0.25)
_STEPS = 40
_MOST_SIRT_STEPS = 60


@dataclass(frozen=True)
class HeldOut:
    """How well a method foretells tilts that were kept from it.

    Parameters
    ----------
    psnr : float
        Of the foretold images against the measured ones, in dB, after the
        best gain and offset, at the range of the scaled series as the peak.
    tilts : tuple of float
        The tilts kept, in degrees.
    choice : float
        The best value of what the method leaves open: weight of the total
        variation, steps, or end of the filter.
    tried : mapping of float to float
        The PSNR of every value tried.
    """

    psnr: float
    tilts: tuple[float, ...]
    choice: float
    tried: dict[float, float]


def split(count: int, every: int = 5) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the numbers of the tilts to use and of those to keep, every fifth or so."""
    every = max(2, min(every, count // 2))
    kept = np.arange(every // 2, count, every)
    # The outermost tilts are not foretold from others: they stay in.
    kept = kept[(kept > 0) & (kept < count - 1)]
    return np.setdiff1d(np.arange(count), kept), kept


def foretold_psnr(predicted: NDArray[Any], measured: NDArray[Any]) -> float:
    """Return the PSNR in dB of predicted images after the best gain and offset."""
    x, y = predicted.ravel().astype(np.float64), measured.ravel().astype(np.float64)
    centred = x - x.mean()
    gain = float(centred @ (y - y.mean())) / max(float(centred @ centred), 1e-30)
    error = float(np.mean((y - y.mean() - gain * centred) ** 2))
    peak = float(np.percentile(y, 99.9) - np.percentile(y, 0.1))
    return float(10 * np.log10(peak**2 / max(error, 1e-30)))


class HeldOutTest:
    """The test of one series: the tilts are split once, every method is asked alike.

    Parameters
    ----------
    problem : Problem
        With its noise measured.
    every : int
        Each how-manieth tilt is kept.
    """

    def __init__(self, problem: Problem, every: int = 5) -> None:
        self._used, self._kept = split(len(problem.series.tilts), every)
        self._problem = problem
        self._grid = problem.grid(self._used)
        self._other = problem.grid(self._kept)

    def score(self, volume: torch.Tensor) -> float:
        """Return the PSNR of the kept tilts foretold from a volume (Z, Y, X)."""
        other = self._other
        predicted = other.model.expected(other.projector.project(volume), other.numbers)
        seen = other.visible.expand_as(predicted) > 0 if other.visible is not None else ...
        return foretold_psnr(predicted[seen].cpu().numpy(), other.images[seen].cpu().numpy())

    def _result(self, tried: dict[float, float]) -> HeldOut:
        choice = max(tried, key=lambda value: tried[value])
        tilts = tuple(float(t) for t in self._problem.series.tilts[self._kept])
        return HeldOut(tried[choice], tilts, choice, tried)

    def smoothness(self, start: torch.Tensor, reporter: Reporter) -> HeldOut:
        """Return the weight of the total variation that foretells best.

        Parameters
        ----------
        start : Tensor, (Z, Y, X)
            A rough volume.
        reporter : Reporter
            Told of progress.
        """
        natural = self._grid.natural_weight(start)
        tried: dict[float, float] = {}
        # From the usual value outwards, as long as it gets better.
        middle = SMOOTHNESS_CHOICES.index(USUAL_SMOOTHNESS)
        orders = (range(middle, len(SMOOTHNESS_CHOICES)), range(middle - 1, -1, -1))
        for order in orders:
            best = -np.inf if not tried else tried[USUAL_SMOOTHNESS]
            for place in order:
                value = SMOOTHNESS_CHOICES[place]
                reporter(len(tried) / len(SMOOTHNESS_CHOICES), "choosing the smoothness")

                def watch(step: int, volume: torch.Tensor) -> bool:
                    reporter.check()
                    return False

                volume = fit_grid(self._grid, value * natural, _STEPS, start, watch)
                tried[value] = self.score(volume)
                if tried[value] < best:
                    break
                best = tried[value]
        return self._result(tried)

    def sirt_steps(self, reporter: Reporter) -> HeldOut:
        """Return the number of SIRT steps that foretells best."""
        tried: dict[float, float] = {}

        def watch(step: int, volume: torch.Tensor) -> bool:
            reporter((step + 1) / _MOST_SIRT_STEPS, "choosing the steps")
            if step % 2:
                tried[float(step + 1)] = self.score(volume)
            # Over once it has been getting worse for a while.
            return len(tried) > 5 and max(list(tried.values())[-5:]) < max(tried.values())

        grid = self._grid
        sums = grid.model.sums(grid.images)
        sirt(grid.projector, sums, _MOST_SIRT_STEPS, watch, grid.visible)
        return self._result(tried)

    def cutoff(self, reporter: Reporter) -> HeldOut:
        """Return the end of the back-projection's filter that foretells best."""
        grid = self._grid
        sums = grid.model.sums(grid.images)
        tried = {}
        for number, value in enumerate(CUTOFF_CHOICES):
            reporter(number / len(CUTOFF_CHOICES), "choosing the filter")
            tried[value] = self.score(weighted_back_projection(grid.projector, sums, value))
        return self._result(tried)
