"""Comparing a damaged slice with its neighbours: features and matching scores.

Grey values differ between slices (staining, brightness, contrast beside the
fold), so slices are compared by locally normalised features.  Scores are
normalised cross-correlations of windows.  Two kinds are built: in the
coordinates of the fold line, over all displacements a fold can cause
(`side_scores`), and around an unfolding that is nearly right, over small shifts
in both directions (`shift_scores`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sff_napari.folds import Curve
from sff_napari.progress import Reporter
from sff_napari.warp import sample, warp

_CONTRAST_REACH = 24.0
"""Radius, in pixels, over which brightness and contrast are normalised away."""
_EDGE = 3.0
"""Distance from the dark line, in pixels, within which nothing is compared."""


@dataclass(frozen=True)
class Features:
    """What of a slice is compared: locally normalised grey values on a coarser grid.

    Parameters
    ----------
    values : Tensor, (Y / pool, X / pool)
        About zero mean and unit spread everywhere; zero where nothing is known.
    known : Tensor, (Y / pool, X / pool)
        1.0 where the slice shows tissue, else 0.0.
    pool : int
        Pixels a side that were averaged into one.
    """

    values: Tensor
    known: Tensor
    pool: int

    @classmethod
    def of(cls, image: Tensor, known: Tensor, pool: int, blur: float | None = None) -> Features:
        """Return the features of a slice.

        Parameters
        ----------
        image : Tensor, (Y, X)
            Grey values in [0, 1].
        known : Tensor, (Y, X) bool
            Where the slice shows tissue.
        pool : int
            Pixels a side to average into one.
        blur : float, optional
            Gaussian that removes the grain first, in pixels; 0.75 * pool if not given.
        """
        blur = 0.75 * pool if blur is None else blur
        weight = F.avg_pool2d(known.to(image.dtype)[None, None], pool)
        grey = F.avg_pool2d(torch.where(known, image, image.new_zeros(()))[None, None], pool)
        grey = gaussian(grey, blur / pool) / gaussian(weight, blur / pool).clamp_min(1e-3)
        share = _local_mean(weight, pool).clamp_min(1e-3)
        mean = _local_mean(grey * weight, pool) / share
        spread = (_local_mean((grey - mean).square() * weight, pool) / share).sqrt()
        values = ((grey - mean) / (spread + 0.02)).clamp(-3, 3)
        seen = weight > 0.5
        return cls((values * seen)[0, 0], seen.to(image.dtype)[0, 0], pool)

    def moved(self, offset: Tensor) -> Features:
        """Return the features read at ``x + offset(x)``; `offset` (2, Y / pool, X / pool) in px."""
        if not bool(offset.any()):
            return self
        offset = offset[None] / self.pool
        values = warp(self.values[None, None], offset, "bicubic", "zeros")[0, 0]
        seen = (warp(self.known[None, None], offset, "bilinear", "zeros")[0, 0] > 0.9).to(values)
        return Features(values * seen, seen, self.pool)

    def stacked(self) -> Tensor:
        """Return values and known as one tensor (1, 2, Y / pool, X / pool)."""
        return torch.stack([self.values, self.known])[None]


def gaussian(image: Tensor, sigma: float) -> Tensor:
    """Return `image` (B, 1, Y, X) blurred by a Gaussian of `sigma` pixels."""
    radius = max(1, math.ceil(2.5 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (offsets / max(sigma, 1e-3)).square())
    kernel = kernel / kernel.sum()
    # Reflection needs a side longer than the radius; replication serves the rest.
    mode = "reflect" if radius < min(image.shape[-2:]) else "replicate"
    image = F.conv2d(F.pad(image, (radius, radius, 0, 0), mode=mode), kernel.view(1, 1, 1, -1))
    return F.conv2d(F.pad(image, (0, 0, radius, radius), mode=mode), kernel.view(1, 1, -1, 1))


def _local_mean(image: Tensor, pool: int) -> Tensor:
    """Return the mean over the contrast reach, computed on a coarser grid for speed."""
    coarse = max(1, 8 // pool)
    small = F.avg_pool2d(image, coarse, ceil_mode=True, count_include_pad=False)
    small = gaussian(small, _CONTRAST_REACH / (pool * coarse))
    return F.interpolate(small, size=image.shape[-2:], mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class SideScores:
    """Matching scores on one side of a fold, in the line's coordinates.

    Parameters
    ----------
    scores : Tensor, (T, A, K)
        Mean correlation with the neighbours of the window at place (t, a) if
        its tissue is moved away from the line by ``k * step`` pixels.
    weight : Tensor, (T, A)
        Share of the window that can be compared; 0 where too little is.
    along : Tensor, (T,)
        Arc lengths of the windows' centres, px.
    beyond : Tensor, (A,)
        Distances of the windows' centres from the edge of the dark line, px.
    step : float
        Pixels between displacements.
    """

    scores: Tensor
    weight: Tensor
    along: Tensor
    beyond: Tensor
    step: float


def side_scores(
    curve: Curve,
    half_width: Tensor,
    damaged: Features,
    neighbours: Sequence[Features],
    side: int,
    largest: float = 112.0,
    window: int = 32,
    reach: float | None = None,
    reporter: Reporter | None = None,
) -> SideScores:
    """Compare one side of a fold with the neighbours over all displacements.

    Parameters
    ----------
    curve : Curve
        The fold's centre line.
    half_width : Tensor, (T,)
        w1 at ``pool`` px steps along the line.
    damaged, neighbours : Features
        With the same ``pool``.
    side : {-1, 1}
        Side of negative or positive distance.
    largest : float
        Largest displacement tried, px.
    window : int
        Side of the windows, px; they overlap by half.
    reach : float, optional
        How far from the line to compare, px; as far as the slice goes if not given.
    reporter : Reporter, optional
        Told of progress, asked for cancellation.
    """
    pool = damaged.pool
    height, width = (n * pool for n in damaged.values.shape)
    far = math.hypot(height, width) if reach is None else reach
    size = window // pool
    depth = max(int(far / pool), size)
    shifts = int(largest / pool) + 1
    along = torch.arange(len(half_width), device=curve.device, dtype=curve.dtype) * pool
    here, known = _strip(curve, along, half_width, side, damaged, depth)
    used = torch.nonzero(known.sum(0) > 0)
    depth = max(int(used.max()) + 1 if len(used) else 1, size)
    here, known = here[:, :depth], known[:, :depth]
    if len(along) < size:
        pad = (0, 0, 0, size - len(along))
        here, known = F.pad(here, pad), F.pad(known, pad)
    half = size // 2
    weight = _means(known[None], size, half)[0]
    weight = torch.where(weight > 0.5, weight, torch.zeros_like(weight))
    total = weight.new_zeros((*weight.shape, shifts))
    here = here * known
    square = here * here
    for neighbour in neighbours:
        there, there_known = _strip(curve, along, half_width, side, neighbour, depth + shifts)
        if len(there) < len(here):
            pad = (0, 0, 0, len(here) - len(there))
            there, there_known = F.pad(there, pad), F.pad(there_known, pad)
        there = there * there_known
        for k in range(shifts):
            if reporter is not None:
                reporter.check()
            other, seen = there[:, k : k + depth], there_known[:, k : k + depth]
            terms = torch.stack([here * other, square * seen, other * other * known, seen * known])
            terms = _means(terms, size, half)
            score = terms[0] / (terms[1] * terms[2]).clamp_min(1e-6).sqrt()
            total[..., k] += torch.where(terms[3] > 0.3, score, torch.zeros_like(score))
    total /= max(len(neighbours), 1)
    centre = (size / 2 - 0.5) * pool
    steps = torch.arange(max(weight.shape), device=curve.device, dtype=curve.dtype) * half * pool
    return SideScores(
        total,
        weight,
        steps[: weight.shape[0]] + centre,
        steps[: weight.shape[1]] + centre + _EDGE,
        float(pool),
    )


def _strip(
    curve: Curve, along: Tensor, half_width: Tensor, side: int, features: Features, depth: int
) -> tuple[Tensor, Tensor]:
    """Return values and known (T, depth) read along the normals on one side of the line."""
    pool = features.pool
    beyond = torch.arange(depth, device=curve.device, dtype=curve.dtype) * pool + _EDGE
    distance = side * (half_width[:, None] + beyond)
    points = curve.place(along[:, None].expand_as(distance), distance)
    places = (points - (pool - 1) / 2) / pool
    both = sample(features.stacked(), places[0][None], places[1][None], "bilinear", "zeros")[0]
    return both[0], (both[1] > 0.9).to(both.dtype)


def shift_scores(
    here: Tensor, known: Tensor, neighbour: Features, reach: int, window: int, stride: int
) -> tuple[Tensor, Tensor]:
    """Compare windows of two images over small shifts in both directions.

    Parameters
    ----------
    here, known : Tensor, (H, W)
        Values and 0/1 weights on the neighbour's grid.
    neighbour : Features
        What to compare with.
    reach : int
        Largest shift, in pixels of the features' grid.
    window, stride : int
        Side and spacing of the windows, in pixels of the features' grid.

    Returns
    -------
    scores : Tensor, (Y, X, 2 * reach + 1, 2 * reach + 1)
        Correlation if the neighbour is read at a shift of (dy, dx).
    weight : Tensor, (Y, X)
        Share of the window that can be compared; 0 where too little is.
    """
    height, width = here.shape
    margins = (reach, reach, reach, reach)
    there = F.pad((neighbour.values * neighbour.known)[None, None], margins)[0, 0]
    there_known = F.pad(neighbour.known[None, None], margins)[0, 0]
    here = here * known
    square = here * here
    rows = []
    for dy in range(2 * reach + 1):
        for dx in range(2 * reach + 1):
            other = there[dy : dy + height, dx : dx + width]
            seen = there_known[dy : dy + height, dx : dx + width]
            terms = torch.stack([here * other, square * seen, other * other * known])
            terms = _means(terms, window, stride)
            rows.append(terms[0] / (terms[1] * terms[2]).clamp_min(1e-6).sqrt())
    scores = torch.stack(rows, dim=-1)
    side = 2 * reach + 1
    weight = _means(known[None], window, stride)[0]
    weight = torch.where(weight > 0.4, weight, torch.zeros_like(weight))
    return scores.reshape(*weight.shape, side, side), weight


def _means(planes: Tensor, window: int, stride: int) -> Tensor:
    """Return the means (N, rows, columns) of planes (N, H, W) over overlapping windows."""
    if window == 2 * stride:
        # Halves first, then pairs of them: each pixel is read once instead of four times.
        return F.avg_pool2d(F.avg_pool2d(planes[None], stride), 2, stride=1)[0]
    return F.avg_pool2d(planes[None], window, stride=stride)[0]


def window_centres(count: int, window: int, stride: int, pool: int) -> Tensor:
    """Return the pixel coordinates of the centres of windows on a features' grid, (count,)."""
    centre = torch.arange(count, dtype=torch.float32) * stride + (window - 1) / 2
    return centre * pool + (pool - 1) / 2


def read_scores(scores: Tensor, dy: Tensor, dx: Tensor) -> Tensor:
    """Return scores (N, K, K) read between shifts ``dy``, ``dx`` (N,), bilinear, differentiable."""
    side = scores.shape[-1]
    reach = (side - 1) // 2
    y = (dy + reach).clamp(0, side - 1.001)
    x = (dx + reach).clamp(0, side - 1.001)
    top, left = y.detach().floor(), x.detach().floor()
    v, u = y - top, x - left
    flat = scores.reshape(len(scores), -1)
    index = (top * side + left).long()[:, None]
    corner = flat.gather(1, torch.cat([index, index + 1, index + side, index + side + 1], dim=1))
    return (1 - v) * ((1 - u) * corner[:, 0] + u * corner[:, 1]) + v * (
        (1 - u) * corner[:, 2] + u * corner[:, 3]
    )
