"""Compare two slices at several scales after a similarity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sff_napari.arrays import GreyScale
from sff_napari.no_data import fill_no_data

COARSE = 192
"""Longer side, px, at which turns and scales are searched."""
SMOOTH = 1.5
"""Standard deviation, px, of the Gauss filter before slices are compared: noise differs."""

Image32 = NDArray[np.float32]


@dataclass(frozen=True)
class Level:
    """Both slices at a scale, smoothed, with the share of data of each pixel."""

    moving: Image32
    fixed: Image32
    moving_known: Image32
    fixed_known: Image32
    factor: float

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.fixed.shape[0], self.fixed.shape[1]


def levels_of(
    pair: list[NDArray[Any]], masks: list[NDArray[np.bool_] | None], finest: int
) -> list[Level]:
    """Return the levels, the finest first."""
    units, known = [], []
    for image, mask in zip(pair, masks, strict=True):
        filled = fill_no_data(image, mask)
        units.append(GreyScale.of(filled).to_unit(filled))
        known.append(np.ones(image.shape, np.float32) if mask is None else 1.0 - mask)
    longer = max(pair[0].shape)
    sides = [min(longer, max(COARSE, finest))]
    while sides[-1] > 1.5 * COARSE:
        sides.append(max(sides[-1] // 2, COARSE))
    found = []
    for side in sides:
        factor = side / longer
        size = (
            max(16, round(pair[0].shape[1] * factor)),
            max(16, round(pair[0].shape[0] * factor)),
        )
        reduced = [
            cv2.resize(part.astype(np.float32), size, interpolation=cv2.INTER_AREA)
            for part in (*units, *known)
        ]
        # Slices differ in brightness from place to place: what is compared is the detail.
        detail = [
            cv2.GaussianBlur(part, (0, 0), SMOOTH) - cv2.GaussianBlur(part, (0, 0), 12 * SMOOTH)
            for part in reduced[:2]
        ]
        found.append(Level(detail[0], detail[1], reduced[2], reduced[3], factor))
    return found


def rescaled(values: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Return a similarity (a, b, dy, dx) for slices of another size."""
    return np.array([values[0], values[1], values[2] * factor, values[3] * factor])


def moved_at(level: Level, values: NDArray[np.float64]) -> tuple[Image32, Image32]:
    """Return the moving slice brought onto the fixed one, and how much of it is known."""
    height, width = level.shape
    a, b, dy, dx = values
    cy, cx = (height - 1) / 2, (width - 1) / 2
    matrix = np.array([[a, b, cx - a * cx - b * cy + dx], [-b, a, cy - a * cy + b * cx + dy]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    image, known = (
        cv2.warpAffine(part, matrix, (width, height), flags=flags, borderValue=0)
        for part in (level.moving, level.moving_known)
    )
    return np.asarray(image), np.asarray(known) * level.fixed_known


def weighted_correlation(one: Image32, other: Image32, weight: Image32) -> float:
    """Return the correlation of two images where a weight says that both are known."""
    total = float(weight.sum())
    if total < 0.1 * weight.size:
        return -1.0
    one = one - float((one * weight).sum()) / total
    other = other - float((other * weight).sum()) / total
    spread = float((one * one * weight).sum()) * float((other * other * weight).sum())
    return float((one * other * weight).sum()) / math.sqrt(spread) if spread > 0 else 0.0


def score_at(level: Level, values: NDArray[np.float64]) -> float:
    """Return the correlation of the slices of a level after a similarity (a, b, dy, dx)."""
    image, weight = moved_at(level, values)
    return weighted_correlation(image, level.fixed, weight)
