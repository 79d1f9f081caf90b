"""Estimate the shift, turn and scale that bring one slice onto another.

A search over turns and scales at a coarse scale, each with the best shift by
phase correlation, gives the start; least squares on the grey values make it
exact, level by level.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sff_napari.alignment.similarity_levels import (
    COARSE,
    SMOOTH,
    Level,
    levels_of,
    moved_at,
    rescaled,
    score_at,
)
from sff_napari.arrays import as_slice
from sff_napari.errors import InputError
from sff_napari.no_data import find_no_data

_FINE = 1024
"""Longer side, px, of the finest level that is fitted; half a pixel of larger slices is less."""
_ANGLES = np.arange(-14.0, 14.5, 1.0)
_FEW_ANGLES = np.arange(-14.0, 14.5, 2.0)
_SCALES = (0.96, 0.98, 1.0, 1.02, 1.04)
_KEPT = 4
"""Starts that are fitted."""
_ROUNDS = 30
_LEAST_SCORE = 0.12
"""Least correlation at which a similarity is trusted."""
_GAIN = 0.08
"""How much better than lying as they are slices must match to be called unaligned."""
_CHANCE = 6.5
"""Standard deviations by which the best of all moves of other tissue may match."""
_FAR = 16.0
"""Mean displacement, px, from which slices count as unaligned."""


@dataclass(frozen=True)
class Similarity:
    """How a moving slice lies against a fixed one.

    What the fixed slice shows at (y, x) the moving one shows at
    ``centre + scale * R @ ((y, x) - centre) + shift``, with ``centre`` the
    middle of the fixed slice and R the turn from y towards x by
    `rotation_degrees`.

    Parameters
    ----------
    rotation_degrees : float
        Turn; positive from the y axis towards the x axis.
    scale : float
        How much larger the moving slice shows things.
    shift : (dy, dx)
        In px, of the middle of the fixed slice.
    score : float
        Correlation of the two where both show tissue, after the move, -1 to 1.
    shape : (Y, X)
        Of the fixed slice.
    unmoved : float
        The same correlation without a move.
    chance : float
        Correlation that slices of other tissue may reach.
    """

    rotation_degrees: float
    scale: float
    shift: tuple[float, float]
    score: float
    shape: tuple[int, int]
    unmoved: float = 0.0
    chance: float = 0.0

    def matrix(self) -> NDArray[np.float64]:
        """Return the map as (2, 3), from (x, y, 1) of the fixed to (x, y) of the moving slice.

        ``cv2.warpAffine(moving, matrix, (X, Y), flags=cv2.WARP_INVERSE_MAP)``
        brings the moving slice onto the fixed one.
        """
        turn = math.radians(self.rotation_degrees)
        a, b = self.scale * math.cos(turn), self.scale * math.sin(turn)
        cy, cx = (self.shape[0] - 1) / 2, (self.shape[1] - 1) / 2
        # y' = cy + a (y - cy) - b (x - cx) + dy;  x' = cx + b (y - cy) + a (x - cx) + dx
        return np.array(
            [
                [a, b, cx - a * cx - b * cy + self.shift[1]],
                [-b, a, cy - a * cy + b * cx + self.shift[0]],
            ]
        )

    def apply(self, points: Any) -> NDArray[np.float64]:
        """Return where points (N, 2), as (y, x) of the fixed slice, lie in the moving one."""
        yx = np.asarray(points, dtype=np.float64)
        x, y = self.matrix() @ np.stack([yx[:, 1], yx[:, 0], np.ones(len(yx))])
        return np.stack([y, x], axis=1)

    @property
    def displacement(self) -> float:
        """Mean distance, px, between where things lie in the two slices."""
        height, width = self.shape
        grid = np.stack(
            np.meshgrid(np.linspace(0, height - 1, 9), np.linspace(0, width - 1, 9), indexing="ij"),
            axis=-1,
        ).reshape(-1, 2)
        return float(np.linalg.norm(self.apply(grid) - grid, axis=1).mean())

    @property
    def is_unaligned(self) -> bool:
        """Whether the slices clearly match better after the move, and it is a long one."""
        return (
            self.displacement > _FAR
            and self.score > max(_LEAST_SCORE, self.chance)
            and abs(self.rotation_degrees) < _ANGLES[-1]
            and _SCALES[0] <= self.scale <= _SCALES[-1]
            and self.score > self.unmoved + _GAIN
            # Slices that lie roughly as they should match a little as they are.
            and self.unmoved < max(0.5 * self.chance, _LEAST_SCORE / 2)
        )


def misalignment(similarity: Similarity, moving: str, fixed: str) -> str:
    """Return the beginning of a sentence if a slice is not aligned to another, else nothing.

    Parameters
    ----------
    similarity : Similarity
        What `estimate_similarity` returned.
    moving, fixed : str
        What the sentence calls the slices.
    """
    if not similarity.is_unaligned:
        return ""
    dy, dx = similarity.shift
    return (
        f"{moving} is not aligned to {fixed}: it is shifted by ({dy:.0f}, {dx:.0f}) px, turned by "
        f"{similarity.rotation_degrees:.1f} degrees and scaled by {similarity.scale:.3f}"
    )


def is_roughly_aligned(moving: NDArray[Any], fixed: NDArray[Any]) -> bool:
    """Tell whether two slices (Y, X) match as they lie, so that no move need be searched for.

    Takes some milliseconds.  False says nothing.
    """
    level = _coarse_level(moving, fixed)
    if level is None:
        return True
    still = np.array([1.0, 0.0, 0.0, 0.0])
    # A move that leaves half of the slice to compare raises what chance may reach.
    bound = max(0.5 * math.sqrt(2.0) * _chance(level, still), _LEAST_SCORE / 2)
    return score_at(level, still) >= bound


def guess_similarity(moving: NDArray[Any], fixed: NDArray[Any]) -> Similarity:
    """Return roughly how one slice (Y, X) lies on another, from a few turns and no scales.

    A tenth of the time of `estimate_similarity`, to a degree and some pixels: it
    tells whether that is worth while.
    """
    shape = (int(fixed.shape[0]), int(fixed.shape[1]))
    level = _coarse_level(moving, fixed)
    if level is None:
        return Similarity(0.0, 1.0, (0.0, 0.0), 0.0, shape)
    best = _search(level, _FEW_ANGLES, (1.0,))[0]
    a, b, dy, dx = rescaled(best, max(shape) / max(level.shape))
    return Similarity(
        math.degrees(math.atan2(b, a)), math.hypot(a, b), (float(dy), float(dx)),
        score_at(level, best), shape, score_at(level, np.array([1.0, 0.0, 0.0, 0.0])),
        _chance(level, best),
    )  # fmt: skip


def _coarse_level(moving: NDArray[Any], fixed: NDArray[Any]) -> Level | None:
    """Return two slices at the coarsest scale, reduced before anything else; None if empty."""
    small = [_reduced(image) for image in (moving, fixed)]
    masks = [find_no_data(image) for image in small]
    if any(mask is not None and mask.mean() > 0.98 for mask in masks):
        return None
    return levels_of(small, masks, COARSE)[-1]


def _reduced(image: NDArray[Any]) -> NDArray[Any]:
    """Return a slice at most twice as large as the coarsest scale."""
    factor = 2 * COARSE / max(image.shape)
    if factor >= 1:
        return image
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        step = math.ceil(1 / factor)  # means would spread what is no number
        return image[::step, ::step]
    size = (max(16, round(image.shape[1] * factor)), max(16, round(image.shape[0] * factor)))
    return np.asarray(cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA))


def estimate_similarity(
    moving: Any,
    fixed: Any,
    moving_no_data: NDArray[np.bool_] | None = None,
    fixed_no_data: NDArray[np.bool_] | None = None,
    side: int = _FINE,
    start: Similarity | None = None,
) -> Similarity:
    """Return the shift, turn and scale that bring one slice onto another.

    Parameters
    ----------
    moving, fixed : array_like, (Y, X)
        Two slices of one size; see `arrays.as_slice`.
    moving_no_data, fixed_no_data : ndarray, (Y, X) bool, optional
        Where they hold no data; found where not given.
    side : int
        Longer side, px, of the finest level that is fitted: smaller ones take
        less time and are less exact.

    Returns
    -------
    Similarity
        Of slices of the same tissue that lie up to a quarter of their size, 14
        degrees and 4 % apart it is right to half a pixel; the score tells
        whether they match at all.

    Raises
    ------
    InputError
        If a slice cannot be used or the two differ in size.
    """
    pair = [as_slice(moving, "moving slice"), as_slice(fixed, "fixed slice")]
    if pair[0].shape != pair[1].shape:
        raise InputError(f"The slices differ in size: {pair[0].shape} and {pair[1].shape} pixels.")
    shape = (int(pair[0].shape[0]), int(pair[0].shape[1]))
    masks = [
        find_no_data(image) if mask is None else mask
        for image, mask in zip(pair, (moving_no_data, fixed_no_data), strict=True)
    ]
    if any(mask is not None and mask.mean() > 0.98 for mask in masks):
        return Similarity(0.0, 1.0, (0.0, 0.0), 0.0, shape)
    levels = levels_of(pair, masks, side)
    starts = _search(levels[-1]) if start is None else [_near(levels[-1], start)]
    best: NDArray[np.float64] | None = None
    for level in reversed(levels):
        at_level = starts if best is None else [rescaled(best, level.factor)]
        fitted = [_fit(level, start) for start in at_level]
        fitted.sort(key=lambda pair_: -pair_[1])
        best = rescaled(fitted[0][0], 1 / level.factor)
    assert best is not None
    finest = levels[0]
    unmoved = score_at(finest, np.array([1.0, 0.0, 0.0, 0.0]))
    score = score_at(finest, rescaled(best, finest.factor))
    if score < unmoved:
        return Similarity(0.0, 1.0, (0.0, 0.0), unmoved, shape, unmoved)
    a, b, dy, dx = best
    return Similarity(
        math.degrees(math.atan2(b, a)), math.hypot(a, b), (float(dy), float(dx)), score, shape,
        unmoved, _chance(finest, rescaled(best, finest.factor)),
    )  # fmt: skip


def _near(level: Level, start: Similarity) -> NDArray[np.float64]:
    """Return a similarity of full slices as (a, b, dy, dx) at a level."""
    turn = math.radians(start.rotation_degrees)
    values = [start.scale * math.cos(turn), start.scale * math.sin(turn), *start.shift]
    return rescaled(np.array(values), level.factor)


def _chance(level: Level, values: NDArray[np.float64]) -> float:
    """Return the correlation that the best of many moves of other tissue may have."""
    _, weight = moved_at(level, values)
    independent = max(1.0, float(weight.sum()) / (4 * SMOOTH) ** 2)
    return _CHANCE / math.sqrt(independent)


def _search(
    level: Level,
    angles: Iterable[float] = _ANGLES,
    scales: Iterable[float] = _SCALES,
) -> list[NDArray[np.float64]]:
    """Return the best similarities of a grid of turns and scales, each with its best shift."""
    angles = list(angles)
    height, width = level.shape
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    size = (cv2.getOptimalDFTSize(2 * height), cv2.getOptimalDFTSize(2 * width))
    fixed = np.conj(np.fft.rfft2(level.fixed * level.fixed_known * window, size))
    weighed = np.conj(np.fft.rfft2(level.fixed_known * window, size))
    found: list[tuple[float, NDArray[np.float64]]] = [(-2.0, np.array([1.0, 0.0, 0.0, 0.0]))]
    for scale in scales:
        for angle in angles:
            turn = math.radians(float(angle))
            values = np.array([scale * math.cos(turn), scale * math.sin(turn), 0.0, 0.0])
            image, known = moved_at(level, values)
            spectrum = np.fft.rfft2(image * known, size)
            peak = np.fft.irfft2(spectrum * fixed, size)
            overlap = np.fft.irfft2(np.fft.rfft2(known, size) * weighed, size)
            # Long shifts that leave little to compare must not win by chance.
            enough = overlap > 0.25 * overlap.max()
            peak = np.where(enough, peak / np.sqrt(np.maximum(overlap, 1e-6)), -np.inf)
            y, x = np.unravel_index(int(np.argmax(peak)), peak.shape)
            dy, dx = (int(p) - n * (p > n // 2) for p, n in zip((y, x), size, strict=True))
            # The shift is of the turned slice: back into the frame of the moving one.
            a, b = values[:2]
            values = np.array([a, b, a * dy - b * dx, b * dy + a * dx])
            found.append((float(peak.max()), values))
    found.sort(key=lambda pair: -pair[0])
    scored = [(score_at(level, values), values) for _, values in found[: 6 * _KEPT]]
    scored.append((score_at(level, np.array([1.0, 0.0, 0.0, 0.0])), np.array([1.0, 0.0, 0.0, 0.0])))
    scored.sort(key=lambda pair: -pair[0])
    return [values for _, values in scored[:_KEPT]]


def _fit(level: Level, start: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return the similarity that least squares reach from a start, and its correlation."""
    height, width = level.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    # Steps of a and b as they move a corner by a pixel are as long as those of the shift.
    reach = max(height, width) / 2
    values, best = start.copy(), score_at(level, start)
    damping = 1e-3
    for _ in range(_ROUNDS):
        image, weight = moved_at(level, values)
        total = float(weight.sum())
        if total <= 0:
            break
        means = [float((part * weight).sum()) / total for part in (image, level.fixed)]
        one, other = image - means[0], level.fixed - means[1]
        gain = float((one * other * weight).sum()) / max(float((one * one * weight).sum()), 1e-12)
        # Gradients of the moved slice are those of the moving one, turned.
        gy = cv2.Sobel(image, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
        gx = cv2.Sobel(image, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
        a, b = values[:2]
        norm = a * a + b * b
        my, mx = (a * gy - b * gx) / norm, (b * gy + a * gx) / norm
        columns = [(my * y + mx * x) / reach, (mx * y - my * x) / reach, my, mx]
        jacobian = gain * np.stack([column.ravel() for column in columns], axis=1)
        weights = weight.ravel()
        left = (jacobian * weights[:, None]).T @ jacobian
        right = (jacobian * weights[:, None]).T @ (other - gain * one).ravel()
        try:
            step = np.linalg.solve(
                left + damping * np.diag(np.diag(left)) + 1e-9 * np.eye(4), right
            )
        except np.linalg.LinAlgError:
            break
        step = step.astype(np.float64) / np.array([reach, reach, 1.0, 1.0])
        tried = values + step
        score = score_at(level, tried)
        if score > best:
            values, best, damping = tried, score, max(damping / 4, 1e-5)
            if np.abs(step * np.array([reach, reach, 1.0, 1.0])).max() < 1e-3:
                break
        else:
            damping *= 8
            if damping > 1e3:
                break
    return values, best
