"""Find where each row of a scan was measured, given what the image should show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sff_napari.scan_distortion.noise import noise_by_grey

Image = NDArray[np.float32]

REACH = 10.0
"""Largest displacement of a row that is looked for, px."""
_OFFSETS = np.arange(-REACH, REACH + 0.125, 0.25)
_FARTHEST = 3.0
"""Largest displacement that all rows may have in common, px."""
_PROBE = 0.3
"""Share of its own noise that is added to a scan to see what of it is kept."""
_SIGNIFICANT = 30.0
"""Least gain of the logarithm of the likelihood for displacements to be told."""
_UNCERTAIN = 0.8
"""Largest uncertainty of displacements that are told, as a share of their spread."""
_CALMER = 0.97
"""Largest difference of neighbouring rows after they were moved, as a share of that before."""
_MIRROR = cv2.BORDER_REFLECT_101
SLOW = 15.0
"""Standard deviation, rows, of the Gaussian that parts slow drift from jitter."""
_DEVIATIONS = (0.05, 0.12, 0.25, 0.5, 1.0, 2.0, 4.0)
_CORRELATIONS = (0.0, 0.4, 0.8)


@dataclass(frozen=True)
class RowShifts:
    """Displacements of the rows of a scan along the fast axis.

    Parameters
    ----------
    shifts : ndarray, (Y,) float32
        Row y was measured this much to the right, px; 0 where nothing significant was found.
    deviations : ndarray, (Y,) float32
        Standard deviations of the errors of `shifts`, px.
    jitter : float
        Standard deviation of the displacements that fits the image best, px.
    correlation : float
        That of neighbouring rows.
    gain : float
        How much more likely the image is with these displacements than without: the
        logarithm of the ratio, for the image as a whole.
    """

    shifts: NDArray[np.float32]
    deviations: NDArray[np.float32]
    jitter: float
    correlation: float
    gain: float

    @classmethod
    def none(cls, rows: int, gain: float = 0.0) -> RowShifts:
        """Return that nothing significant was found."""
        zero = np.zeros(rows, np.float32)
        return cls(zero, zero.copy(), 0.0, 0.0, gain)

    def field(self, width: int) -> NDArray[np.float32]:
        """Return the displacement of each pixel, (2, Y, X) px."""
        along = np.broadcast_to(self.shifts[:, None], (self.shifts.size, width))
        return np.stack([np.zeros_like(along), along]).astype(np.float32)


def without_slow(shifts: NDArray[np.floating], rows: float = SLOW) -> NDArray[np.floating]:
    """Return displacements (Y, ...) without what changes slowly from row to row.

    That part, a Gaussian of `rows` rows, cannot be told from the specimen itself.
    """
    slow = ndimage.gaussian_filter1d(np.asarray(shifts, np.float64), rows, axis=0, mode="nearest")
    return np.asarray(shifts - slow)


Restore = Callable[[Image], Image]


def estimate_row_shifts(
    image: Image,
    restored: Image,
    known: NDArray[np.bool_] | None = None,
    restore: Restore | None = None,
) -> RowShifts:
    """Return the displacement of each row that explains a scan by what is restored of it.

    Every row is compared with the restored rows around it, moved by -10 to 10 px in steps of a
    quarter; its own, which has followed it, is left out.  What the restored rows have kept
    of the row's noise would still hold it in place: that part of the correlation is
    measured by restoring the scan with a little noise of the same kind added, as the
    divergence in Stein's estimate of risk (Ramani et al., 2008), and subtracted.

    The displacements are a first-order autoregressive series, whose spread and correlation
    are those that make the image most likely; each row's is its mean given all
    rows (forward-backward algorithm).  All are 0 where that is not
    significantly more likely, or leaves them nearly as uncertain as before.

    Parameters
    ----------
    image, restored : ndarray, (Y, X)
        The scan, and what is restored of it.
    known : ndarray, (Y, X) bool, optional
        Where there is an image.
    restore : callable, optional
        What made `restored` of `image`; without it nothing is subtracted.
    """
    weight = np.ones(image.shape, np.float32) if known is None else known.astype(np.float32)
    reference = _around(restored)
    measured = _without_mean(image, weight)
    agreement = _agreement(measured, reference, weight, quadratic=True)
    if restore is not None:
        agreement -= _kept_noise(image, restored, weight, restore)
    spread = _spread(image, reference, weight)
    if not (np.isfinite(spread) and spread > 0):
        return RowShifts.none(len(image))
    evidence = agreement / spread
    # The reference as a whole may lie elsewhere: a slow detector moves all rows alike.
    total = ndimage.gaussian_filter1d(evidence.sum(axis=0), 1.0)
    common = int(np.argmax(np.where(np.abs(_OFFSETS) <= _FARTHEST, total, -np.inf)))
    places = _OFFSETS - _OFFSETS[common]
    evidence -= evidence.max(axis=1, keepdims=True)
    tried = [
        (*_smoothed(evidence, places, deviation, correlation), deviation, correlation)
        for deviation in _DEVIATIONS
        for correlation in _CORRELATIONS
    ]
    score, belief, deviation, correlation = max(tried, key=lambda found: found[0])
    gain = score - tried[0][0]
    mean = belief @ places
    error = np.sqrt(np.maximum(belief @ places**2 - mean**2, 0))
    if gain < _SIGNIFICANT or np.sqrt((error**2).mean()) > _UNCERTAIN * deviation:
        return RowShifts.none(len(image), gain)
    found = RowShifts(
        mean.astype(np.float32), error.astype(np.float32), deviation, correlation, gain
    )
    # Without noise all that is likely is what the model leaves out: then rows must fit better.
    return found if _fits_better(measured, found) else RowShifts.none(len(image), gain)


def _fits_better(measured: Image, shifts: RowShifts) -> bool:
    """Tell whether neighbouring rows differ less after they are moved back."""
    height, width = measured.shape
    x = np.arange(width, dtype=np.float32)[None, :] - shifts.shifts[:, None]
    y = np.ascontiguousarray(
        np.broadcast_to(np.arange(height, dtype=np.float32)[:, None], measured.shape)
    )
    moved = cv2.remap(measured, x, y, cv2.INTER_CUBIC, borderMode=_MIRROR)
    before, after = (float((np.diff(image, axis=0) ** 2).sum()) for image in (measured, moved))
    return after < _CALMER * before


def _around(image: Image) -> Image:
    """Return for each row the mean of those around it, itself left out."""
    rows = np.arange(-4, 5)
    kernel = np.exp(-(rows**2) / 8.0) * (rows != 0)
    return cv2.filter2D(
        image, -1, (kernel / kernel.sum()).astype(np.float32)[:, None], borderType=_MIRROR
    )


def _without_mean(image: Image, weight: Image) -> Image:
    """Return rows without their means: they may have grey offsets of their own."""
    mean = (image * weight).sum(axis=1) / np.maximum(weight.sum(axis=1), 1.0)
    return np.asarray((image - mean[:, None]) * weight, np.float32)


def _agreement(
    measured: Image, reference: Image, weight: Image, quadratic: bool
) -> NDArray[np.float64]:
    """Return how well rows agree with a reference moved by each offset, (Y, offsets).

    Their product, less half of the reference's square for the squared difference.
    """
    y = np.arange(len(measured), dtype=np.float32)[:, None]
    x = np.arange(measured.shape[1], dtype=np.float32)[None, :]
    rows = np.ascontiguousarray(np.broadcast_to(y, measured.shape))
    out = np.empty((len(measured), _OFFSETS.size))
    for number, offset in enumerate(_OFFSETS):
        columns = np.ascontiguousarray(np.broadcast_to(x + np.float32(offset), measured.shape))
        moved = cv2.remap(reference, columns, rows, cv2.INTER_LINEAR, borderMode=_MIRROR)
        if quadratic:
            moved = _without_mean(moved, weight)
        out[:, number] = np.einsum("yx,yx->y", measured, moved)
        if quadratic:
            out[:, number] -= 0.5 * np.einsum("yx,yx->y", moved, moved)
    return out


def _kept_noise(
    image: Image, restored: Image, weight: Image, restore: Restore
) -> NDArray[np.float64]:
    """Return the agreement that rows owe to their own noise in the rows around them."""
    noise = _alike_noise(image, restored, weight)
    kept = (restore(image + np.float32(_PROBE) * noise) - restored) / np.float32(_PROBE)
    owed = _agreement(_without_mean(noise, weight), _around(kept), weight, quadratic=False)
    return ndimage.gaussian_filter1d(owed, 20.0, axis=0, mode="nearest")


def _alike_noise(image: Image, restored: Image, weight: Image) -> Image:
    """Return noise as strong at each grey value, and as correlated along rows, as the scan's."""
    levels = noise_by_grey(image, restored, weight > 0)
    strength = np.interp(restored, levels[:, 0], levels[:, 1])
    residual = _without_mean(image - restored, weight) / np.maximum(strength, 1e-6)
    power = (np.abs(np.fft.rfft(residual, axis=1)) ** 2).mean(axis=0)
    power /= max(float(power.mean()), 1e-12)
    white = np.random.default_rng(0).standard_normal(image.shape)
    coloured = np.fft.irfft(np.fft.rfft(white, axis=1) * np.sqrt(power), n=image.shape[1], axis=1)
    return np.asarray(coloured * strength, np.float32)


