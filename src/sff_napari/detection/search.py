"""Search where folds may be: the Hough transform of overlapping tiles of the binarised slice.

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

_SAMPLES = 16
SIDE = 700
"""Size to which slices are reduced for the search, px."""
_LEAST_FILL = 0.72
_LEAST_CHORD = 0.55
"""Shortest line through a tile, as a share of the tile's side."""
_THIN = 0.45
"""How much darker than around a pixel of a thin line is, as a share of the threshold."""
_AROUND = 11
"""Side of the square that is around a pixel, px of the coarse scale."""
_MOST_IN_TILE = 4
_LEAST_RANK = 0.18
"""Darkness above that of the darker side from which a seed is worth following."""
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
    darkness: Darkness,
    threshold: float,
    device: str | torch.device = "cpu",
    side: int = SIDE,
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
    side : int
        Lines are searched at a scale at which the slice is no larger than this, px.
    """
    values, valid, factor = _coarse(darkness, side)
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
    lengths = _lengths(tile, tiling.theta).to(device)
    long = (lengths[:, 1:-1] >= _LEAST_CHORD * tile) & (_three_bins(lengths) > 0)
    fill = _three_bins(space.votes) / _three_bins(lengths).clamp_min(1) * (3.0 / tiling.width)
    fill = fill.clamp_max(1.0) * long
    theta, rho = space.theta.cpu().numpy(), space.rho[1:-1].cpu().numpy()
    seeds = []
    for index, angle, distance, share in _peaks(fill):
        ends = _clip(float(rho[distance]), float(theta[angle]), tile)
        if ends is None:
            continue
        top, left = corners[index]
        start, stop = (
            ((y + top + 0.5) * factor - 0.5, (x + left + 0.5) * factor - 0.5) for y, x in ends
        )
        seeds.append(Seed(start, stop, share))
    return seeds


def _inner(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return `valid` without its rim, where a strip of padding looks like a thin line."""
    framed = cv2.copyMakeBorder(valid.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(framed, np.ones((_AROUND, _AROUND), np.uint8))
    return np.asarray(eroded[1:-1, 1:-1] > 0)


def _ranked(darkness: Darkness, seeds: list[Seed]) -> list[Seed]:
    """Return the seeds that are evenly dark against both of their sides, best first."""
    if not seeds:
        return []
    starts = np.array([seed.start for seed in seeds])
    ways = np.array([seed.stop for seed in seeds]) - starts
    normals = np.stack([ways[:, 1], -ways[:, 0]], axis=1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    share = np.linspace(0.05, 0.95, _SAMPLES)
    offsets = np.arange(-48.0, 49.0, 2.0)
    # (seed, sample along, offset across, y or x)
    places = (
        starts[:, None, None]
        + share[:, None, None] * ways[:, None, None]
        + offsets[:, None] * normals[:, None, None]
    ).astype(np.float32)
    shape = places.shape[:3]
    strips = cv2.remap(
        darkness.values,
        places[..., 1].reshape(len(seeds), -1),
        places[..., 0].reshape(len(seeds), -1),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=-1.0,
    ).reshape(shape)
    known = strips >= 0
    mean = np.where(known, strips, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    seen = known.mean(axis=1) >= 0.3
    middle = len(offsets) // 2
    rows = np.arange(len(seeds))
    peak = mean[:, middle - 4 : middle + 5].argmax(axis=1) + middle - 4
    even = np.percentile(strips[rows, :, peak], 20, axis=1)
    # The band ends where the darkness has fallen to 0.6 of its peak; beside it come its sides.
    pale = (mean < 0.6 * mean[rows, peak][:, None]) | ~seen
    columns = np.arange(len(offsets))
    left = np.where(pale & (columns < peak[:, None]), columns, -1).max(axis=1)
    right = np.where(pale & (columns > peak[:, None]), columns, len(offsets)).min(axis=1)
    total = np.pad(np.cumsum(mean, axis=1), ((0, 0), (1, 0)))
    first, last = np.maximum(left - 3, 0), np.minimum(right + 4, len(offsets))
    before = (total[rows, left + 1] - total[rows, first]) / np.maximum(left + 1 - first, 1)
    after = (total[rows, last] - total[rows, np.minimum(right, len(offsets))]) / np.maximum(
        last - right, 1
    )
    rank = even - np.maximum(before, after)
    rank[(left < 1) | (right > len(offsets) - 2)] = 0.0
    # On the border of the slice only one side is seen: no more than a hint, followed last.
    beyond = ~seen[rows, np.maximum(left, 0)] | ~seen[rows, np.minimum(right, len(offsets) - 1)]
    rank[beyond] = _LEAST_RANK + 0.01 * (even - np.minimum(before, after))[beyond]
    return [seeds[i] for i in np.argsort(-rank, kind="stable") if rank[i] >= _LEAST_RANK]


def _coarse(darkness: Darkness, side: int) -> tuple[NDArray[np.float32], NDArray[np.bool_], int]:
    values, valid = darkness.values, darkness.valid
    factor = math.ceil(max(values.shape) / side)
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


def _three_bins(votes: Tensor) -> Tensor:
    """Return votes (..., R) summed over each bin and its two neighbours, (..., R - 2) float32."""
    return (votes[..., :-2] + votes[..., 1:-1] + votes[..., 2:]).float()


def _peaks(fill: Tensor) -> list[tuple[int, int, int, float]]:
    """Return (tile, theta, rho, fill) of the best lines of each tile (B, T, R), few a tile."""
    tiles = torch.nonzero(fill.amax(dim=(1, 2)) >= _LEAST_FILL)[:, 0]
    if not len(tiles):
        return []
    chosen = fill[tiles]
    angles, distances = chosen.shape[1:]
    where = torch.nonzero(chosen >= _LEAST_FILL)
    # A wide fold is a plateau: prefer its middle, where the lines beside are dark as well.
    around = torch.zeros(len(where), device=fill.device)
    for step in (-4, -2, 2, 4):
        beside = (where[:, 2] + step).clamp(0, distances - 1)
        around += chosen[where[:, 0], where[:, 1], beside]
    values = chosen[where[:, 0], where[:, 1], where[:, 2]]
    strength = (values + 0.1 * around).cpu().numpy()
    places, shares = where.cpu().numpy(), values.cpu().numpy()
    found = []
    starts = np.searchsorted(places[:, 0], np.arange(len(tiles) + 1))
    for number, tile in enumerate(tiles.tolist()):
        part = slice(starts[number], starts[number + 1])
        left, theta, rho = strength[part].copy(), places[part, 1], places[part, 2]
        for _ in range(_MOST_IN_TILE):
            best = int(left.argmax())
            if left[best] <= 0:
                break
            found.append((tile, int(theta[best]), int(rho[best]), float(shares[part][best])))
            # Theta wraps around with rho changing sign.
            turn = np.abs(theta - theta[best])
            wrapped = turn > angles // 2
            turn = np.where(wrapped, angles - turn, turn)
            same = np.where(wrapped, distances - 1 - rho[best], rho[best])
            left[(turn <= 3) & (np.abs(rho - same) <= 5)] = 0.0
    return found


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
