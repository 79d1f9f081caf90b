"""Where folds may be: the Hough transform of overlapping tiles of the binarised slice.

A curved fold is no straight line across the slice, but it is one across a
tile.  The share of a tile's line that is dark tells a fold, dark from end to
end, from membranes that happen to lie along a line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sff_napari.detection.binarise import Darkness
from sff_napari.detection.hough import hough_votes
from sff_napari.detection.strip import straighten

_SAMPLES = 16
_SIDE = 700
"""Lines are searched at a scale at which the slice is no larger than this, px."""
_LEAST_FILL = 0.72
_LEAST_CHORD = 0.55
"""Shortest line through a tile, as a share of the tile's side."""
_THIN = 0.45
"""How much darker than around a pixel of a thin line is, as a share of the threshold."""
_AROUND = 11
"""Side of the square that is around a pixel, px of the coarse scale."""
_MOST_IN_TILE = 4
_THIN_FROM = 4
"""Reduction from which a fold may be thinner than a pixel of the coarse scale."""


@dataclass(frozen=True)
class _Tiling:
    """Tiles of `side` px that overlap by half, angles `theta` apart, lines `width` px wide."""

    side: int
    theta: float
    width: float


_WIDE = _Tiling(96, math.radians(2.5), 3.0)
_NARROW = _Tiling(56, math.radians(4.0), 1.3)


@dataclass(frozen=True)
class Seed:
    """A straight piece of a line that is dark.

    Parameters
    ----------
    start, stop : (y, x)
        Its ends, in working pixels of `Darkness`.
    fill : float
        Share of the line's pixels that are dark, in [0, 1].
    """

    start: tuple[float, float]
    stop: tuple[float, float]
    fill: float

    @property
    def middle(self) -> tuple[float, float]:
        """The point half way, (y, x) in working pixels."""
        return (self.start[0] + self.stop[0]) / 2, (self.start[1] + self.stop[1]) / 2


def find_seeds(
    darkness: Darkness, threshold: float, device: str | torch.device = "cpu"
) -> list[Seed]:
    """Return straight dark pieces, best first.

    Parameters
    ----------
    darkness : Darkness
        The slice.
    threshold : float
        Darkness above which a pixel votes.
    device : str or torch.device
        Where the Hough transform runs.
    """
    values, valid, factor = _coarse(darkness)
    dark = (values > threshold) & valid
    # Averaging pales a line thinner than a pixel of this scale: it is still darker than around.
    thin = (values - cv2.blur(values, (_AROUND, _AROUND)) > _THIN * threshold) & valid
    seeds = _seeds_in(dark, _WIDE, factor, device)
    if factor * darkness.factor >= _THIN_FROM:
        seeds += _seeds_in(thin & _inner(valid), _NARROW, factor, device)
    return _ranked(darkness, seeds)


def _seeds_in(
    mask: NDArray[np.bool_], tiling: _Tiling, factor: int, device: str | torch.device
) -> list[Seed]:
    """Return the straight pieces of a mask at the coarse scale, most filled first."""
    if not mask.any():
        return []
    tile = min(tiling.side, *mask.shape)
    corners = [
        (top, left) for top in _starts(mask.shape[0], tile) for left in _starts(mask.shape[1], tile)
    ]
    stack = np.stack([mask[y : y + tile, x : x + tile] for y, x in corners])
    keep = np.asarray(stack.any(axis=(1, 2)))
    corners = [corner for corner, kept in zip(corners, keep, strict=True) if kept]
    masks = torch.from_numpy(np.ascontiguousarray(stack[keep])).to(device)
    space = hough_votes(masks, theta=tiling.theta)
    fill, chords = _fill(space.votes, tile, tiling)
    rows, strength = _peaks(fill, chords >= _LEAST_CHORD * tile)
    seeds: list[Seed] = []
    taken: dict[int, int] = {}
    theta, rho = space.theta.cpu().numpy(), space.rho.cpu().numpy()
    for (index, angle, distance), share in zip(rows, strength, strict=True):
        ends = _clip(float(rho[distance]), float(theta[angle]), tile)
        if ends is None or taken.get(index, 0) == _MOST_IN_TILE:
            continue
        taken[index] = taken.get(index, 0) + 1
        top, left = corners[index]
        start, stop = (
            ((y + top + 0.5) * factor - 0.5, (x + left + 0.5) * factor - 0.5) for y, x in ends
        )
        seeds.append(Seed(start, stop, float(share)))
    return seeds


