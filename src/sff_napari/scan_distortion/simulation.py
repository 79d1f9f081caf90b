"""Distort a clean image as a scanning microscope does, and count few electrons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import lfilter

from sff_napari.arrays import GreyScale, as_slice
from sff_napari.errors import InputError
from sff_napari.no_data import fill_no_data, find_no_data
from sff_napari.scan_distortion.ranges import Range, ScanRanges

FastAxis = Literal["x", "y"]
Image = NDArray[np.float32]


@dataclass(frozen=True)
class SimulatedScan:
    """A clean image, and what a scanning microscope makes of it.

    Parameters
    ----------
    distorted : ndarray, (Y, X)
        What the microscope shows, in the dtype of the clean image.
    truth : ndarray, (Y, X)
        The clean image on the same scale of grey values.
    displacement : ndarray, (2, Y, X) float32
        Pixel (y, x) of `distorted` was measured at (y, x) + displacement[:, y, x], px.
    strengths : dict of str to float
        What was drawn.

    See Also
    --------
    sff_napari.simulate_scan : Makes it.

    Examples
    --------
    >>> import sff_napari as sff
    >>> from sff_napari.scan_distortion import specimen
    >>> scan = sff.simulate_scan(specimen("facets", (64, 64)), jitter=2)
    >>> scan.strengths["jitter"]
    2.0
    """

    distorted: NDArray[Any]
    truth: NDArray[Any]
    displacement: Image
    strengths: dict[str, float]


def check_fast_axis(axis: str) -> FastAxis:
    """Return the axis along which the beam runs.

    Raises
    ------
    InputError
        If it is neither "x" nor "y".
    """
    if axis not in ("x", "y"):
        raise InputError(
            f"There is no fast axis {axis!r}: use 'x' if the beam runs along rows, 'y' if along "
            "columns."
        )
    return "x" if axis == "x" else "y"


def simulate_scan(
    image: ArrayLike, seed: int = 0, *, fast_axis: str = "x", **ranges: Any
) -> SimulatedScan:
    """Return an image as a scanning microscope with jitter, drift and few electrons shows it.

    Parameters
    ----------
    image : array-like, (Y, X)
        A clean image: uint8, uint16, float32 or float64.
    seed : int
        The same seed gives the same scan.
    fast_axis : {"x", "y"}
        Axis along which the beam runs; "x" is along rows.
    **ranges : float or pair of float
        Fields of `ScanRanges`: one number, or the smallest and the largest to draw from.

    Returns
    -------
    SimulatedScan
        The distorted image, the clean one and the true displacement.

    Raises
    ------
    InputError
        If the image, the axis or a range cannot be used.

    See Also
    --------
    sff_napari.restore_scan : Undoes it.

    Examples
    --------
    >>> import numpy as np
    >>> import sff_napari as sff
    >>> clean = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    >>> scan = sff.simulate_scan(clean, seed=1, jitter=1.5, counts=50)
    >>> scan.distorted.shape, scan.displacement.shape
    ((64, 64), (2, 64, 64))
    """
    drawn_from = ScanRanges.of(**ranges)
    transposed = check_fast_axis(fast_axis) == "y"
    array = as_slice(image)
    if max(array.shape) > 32_000:
        raise InputError("The image is larger than 32000 pixels on a side: distort parts of it.")
    no_data = find_no_data(array)
    if no_data is not None and no_data.all():
        raise InputError("The image has one value throughout: there is nothing to distort.")
    scale = GreyScale.of(array, no_data)
    unit = np.clip(scale.to_unit(fill_no_data(array, no_data)), 0, 1)
    clean = np.ascontiguousarray(unit.T) if transposed else unit
    made = distort(clean, np.random.default_rng(seed), drawn_from)
    distorted, displacement = made.distorted, made.displacement
    if transposed:
        distorted = np.ascontiguousarray(distorted.T)
        displacement = np.ascontiguousarray(displacement.transpose(0, 2, 1)[::-1])
    return SimulatedScan(
        scale.from_unit(distorted),
        scale.from_unit(made.truth.T if transposed else made.truth),
        displacement,
        made.strengths,
    )


def distort(clean: Image, rng: np.random.Generator, ranges: ScanRanges) -> SimulatedScan:
    """Return a scan along rows of an image in [0, 1]; see `simulate_scan`.

    The truth has the gain and the offset of the scan.
    """
    strengths: dict[str, float] = {}
    displacement = _displacement(clean.shape[0], clean.shape[1], rng, ranges, strengths)
    gain, offset = _uniform(rng, ranges.gain), _uniform(rng, ranges.offset)
    truth = (np.float32(gain) * clean + np.float32(offset)).astype(np.float32)
    seen = sample(truth, displacement)
    counts = max(_log_uniform(rng, ranges.counts), 1e-3)
    strengths |= {"gain": gain, "offset": offset, "counts": counts}
    noisy = rng.poisson(np.maximum(seen, 0) * counts).astype(np.float32) / np.float32(counts)
    if rng.random() < ranges.detector_share:
        tau = _log_uniform(rng, ranges.detector)
        strengths["detector"] = tau
        noisy = _slow_detector(noisy, tau, _uniform(rng, ranges.detector_power))
    sigma = _uniform(rng, ranges.noise)
    strengths["noise"] = sigma
    noisy += np.float32(sigma) * rng.standard_normal(noisy.shape, np.float32)
    if rng.random() < ranges.row_offset_share:
        spread = _uniform(rng, ranges.row_offset)
        strengths["row_offset"] = spread
        noisy += np.float32(spread) * rng.standard_normal((noisy.shape[0], 1), np.float32)
    _kill(noisy, rng, ranges)
    levels = np.float32(2 ** round(_uniform(rng, ranges.bits)) - 1)
    # Values above white fit: detectors are set up with room for bright noise.
    top = np.float32(max(1.0, float(np.percentile(noisy[::4, ::4], 99.9))))
    np.clip(noisy, 0, top, out=noisy)
    noisy = np.rint(noisy * (levels / top)) * (top / levels)
    return SimulatedScan(noisy, truth, displacement, strengths)


def sample(image: Image, displacement: Image) -> Image:
    """Return ``image(x + displacement(x))`` by cubic interpolation, borders mirrored."""
    height, width = image.shape
    y = np.arange(height, dtype=np.float32)[:, None] + displacement[0]
    x = np.arange(width, dtype=np.float32)[None, :] + displacement[1]
    return np.asarray(
        cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101), np.float32
    )


def _displacement(
    height: int,
    width: int,
    rng: np.random.Generator,
    ranges: ScanRanges,
    strengths: dict[str, float],
) -> Image:
    """Return the sum of row jitter, pixel jitter, drift and flyback, (2, Y, X) px."""
    total = np.zeros((2, height, width), np.float32)
    jitter = _log_uniform(rng, ranges.jitter)
    across = jitter * _uniform(rng, ranges.jitter_across)
    phi = _uniform(rng, ranges.jitter_correlation) if rng.random() < 0.5 else 0.0
    for axis, sigma in ((1, jitter), (0, across)):
        total[axis] += (sigma * _autoregressive(rng, height, phi))[:, None]
    pixel = _uniform(rng, ranges.pixel_jitter)
    strengths |= {"jitter": jitter, "jitter_across": across, "pixel_jitter": pixel}
    if pixel > 0:
        for axis in (0, 1):
            walk = _autoregressive(rng, height * width, 0.95)
            total[axis] += pixel * walk.reshape(height, width)
    if rng.random() < ranges.drift_share:
        total += _drift(height, width, rng, ranges)
    if rng.random() < ranges.flyback_share:
        reach = _uniform(rng, ranges.flyback)
        length = max(_uniform(rng, ranges.flyback_length), 1e-3)
        total[1] += np.float32(reach) * np.exp(-np.arange(width, dtype=np.float32) / length)
        strengths["flyback"] = reach
    if rng.random() < ranges.interlaced_share:
        total[1, 1::2] += _uniform(rng, ranges.interlaced)
    # Where the image as a whole lies is arbitrary.
    return total - total.mean(axis=(1, 2), keepdims=True)


def _drift(height: int, width: int, rng: np.random.Generator, ranges: ScanRanges) -> Image:
    """Return linear drift and oscillations over the scan time, (2, Y, X) px."""
    dwell = _log_uniform(rng, ranges.dwell) * 1e-6
    row_time = width * dwell * (1 + _uniform(rng, ranges.flyback_time))
    time = (
        np.arange(height, dtype=np.float32)[:, None] * np.float32(row_time)
        + np.arange(width, dtype=np.float32)[None, :] * np.float32(dwell)
    )  # fmt: skip
    drift = np.zeros((2, height, width), np.float32)
    for axis in (0, 1):
        way = _uniform(rng, ranges.drift) * width * rng.choice([-1, 1])
        drift[axis] += time * np.float32(way / (height * row_time))
        for _ in range(4):
            frequency = max(_uniform(rng, ranges.frequency), 1e-3)
            # abTEM's model: amplitudes fall with the root of the frequency, here from 1 Hz on.
            amplitude = _uniform(rng, ranges.vibration) / np.sqrt(max(frequency, 1.0))
            phase = rng.uniform(0, 2 * np.pi)
            drift[axis] += np.float32(amplitude) * np.sin(
                np.float32(2 * np.pi * frequency) * time + np.float32(phase)
            )
    return drift


def _autoregressive(rng: np.random.Generator, count: int, phi: float) -> Image:
    """Return a series of unit variance whose neighbours correlate by `phi`."""
    steps = rng.standard_normal(count)
    if phi == 0:
        return steps.astype(np.float32)
    steps[1:] *= np.sqrt(1 - phi**2)
    return np.asarray(lfilter([1.0], [1.0, -phi], steps), np.float32)


def _slow_detector(image: Image, tau: float, power: float) -> Image:
    """Return an image whose grey values decay over `tau` pixels along rows."""
    steps = np.arange(max(2, int(np.ceil(5 * tau))), dtype=np.float64)
    kernel = np.exp(-((steps / max(tau, 1e-3)) ** power))
    return cv2.filter2D(
        image,
        -1,
        (kernel[::-1] / kernel.sum()).astype(np.float32)[None],
        anchor=(steps.size - 1, 0),
        borderType=cv2.BORDER_REPLICATE,
    )


def _kill(image: Image, rng: np.random.Generator, ranges: ScanRanges) -> None:
    """Set dead pixels and segments of rows without response, in place."""
    count = round(_uniform(rng, ranges.dead_pixels) * image.size)
    places = rng.integers(0, image.size, count)
    height, width = image.shape
    image[places // width, places % width] = rng.choice([0.0, 1.0], count)
    for _ in range(rng.poisson(_uniform(rng, ranges.dead_segments) * height / 256)):
        row = rng.integers(0, height)
        first, last = np.sort(rng.integers(0, width, 2))
        image[row, first:last] = 0


def _uniform(rng: np.random.Generator, between: Range) -> float:
    return float(rng.uniform(*between))


def _log_uniform(rng: np.random.Generator, between: Range) -> float:
    low, high = (max(value, 1e-6) for value in between)
    return float(np.exp(rng.uniform(np.log(low), np.log(high)))) if between[1] > 0 else 0.0
