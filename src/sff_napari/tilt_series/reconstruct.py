"""Turn a tilt series into a volume, by the method of choice."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from sff_napari.devices import all_threads, choose_device, describe_device, steady_torch
from sff_napari.errors import InputError
from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter
from sff_napari.tilt_series.fitting import Clock, Fit, fit
from sff_napari.tilt_series.image_model import Contrast
from sff_napari.tilt_series.problem import Problem, set_up
from sff_napari.tilt_series.series import TiltSeries, check_series
from sff_napari.tilt_series.thickness import estimate_thickness
from sff_napari.tilt_series.tomogram import Tomogram

Method = Literal[
    "wbp", "sirt", "grid", "implicit", "implicit-flow", "implicit-full", "implicit-flow-full"
]
METHODS: tuple[Method, ...] = get_args(Method)

DEFAULT_METHOD: Method = "grid"


class Checkpoint(Protocol):
    """Where unfinished work is kept, so that it can go on later."""

    def load(self) -> dict[str, NDArray[Any]] | None:
        """Return what was kept, or None."""

    def save(self, state: dict[str, NDArray[Any]]) -> None:
        """Keep the arrays in place of earlier ones."""


@dataclass(frozen=True)
class Options:
    """How a series is reconstructed.

    Parameters
    ----------
    contrast : {"bright", "dark"}
        Exponential or linear.
    thickness : int, optional
        Slices of the volume; estimated where not given.
    method : str
        One of `METHODS`.
    defocus : float, optional
        Known blur at the edge of the most tilted image, a standard deviation in pixels.
    minutes : float, optional
        Time it may take; as long as the method needs where not given.
    device : str
        Where to compute.
    """

    contrast: Contrast = "bright"
    thickness: int | None = None
    method: Method = DEFAULT_METHOD
    defocus: float | None = None
    minutes: float | None = None
    device: str = field(default="auto")

    def __post_init__(self) -> None:
        if self.contrast not in ("bright", "dark"):
            raise InputError(
                f"There is no contrast {self.contrast!r}: use 'bright' for bright field or "
                "'dark' for HAADF."
            )
        if self.method not in METHODS:
            raise InputError(
                f"There is no method {self.method!r}: use one of {', '.join(METHODS)}."
            )
        if self.thickness is not None and self.thickness < 1:
            raise InputError("The thickness is a number of slices: give at least 1.")
        if self.minutes is not None and not self.minutes > 0:
            raise InputError("The time to take needs to be more than 0 minutes.")
        if self.defocus is not None and not 0 <= self.defocus <= 50:
            raise InputError("The blur by defocus lies between 0 and 50 pixels.")


def reconstruct(
    series: ArrayLike,
    tilts: Sequence[float] | ArrayLike,
    *,
    axis: str = "x",
    contrast: Contrast = "bright",
    thickness: int | None = None,
    method: Method = DEFAULT_METHOD,
    defocus: float | None = None,
    minutes: float | None = None,
    device: str = "auto",
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> Tomogram:
    """Return the volume that a series of tilted images shows.

    Parameters
    ----------
    series : array-like, (T, Y, X)
        Aligned images; the tilt axis lies in their middle.
    tilts : array-like, (T,)
        Tilt of each image in degrees; at zero tilt the beam runs along z.
    axis : {"x", "y"}
        The image axis along which the tilt axis lies; "x" is along rows.
    contrast : {"bright", "dark"}
        Bright field (``exp(-sum of density)``) or dark field such as HAADF (the sum).
    thickness : int, optional
        Slices of the volume; estimated where not given.
    method : str
        ``"wbp"`` and ``"sirt"`` are quick; ``"grid"`` fits voxels with a
        likelihood of the noise and total variation and measures best; ``"implicit"``
        trains a network that gives the density at any place;
        ``"implicit-flow"`` learns the noise by a normalizing flow as well (Kniesel et
        al., 2022); ``"implicit-full"`` and ``"implicit-flow-full"`` are as large
        as in that paper, for a GPU.
    defocus : float, optional
        Known blur at the edge of the most tilted image, a standard deviation in pixels.
    minutes : float, optional
        Time it may take; as long as the method needs where not given.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``.
    progress : callable, optional
        Called as ``progress(share, text)``.
    cancelled : callable, optional
        True stops the work: the best volume so far is returned and
        ``report["stopped"]`` is True.

    Returns
    -------
    Tomogram
        Volume (thickness, Y, X), projections, residuals, held-out score, report.

    Raises
    ------
    InputError
        If the series or a choice cannot be used, and why.
    Cancelled
        If it was cancelled before there was a volume.

    See Also
    --------
    sff_napari.tilt_series.simulate_tilts : A series of known truth.

    Examples
    --------
    >>> from sff_napari import reconstruct
    >>> from sff_napari.tilt_series import make_phantom, simulate_tilts
    >>> made = simulate_tilts(make_phantom((16, 32, 32), seed=1))
    >>> reconstruct(made.noisy, made.tilts, thickness=16, method="wbp").volume.shape
    (16, 32, 32)
    """
    options = Options(contrast, thickness, method, defocus, minutes, device)
    checked = check_series(series, tilts, axis)
    return reconstruct_series(checked, options, Reporter(progress, cancelled), cancelled)


def reconstruct_series(
    series: TiltSeries,
    options: Options,
    reporter: Reporter,
    cancelled: CancelledCallback | None = None,
    checkpoint: Checkpoint | None = None,
) -> Tomogram:
    """Return the volume of a checked series; see `reconstruct`.

    Parameters
    ----------
    series : TiltSeries
        From `check_series`.
    options : Options
        How.
    reporter : Reporter
        Told of progress.
    cancelled : callable, optional
        True stops; the best so far is returned.
    checkpoint : Checkpoint, optional
        Where unfinished work is kept, and found again.
    """
    device = choose_device(options.device)
    began = time.monotonic()
    clock = Clock(began, None if options.minutes is None else 60 * options.minutes, cancelled)
    with steady_torch(), all_threads():
        reporter(0.0, "preparing")
        thickness = options.thickness or estimate_thickness(series, options.contrast)
        problem = set_up(series, options.contrast, thickness, options.defocus, device)
        found = fit(problem, options.method, reporter.part(0.02, 0.97), clock, checkpoint)
        if not clock.stopped():
            reporter(0.97, "foretelling the images")
        predicted = _predicted(found, series)
    volume = found.volume.cpu().numpy().astype(np.float32)
    held_out = found.held_out
    report = {
        "method": options.method,
        "contrast": options.contrast,
        "axis": series.axis,
        "thickness": thickness,
        "thickness_estimated": options.thickness is None,
        "defocus": options.defocus,
        "tilts": [float(t) for t in series.tilts],
        "device": describe_device(device),
        "seconds": round(time.monotonic() - began, 2),
        "stopped": clock.stopped(),
        "levels": asdict(problem.levels),
        "rays_used": round(float(problem.visible.mean()), 4),
        "held_out": None
        if held_out is None
        else {
            "psnr": round(held_out.psnr, 3),
            "tilts": list(held_out.tilts),
            "choice": held_out.choice,
            "tried": {f"{value:g}": round(psnr, 3) for value, psnr in held_out.tried.items()},
        },
        **found.details,
    }
    return Tomogram(
        series.turned_back(volume),
        series.unsorted(predicted),
        series.unsorted(series.images - predicted),
        None if held_out is None else held_out.psnr,
        report,
    )


def _predicted(found: Fit, series: TiltSeries) -> NDArray[np.float32]:
    """Return the images that a volume foretells, (T, Y, X), in grey values."""
    problem: Problem = found.problem
    grid = problem.grid()
    sums = grid.projector.project(found.volume)
    with torch.no_grad():
        return problem.levels.unscale(grid.model.expected(sums, grid.numbers).cpu().numpy())