def _inner(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return `valid` without its rim, where a strip of padding looks like a thin line."""
    framed = cv2.copyMakeBorder(valid.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(framed, np.ones((_AROUND, _AROUND), np.uint8))
    return np.asarray(eroded[1:-1, 1:-1] > 0)


def _ranked(darkness: Darkness, seeds: list[Seed]) -> list[Seed]:
    """Return the seeds ordered by how evenly dark they are against both of their sides."""
    if not seeds:
        return []
    share = np.linspace(0.05, 0.95, _SAMPLES)[:, None]
    lines = [
        np.asarray(s.start) + share * (np.asarray(s.stop) - np.asarray(s.start)) for s in seeds
    ]
    offsets = np.arange(-48.0, 49.0, 2.0)
    strips = np.stack([straighten(darkness.values, line, offsets, -1.0) for line in lines])
    known = strips >= 0
    mean = np.where(known, strips, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    seen = known.mean(axis=1) > 0.3
    middle = len(offsets) // 2
    ranks = np.zeros(len(seeds))
    for i in range(len(seeds)):
        peak = int(np.argmax(mean[i, middle - 4 : middle + 5])) + middle - 4
        level = 0.6 * mean[i, peak]
        left, right = peak, peak
        while left > 0 and seen[i, left] and mean[i, left] > level:
            left -= 1
        while right < len(offsets) - 1 and seen[i, right] and mean[i, right] > level:
            right += 1
        sides = [mean[i, max(0, left - 4) : left], mean[i, right + 1 : right + 5]]
        if any(part.size < 2 for part in sides) or not (seen[i, left] and seen[i, right]):
            continue
        even = float(np.percentile(strips[i, :, peak], 20))
        ranks[i] = even - max(float(part.mean()) for part in sides)
    return [seeds[i] for i in np.argsort(-ranks, kind="stable")]


def _coarse(darkness: Darkness) -> tuple[NDArray[np.float32], NDArray[np.bool_], int]:
    values, valid = darkness.values, darkness.valid
    factor = math.ceil(max(values.shape) / _SIDE)
    if factor == 1:
        return values, valid, 1
    height, width = (side // factor * factor for side in values.shape)
    size = (width // factor, height // factor)
    small = cv2.resize(values[:height, :width], size, interpolation=cv2.INTER_AREA)
    known = cv2.resize(
        valid[:height, :width].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST
    )
    return np.asarray(small, np.float32), known > 0, factor


def _starts(length: int, tile: int) -> list[int]:
    """Return where tiles begin so that they cover `length` and overlap by half."""
    count = max(1, math.ceil((length - tile) / (tile // 2)) + 1)
    return sorted({round(i * (length - tile) / max(1, count - 1)) for i in range(count)})


@lru_cache(maxsize=8)
def _lengths(tile: int, theta: float) -> Tensor:
    """Return how many pixels of a tile lie on each line, (T, R) int32."""
    return hough_votes(torch.ones((tile, tile), dtype=torch.bool), theta=theta).votes[0]


def _fill(votes: Tensor, tile: int, tiling: _Tiling) -> tuple[Tensor, Tensor]:
    """Return the dark share of lines, (B, T, R), and their lengths in px, (T, R)."""
    lengths = _lengths(tile, tiling.theta).to(votes.device)
    total = torch.nn.functional.avg_pool1d(votes.float(), 3, stride=1, padding=1)
    whole = torch.nn.functional.avg_pool1d(lengths.float(), 3, stride=1, padding=1)
    return (total / whole.clamp_min(1) * (3.0 / tiling.width)).clamp_max(1.0), lengths


def _peaks(fill: Tensor, long: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the indices (N, 3) and values of the local maxima of `fill`, few a tile."""
    fill = torch.where(long, fill, torch.zeros_like(fill))
    # theta wraps around with rho changing sign.
    around = torch.cat([fill[:, -2:].flip(2), fill, fill[:, :2].flip(2)], dim=1)
    candidates = fill >= _LEAST_FILL
    some = candidates.any(dim=2).any(dim=1)
    if not bool(some.any()):
        return np.zeros((0, 3), np.int64), np.zeros(0, np.float32)
    best = torch.full_like(fill, 2.0)
    # One direction after the other, and only where there is anything: five times faster.
    best[some] = torch.nn.functional.max_pool2d(
        torch.nn.functional.max_pool2d(around[some], (1, 9), stride=1, padding=(0, 4)), (5, 1), 1
    )
    peak = candidates & (fill == best)
    rows = torch.nonzero(peak)
    # A wide fold is a plateau: its middle comes first.
    middle = torch.nn.functional.avg_pool1d(fill, 9, stride=1, padding=4)[peak]
    strength = fill[peak]
    order = torch.sort(strength + 0.3 * middle, descending=True).indices
    return rows[order].cpu().numpy(), strength[order].cpu().numpy()


def _clip(
    rho: float, theta: float, tile: int
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Return where the line enters and leaves a tile, as (y, x), or None if it misses it."""
    c, s, last = math.cos(theta), math.sin(theta), tile - 1
    points = []
    if abs(s) > 1e-9:
        points += [((rho - x * c) / s, float(x)) for x in (0, last)]
    if abs(c) > 1e-9:
        points += [(float(y), (rho - y * s) / c) for y in (0, last)]
    inside = [(y, x) for y, x in points if -0.5 <= y <= last + 0.5 and -0.5 <= x <= last + 0.5]
    if len(inside) < 2:
        return None
    pairs = [(math.dist(p, q), p, q) for p in inside for q in inside]
    length, p, q = max(pairs)
    return (p, q) if length > 2 else None
