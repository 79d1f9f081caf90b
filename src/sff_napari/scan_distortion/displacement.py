"""Find where each row of a scan was measured, given what the image should show."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Image = NDArray[np.float32]

REACH = 10.0
"""Largest displacement of a row that is looked for, px."""
STEP = 0.25
SLOW = 15.0
"""Standard deviation, rows, of the Gaussian that parts slow drift from jitter."""
_DEVIATIONS = (0.05, 0.12, 0.25, 0.5, 1.0, 2.0, 4.0)
_CORRELATIONS = (0.0, 0.6, 0.9)


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


def estimate_row_shifts(
    image: Image, reference: Image, known: NDArray[np.bool_] | None = None
) -> RowShifts:
    """Return the displacement of each row that explains an image by a reference.

    Every row is compared with the reference moved by -10 to 10 px in steps of a quarter.
    The displacements are a first-order autoregressive series, whose spread and correlation
    are those that make the image most likely; each row's is its mean given all
    rows (forward-backward algorithm), so that it tends to 0 where the image does not tell.

    Parameters
    ----------
    image, reference : ndarray, (Y, X)
        The scan, and what it should show.
    known : ndarray, (Y, X) bool, optional
        Where both hold an image.
    """
    height = image.shape[0]
    offsets = np.arange(-REACH, REACH + STEP / 2, STEP)
    weight = np.ones(image.shape, np.float32) if known is None else known.astype(np.float32)
    cost = _costs(image, reference, weight, offsets)
    # The reference as a whole may lie elsewhere: a slow detector moves all rows alike.
    common = int(np.argmin(ndimage.gaussian_filter1d(cost.sum(axis=0), 1.0)))
    spread = _spread(image, reference, weight, offsets[common])
    if spread <= 0 or not np.isfinite(spread):
        zero = np.zeros(height, np.float32)
        return RowShifts(zero, zero.copy(), 0.0, 0.0, 0.0)
    evidence = -cost / (2 * spread)
    evidence -= evidence.max(axis=1, keepdims=True)
    places = offsets - offsets[common]
    best: tuple[float, float, float, NDArray[np.float64]] | None = None
    for deviation in _DEVIATIONS:
        for correlation in _CORRELATIONS:
            score, belief = _smoothed(evidence, places, deviation, correlation)
            if best is None or score > best[0]:
                best = (score, deviation, correlation, belief)
    assert best is not None
    score, deviation, correlation, belief = best
    mean = belief @ places
    error = np.sqrt(np.maximum(belief @ places**2 - mean**2, 0))
    gain = score - float(evidence[:, common].sum())
    return RowShifts(
        mean.astype(np.float32), error.astype(np.float32), deviation, correlation, gain
    )


def _costs(
    image: Image, reference: Image, weight: Image, offsets: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the squared difference of each row and the moved reference, (Y, offsets)."""
    height, width = image.shape
    y = np.broadcast_to(np.arange(height, dtype=np.float32)[:, None], image.shape)
    y = np.ascontiguousarray(y)
    x = np.arange(width, dtype=np.float32)[None, :]
    cost = np.empty((height, offsets.size))
    share = np.maximum(weight.sum(axis=1), 1.0)
    for number, offset in enumerate(offsets):
        moved = cv2.remap(
            reference,
            np.ascontiguousarray(np.broadcast_to(x + np.float32(offset), image.shape)),
            y,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        difference = image - moved
        # Rows may have grey offsets of their own.
        mean = (difference * weight).sum(axis=1) / share
        squared = (weight * difference**2).sum(axis=1) - share * mean**2
        cost[:, number] = squared
    return cost


def _spread(image: Image, reference: Image, weight: Image, offset: float) -> float:
    """Return the variance of the noise, times the number of pixels that share one's noise."""
    moved = ndimage.shift(reference, (0, -offset), order=1, mode="mirror") if offset else reference
    noise = (image - moved) * weight
    noise = noise - noise.mean(axis=1, keepdims=True)
    variance = float((noise**2).sum() / max(float(weight.sum()), 1.0))
    if variance <= 0:
        return 0.0
    size = noise.size
    alike = 1.0
    for lag in range(1, 7):
        rho = float((noise[:, lag:] * noise[:, :-lag]).sum() / (variance * size))
        alike += 2 * max(rho, 0.0)
    return variance * alike


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
