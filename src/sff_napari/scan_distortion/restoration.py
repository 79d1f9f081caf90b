"""Restore one scanned slice, by the method of choice."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from sff_napari.arrays import GreyScale, as_slice
from sff_napari.devices import all_threads, choose_device, describe_device, steady_torch
from sff_napari.errors import InputError
from sff_napari.networks import weights as network_weights
from sff_napari.no_data import fill_no_data, find_no_data
from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter
from sff_napari.scan_distortion.classical import aligned_rows, best_width, gaussian, median
from sff_napari.scan_distortion.confidence import confidence_of
from sff_napari.scan_distortion.displacement import (
    RowShifts,
    estimate_row_shifts,
    inverse_displacement,
    without_slow,
)
from sff_napari.scan_distortion.inference import run_network
from sff_napari.scan_distortion.noise import noise_by_grey, noise_deviation
from sff_napari.scan_distortion.simulation import check_fast_axis, sample
from sff_napari.scan_distortion.slow_drift import SlowDrift, estimate_slow_drift
from sff_napari.scan_distortion.two_passes import restore_twice

Image = NDArray[np.float32]
Method = Literal["default", "plain12", "cgrdn", "gaussian", "median", "rows"]
METHODS: tuple[Method, ...] = get_args(Method)
_LARGEST = 32_000
"""Longest side, px: OpenCV counts pixels in 16 bits."""
NETWORK_OF: dict[str, str] = {
    "default": "scan",
    "plain12": "scan_plain12",
    "cgrdn": "scan_cgrdn",
}
"""Networks by the name of the method."""
_AS_PUBLISHED = ("plain12", "cgrdn")
"""Methods after which rows are not moved."""


@dataclass(frozen=True)
class ScanRestoration:
    """A scanned slice restored, and what was found out about its scan.

    Parameters
    ----------
    restored : ndarray, (Y, X)
        In the dtype and on the grey scale of the input; what holds no image is unchanged.
    displacement : ndarray, (2, Y, X) float32
        (dy, dx) in px: the measured pixel (y, x) shows the specimen at
        (y, x) + displacement[:, y, x].
    noise : ndarray, (N, 2) float64
        Grey levels, and the standard deviation of the noise at each, in grey values.
    confidence : ndarray, (Y, X) float16
        In [0, 1]: how large the structures of the slice are beside the error to be
        expected of each pixel; 0.5 where the two are equal, 0 without image.
    report : dict
        Method, strengths found, seconds, notes; plain JSON types.

    See Also
    --------
    sff_napari.restore_scan : Makes it.

    Examples
    --------
    >>> import sff_napari as sff
    >>> from sff_napari.scan_distortion import specimen
    >>> scan = sff.simulate_scan(specimen("lattice", (64, 64), seed=3), seed=1, counts=30)
    >>> result = sff.restore_scan(scan.distorted, method="gaussian")
    >>> result.displacement.shape, result.noise.shape[1]
    ((2, 64, 64), 2)
    """

    restored: NDArray[Any]
    displacement: Image
    noise: NDArray[np.float64]
    confidence: NDArray[np.float16]
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScanOptions:
    """How a scan is restored; see `restore_scan`.

    Parameters
    ----------
    fast_axis : {"x", "y"}
        Along which the beam runs.
    strength : float
        In [0, 1].
    displacement_only : bool
        Whether measured pixels are moved and nothing else is done.
    method : str
        One of `METHODS`.
    weights : path, optional
        Of the network.
    device : str
        Where to compute.

    See Also
    --------
    sff_napari.restore_scan : Takes them one by one.

    Examples
    --------
    >>> from sff_napari.scan_distortion import ScanOptions
    >>> ScanOptions(fast_axis="y").strength
    1.0
    """

    fast_axis: str = "x"
    strength: float = 1.0
    displacement_only: bool = False
    method: str = "default"
    weights: str | Path | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        check_fast_axis(self.fast_axis)
        if self.method not in METHODS:
            raise InputError(
                f"There is no method {self.method!r}: use one of {', '.join(METHODS)}."
            )
        if not (math.isfinite(self.strength) and 0 <= self.strength <= 1):
            raise InputError(
                f"The strength is {self.strength:g}: choose a number from 0 (unchanged) to 1."
            )


def restore_scan(
    image: ArrayLike,
    previous: ArrayLike | None = None,
    following: ArrayLike | None = None,
    *,
    fast_axis: str = "x",
    strength: float = 1.0,
    displacement_only: bool = False,
    method: str = "default",
    weights: str | Path | None = None,
    device: str = "auto",
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> ScanRestoration:
    """Return a scanned slice without the jitter, the drift and the noise of its scan.

    Parameters
    ----------
    image : array-like, (Y, X)
        The slice: uint8, uint16, float32 or float64.
    previous, following : array-like, (Y, X), optional
        Slices beside it, aligned: slow drift is measured against them.  In a single
        image it cannot be told from the specimen.
    fast_axis : {"x", "y"}
        Axis along which the beam runs; "x" is along rows.
    strength : float
        From 0, unchanged, to 1, fully restored.
    displacement_only : bool
        Move measured pixels to where they belong, and denoise nothing: for those
        who measure grey values.
    method : {"default", "plain12", "cgrdn", "gaussian", "median", "rows"}
        The network that comes with the package; the two of Lobato et al. (2020, 2024), which
        need `weights`; a Gaussian whose width is estimated; a median of 5 x 5; or the
        alignment of rows to those around them.
    weights : path, optional
        A file, or a folder with files, made by ``sff-napari-train --for scan``.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``.
    progress : callable, optional
        Called as ``progress(share, text)``.
    cancelled : callable, optional
        True stops the work.

    Returns
    -------
    ScanRestoration
        Restored slice, displacement, noise, confidence, report.

    Raises
    ------
    InputError
        If the image or a choice cannot be used, and why.
    WeightsError
        If a network's weights are missing.
    Cancelled
        If it was cancelled.

    See Also
    --------
    sff_napari.simulate_scan : A scan of known truth.

    Examples
    --------
    >>> import sff_napari as sff
    >>> from sff_napari.scan_distortion import specimen
    >>> scan = sff.simulate_scan(specimen("blobs", (96, 96), seed=3), seed=1, counts=30)
    >>> sff.restore_scan(scan.distorted).restored.shape
    (96, 96)
    """
    options = ScanOptions(
        fast_axis, float(strength), bool(displacement_only), method, weights, device
    )
    beside = {"previous": previous, "following": following}
    given = {name: value for name, value in beside.items() if value is not None}
    scan = _Scan.of(image, given, options)
    reporter = Reporter(progress, cancelled)
    with steady_torch(), all_threads():
        return _restored(scan, options, reporter)


@dataclass(frozen=True)
class _Scan:
    """A slice in [0, 1] scanned along rows, and what is needed to turn it back."""

    array: NDArray[Any]
    unit: Image
    known: NDArray[np.bool_]
    scale: GreyScale
    neighbours: dict[str, Image]
    transposed: bool

    @classmethod
    def of(cls, image: ArrayLike, beside: dict[str, ArrayLike], options: ScanOptions) -> _Scan:
        array = as_slice(image)
        if max(array.shape) > _LARGEST:
            raise InputError(
                f"The image has {array.shape[0]} x {array.shape[1]} pixels: restore parts of at "
                f"most {_LARGEST} x {_LARGEST}."
            )
        transposed = options.fast_axis == "y"

        def turned(part: NDArray[Any]) -> NDArray[Any]:
            return np.ascontiguousarray(part.T if transposed else part)

        no_data = find_no_data(array)
        if no_data is not None and no_data.all():
            raise InputError(
                "The image has one value throughout: there is nothing to restore; choose a "
                "slice that shows something."
            )
        known = np.ones(array.shape, np.bool_) if no_data is None else ~no_data
        scale = GreyScale.of(array, no_data)
        unit = scale.to_unit(fill_no_data(array, no_data))
        neighbours = {}
        for name, value in beside.items():
            other = as_slice(value, f"{name} slice")
            if other.shape != array.shape:
                raise InputError(
                    f"The {name} slice has {other.shape[0]} x {other.shape[1]} pixels, the "
                    f"image {array.shape[0]} x {array.shape[1]}: give slices of one stack."
                )
            gone = find_no_data(other)
            if gone is not None and gone.all():
                continue
            grey = GreyScale.of(other, gone).to_unit(fill_no_data(other, gone))
            neighbours[name] = turned(np.nan_to_num(grey))
        return cls(array, turned(np.nan_to_num(unit)), turned(known), scale, neighbours, transposed)


def _restored(scan: _Scan, options: ScanOptions, reporter: Reporter) -> ScanRestoration:
    began = time.perf_counter()
    device = choose_device(options.device)
    reporter(0.0, "reading weights")
    clean, difference, shifts, details = _first_pass(
        scan, options, device, reporter.part(0.0, 0.85)
    )
    jitter = shifts.field(scan.unit.shape[1])
    reporter(0.85, "measuring slow drift")
    moved = options.method in _AS_PUBLISHED and bool(jitter.any())
    upright = sample(clean, inverse_displacement(jitter)) if moved else clean
    drift = (
        estimate_slow_drift(upright, scan.neighbours, scan.known)
        if scan.neighbours
        else SlowDrift(np.zeros((len(clean), 2), np.float32))
    )
    slow = np.broadcast_to(drift.shifts.T[:, :, None], jitter.shape).astype(np.float32)
    displacement = jitter + slow
    reporter(0.9, "measuring the noise")
    at_measured = clean if moved else sample(clean, jitter)
    noise = noise_by_grey(scan.unit, at_measured, scan.known)
    noise_level = noise_deviation(scan.unit)
    confidence = confidence_of(clean, difference, noise_level, scan.known)
    result = _mixed(scan, clean, displacement, slow, options)
    report = {
        "method": options.method,
        "fast_axis": options.fast_axis,
        "strength": options.strength,
        "displacement_only": options.displacement_only,
        "device": describe_device(device),
        "jitter": round(float(without_slow(shifts.shifts).std()), 4),
        "jitter_correlation": shifts.correlation,
        "row_error": round(float(np.median(shifts.deviations)), 4),
        "evidence": round(float(shifts.gain), 2),
        "noise": round(noise_level * (scan.scale.high - scan.scale.low), 6),
        "neighbours": list(drift.used),
        "slow_drift": round(float(np.sqrt((drift.shifts**2).sum(axis=1).mean())), 4),
        "notes": list(drift.notes),
        **details,
        "seconds": round(time.perf_counter() - began, 3),
    }
    reporter(1.0, "done")
    grey = np.array(noise)
    grey[:, 0] = scan.scale.low + grey[:, 0] * (scan.scale.high - scan.scale.low)
    grey[:, 1] *= scan.scale.high - scan.scale.low
    if scan.transposed:
        displacement = displacement.transpose(0, 2, 1)[::-1]
        confidence = confidence.T
    return ScanRestoration(
        _in_grey(scan, result),
        np.ascontiguousarray(displacement),
        grey,
        np.ascontiguousarray(confidence),
        report,
    )


def _first_pass(
    scan: _Scan, options: ScanOptions, device: torch.device, reporter: Reporter
) -> tuple[Image, Image, RowShifts, dict[str, Any]]:
    """Return the image restored, how unsure it is, the displacement of rows, and details."""
    none = np.zeros_like(scan.unit)
    if options.method in NETWORK_OF:
        kind = NETWORK_OF[options.method]
        path = network_weights.own_or_bundled(kind, network_weights.named(options.weights))
        network = network_weights.load(kind, path, device)
        details = {"weights": network_weights.digest(kind, path)}

        def run(image: Image, told: Reporter) -> tuple[Image, Image]:
            return run_network(network, image, device, told)

        if options.method == "default":
            return *restore_twice(run, scan.unit, scan.known, reporter), details
        clean, difference = run(scan.unit, reporter)
        shifts = estimate_row_shifts(
            scan.unit, clean, scan.known, lambda image: run(image, Reporter())[0]
        )
        return clean, difference, shifts, details
    reporter(0.1, "restoring")
    if options.method == "rows":
        clean, shifts = aligned_rows(scan.unit)
        return clean, none, shifts, {}
    width = best_width(scan.unit)
    median_or_blur = median if options.method == "median" else partial(gaussian, sigma=width)
    clean = median_or_blur(scan.unit)
    shifts = estimate_row_shifts(scan.unit, clean, scan.known, median_or_blur)
    if shifts.shifts.any():
        field = shifts.field(scan.unit.shape[1])
        clean = median_or_blur(sample(scan.unit, inverse_displacement(field)))
    return clean, none, shifts, {} if options.method == "median" else {"width": width}


def _mixed(
    scan: _Scan, clean: Image, displacement: Image, slow: Image, options: ScanOptions
) -> Image:
    """Return the result at the strength of choice, in [0, 1]."""
    share = np.float32(options.strength)
    if options.displacement_only:
        if not displacement.any() or share == 0:
            return scan.unit
        return sample(scan.unit, inverse_displacement(share * displacement))
    if slow.any():
        clean = sample(clean, inverse_displacement(slow))
    return scan.unit + share * (clean - scan.unit)


def _in_grey(scan: _Scan, unit: Image) -> NDArray[Any]:
    """Return a result on the scale of the input, unchanged where that holds no image."""
    back = unit.T if scan.transposed else unit
    known = scan.known.T if scan.transposed else scan.known
    grey = scan.scale.from_unit(np.ascontiguousarray(back))
    return np.where(known, grey, scan.array).astype(scan.array.dtype)
