"""Score the methods on random volumes of known truth."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from sff_napari.devices import steady_torch
from sff_napari.tilt_series.direct import sirt, weighted_back_projection
from sff_napari.tilt_series.held_out import CUTOFF_CHOICES
from sff_napari.tilt_series.image_model import ImageModel, find_levels
from sff_napari.tilt_series.phantom import PhantomKind, make_phantom
from sff_napari.tilt_series.projector import Projector
from sff_napari.tilt_series.reconstruct import Method, reconstruct
from sff_napari.tilt_series.simulation import SimulatedSeries, simulate_tilts

_MOST_STEPS = 60


def calibrated_psnr(found: ArrayLike, truth: ArrayLike) -> float:
    """Return the PSNR in dB after the gain and offset that bring `found` nearest to `truth`.

    Parameters
    ----------
    found, truth : array-like
        Of the same shape; the peak is the range of the truth.

    Examples
    --------
    >>> truth = np.array([0.0, 1.0, 0.0, 1.0])
    >>> calibrated_psnr([3.0, 5.0, 3.2, 4.8], truth) > 20
    True
    """
    x = np.asarray(found, np.float64).ravel()
    y = np.asarray(truth, np.float64).ravel()
    centred = x - x.mean()
    gain = float(centred @ (y - y.mean())) / max(float(centred @ centred), 1e-30)
    error = float(np.mean((y - y.mean() - gain * centred) ** 2))
    return float(10 * np.log10(np.ptp(y) ** 2 / max(error, 1e-30)))


@dataclass(frozen=True)
class Score:
    """The result of one method on one series.

    Parameters
    ----------
    seed : int
        Of the volume and the noise.
    method : str
        Its name; ``best`` means that its free choice was made against the truth.
    volume_psnr, projection_psnr : float
        In dB, calibrated: of the volume, and of the projections against clean ones.
    seconds : float
        It took.
    """

    seed: int
    method: str
    volume_psnr: float
    projection_psnr: float
    seconds: float


def evaluate_series(
    made: SimulatedSeries,
    methods: Sequence[Method],
    *,
    seed: int,
    defocus: float | None = None,
    minutes: float | None = None,
) -> Iterator[Score]:
    """Yield the scores of methods on a bright-field series, the linear ones at their best as well.

    Parameters
    ----------
    made : SimulatedSeries
        With its truth.
    methods : sequence of str
        Of `METHODS`.
    seed : int
        To be told in the scores.
    defocus : float, optional
        Blur that the methods are told of.
    minutes : float, optional
        For each.
    """
    yield from best_linear(made, seed)
    for method in methods:
        began = time.monotonic()
        found = reconstruct(
            made.noisy,
            made.tilts,
            thickness=made.volume.shape[0],
            method=method,
            defocus=defocus,
            minutes=minutes,
        )
        yield Score(
            seed,
            method,
            calibrated_psnr(found.volume, made.volume),
            calibrated_psnr(found.projections, made.clean),
            time.monotonic() - began,
        )


def best_linear(made: SimulatedSeries, seed: int) -> list[Score]:
    """Return WBP and SIRT with filter and steps chosen against the truth, which favours them."""
    with steady_torch():
        levels = find_levels(made.noisy, "bright")
        model = ImageModel("bright", levels)
        sums = model.sums(torch.from_numpy(levels.scale(made.noisy)))
        thickness, width, _ = made.volume.shape
        projector = Projector(made.tilts, width, thickness)
        best: dict[str, tuple[float, torch.Tensor]] = {}

        def look(name: str, volume: torch.Tensor) -> None:
            psnr = calibrated_psnr(volume.numpy(), made.volume)
            if name not in best or psnr > best[name][0]:
                best[name] = (psnr, volume)

        def watch(step: int, volume: torch.Tensor) -> bool:
            look("sirt, best", volume)
            return False

        seconds = {}
        began = time.monotonic()
        for cutoff in CUTOFF_CHOICES:
            look("wbp, best", weighted_back_projection(projector, sums, cutoff))
        seconds["wbp, best"] = time.monotonic() - began
        began = time.monotonic()
        sirt(projector, sums, _MOST_STEPS, watch)
        seconds["sirt, best"] = time.monotonic() - began
        scores = []
        for name, (psnr, volume) in best.items():
            images = model.signal(projector.project(volume)).numpy()
            scores.append(
                Score(seed, name, psnr, calibrated_psnr(images, made.clean), seconds[name])
            )
    return scores


def evaluate_phantoms(
    seeds: Sequence[int],
    methods: Sequence[Method],
    *,
    shape: tuple[int, int, int] = (48, 80, 80),
    kind: PhantomKind = "shells",
    defocus: float = 0.0,
    minutes: float | None = None,
) -> Iterator[Score]:
    """Yield the scores on random volumes: 41 tilts from -60 to 60 degrees, projections of 15.7 dB.

    Parameters
    ----------
    seeds : sequence of int
        One volume each.
    methods : sequence of str
        Of `METHODS`.
    shape : (Z, Y, X)
        Of the volumes.
    kind : str
        Of `PHANTOM_KINDS`.
    defocus : float
        Blur of the images in pixels; the methods are run without and with knowing it.
    minutes : float, optional
        For each method.
    """
    for seed in seeds:
        made = simulate_tilts(make_phantom(shape, kind=kind, seed=seed), defocus=defocus, seed=seed)
        yield from evaluate_series(made, methods, seed=seed, minutes=minutes)
        if defocus:
            for score in evaluate_series(
                made, methods, seed=seed, defocus=defocus, minutes=minutes
            ):
                if "best" not in score.method:
                    yield Score(
                        seed,
                        f"{score.method}, defocus known",
                        score.volume_psnr,
                        score.projection_psnr,
                        score.seconds,
                    )
