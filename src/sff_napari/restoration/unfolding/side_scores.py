"""Compare one side of a fold with the neighbours over all displacements a fold can cause."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sff_napari.alignment.features import Features
from sff_napari.alignment.window_scores import window_means
from sff_napari.folds import Curve
from sff_napari.progress import Reporter
from sff_napari.warp import sample

_EDGE = 3.0
"""Distance from the dark line, in pixels, within which nothing is compared."""


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
    strip, known = _strip(curve, along, half_width, side, damaged, depth)
    used = torch.nonzero(known.sum(0) > 0)
    depth = max(int(used.max()) + 1 if len(used) else 1, size)
    strip, known = strip[:, :depth], known[:, :depth]
    if len(along) < size:
        pad = (0, 0, 0, size - len(along))
        strip, known = F.pad(strip, pad), F.pad(known, pad)
    half = size // 2
    weight = window_means(known[None], size, half)[0]
    weight = torch.where(weight > 0.5, weight, torch.zeros_like(weight))
    total = weight.new_zeros((*weight.shape, shifts))
    strip = strip * known
    square = strip * strip
    for neighbour in neighbours:
        other_strip, other_known = _strip(curve, along, half_width, side, neighbour, depth + shifts)
        if len(other_strip) < len(strip):
            pad = (0, 0, 0, len(strip) - len(other_strip))
            other_strip, other_known = F.pad(other_strip, pad), F.pad(other_known, pad)
        other_strip = other_strip * other_known
        for k in range(shifts):
            if reporter is not None:
                reporter.check()
            other, seen = other_strip[:, k : k + depth], other_known[:, k : k + depth]
            terms = torch.stack([strip * other, square * seen, other * other * known, seen * known])
            terms = window_means(terms, size, half)
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