def _spread(image: Image, reference: Image, weight: Image) -> float:
    """Return the variance of the noise, times the number of pixels that share one's noise."""
    noise = _without_mean(image - reference, weight)
    total = float((noise**2).sum())
    if total <= 0:
        return 0.0
    alike = 1.0
    for lag in range(1, 7):
        alike += 2 * max(float((noise[:, lag:] * noise[:, :-lag]).sum()) / total, 0.0)
    return total / max(float(weight.sum()), 1.0) * alike


def _smoothed(
    evidence: NDArray[np.float64], places: NDArray[np.float64], deviation: float, phi: float
) -> tuple[float, NDArray[np.float64]]:
    """Return the log evidence of a series' spread and correlation, and each row's belief."""
    prior = _normalised(np.exp(-0.5 * (places / deviation) ** 2))
    likely = np.exp(np.maximum(evidence, -700.0))
    if phi == 0:
        joint = likely * prior
        total = joint.sum(axis=1, keepdims=True)
        return float(np.log(np.maximum(total, 1e-300)).sum()), joint / np.maximum(total, 1e-300)
    step = deviation * np.sqrt(1 - phi**2)
    jump = np.exp(-0.5 * ((places[None, :] - phi * places[:, None]) / step) ** 2)
    jump = jump / np.maximum(jump.sum(axis=1, keepdims=True), 1e-300)
    count = len(likely)
    forward = np.empty_like(likely)
    score = 0.0
    state = prior
    for row in range(count):
        state = (state @ jump if row else state) * likely[row]
        total = max(float(state.sum()), 1e-300)
        score += np.log(total)
        state = state / total
        forward[row] = state
    backward = np.ones(places.size)
    belief = np.empty_like(likely)
    for row in range(count - 1, -1, -1):
        belief[row] = _normalised(forward[row] * backward)
        backward = _normalised(jump @ (likely[row] * backward))
    return score, belief


def _normalised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values / max(float(values.sum()), 1e-300)


def inverse_displacement(displacement: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return where to read a scan to undo a displacement.

    Parameters
    ----------
    displacement : ndarray, (2, Y, X)
        The measured pixel x shows the specimen at ``x + displacement(x)``, px.

    Returns
    -------
    ndarray, (2, Y, X) float32
        The inverse: the specimen at x was measured at ``x + inverse(x)``, by fixed-point
        iteration.
    """
    inverse = -displacement
    height, width = displacement.shape[1:]
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None, :]
    rows_alike = not np.any(displacement[0]) and np.all(displacement == displacement[:, :, :1])
    for _ in range(0 if rows_alike else 8):
        inverse = -np.stack(
            [
                cv2.remap(
                    np.ascontiguousarray(part), x + inverse[1], y + inverse[0],
                    cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
                )
                for part in displacement
            ]
        )  # fmt: skip
    return np.ascontiguousarray(inverse, np.float32)
