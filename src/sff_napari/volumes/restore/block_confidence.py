"""Tell how sure the pixels of a block are, where laws were found in windows.

Each window tells along its lines how far the displacement may be off, at some
distances from what is hidden.  Joined like the laws themselves, this is the same
on both sides of a seam, and known wherever the tissue moved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sff_napari.alignment.drift_fields import met_half_way
from sff_napari.alignment.features import Features
from sff_napari.folds import Curve, Fold
from sff_napari.folds.curve import grid_points
from sff_napari.folds.law import interpolate
from sff_napari.restoration.cascade import CONFIDENCE_STEP, Cascade
from sff_napari.restoration.confidence import (
    WITHIN,
    FlowConfidence,
    filling_confidence,
    least_error,
)
from sff_napari.restoration.unfolding.fitted_fold import FittedFold, LawUnfolding
from sff_napari.tiling import tiles
from sff_napari.warp import sample

BEYOND = (1.0, 16.0, 32.0, 48.0, 80.0, 128.0, 200.0, 320.0, 500.0, 800.0, 2000.0)
"""Distances from what is hidden, px, at which a window tells how far displacement may be off."""


def line_errors(one: FittedFold, count: int) -> dict[str, Any]:
    """Return how far the displacement of a fold may be off, at places along its line.

    Parameters
    ----------
    one : FittedFold
        The fold.
    count : int
        Number of places, from the first end of the line to the last.

    Returns
    -------
    dict
        ``error``: for each side and each of `BEYOND` the standard error in px at
        each place; ``floor``: an error in px that no fit is without.
    """
    device = one.curve.device
    law = one.law
    along = torch.linspace(0, one.curve.length, count, device=device)
    beyond = torch.tensor(BEYOND, device=device)
    known = FlowConfidence([one])
    # A law only knows how far along its line and how far from it a place lies, so it is
    # asked on a straight line of the same length, where every place has one projection.
    straight = Curve.of(Fold([(0, 0), (0, one.curve.length)], 1.0), device)
    rows: list[list[float]] = []
    for sign in (-1.0, 1.0):
        positive = torch.full(along.shape, sign > 0, device=device)
        rim = law.hidden_half_width(along, positive)
        distance = sign * (rim + beyond[:, None])
        places = straight.place(along.expand(len(BEYOND), -1).reshape(-1), distance.reshape(-1))
        error = known.variance(places, straight).sqrt()
        rows += [[round(float(v), 4) for v in row] for row in error.reshape(len(BEYOND), -1).cpu()]
    return {"error": rows, "floor": least_error(one)}


def confidence(
    cascade: Cascade,
    unfolding: LawUnfolding,
    tables: Sequence[Mapping[str, NDArray[Any]]],
    flow: NDArray[np.float32],
    synthesised: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return how sure each pixel of a block is.

    Parameters
    ----------
    cascade : Cascade
        The block, with its neighbours.
    unfolding : LawUnfolding
        What the folds did in it.
    tables : sequence of mapping
        For each fold `lines.errors_in`.
    flow : ndarray, (2, Y, X)
        Sampling offset in px; NaN without source.
    synthesised : ndarray, (Y, X)
        Share in [0, 1] that was made up.

    Returns
    -------
    ndarray, (Y, X)
        In [0, 1]; see `Restoration`.
    """
    step = CONFIDENCE_STEP
    grid = (-(-cascade.shape[0] // step), -(-cascade.shape[1] // step))
    points = grid_points(grid, ((step - 1) / 2,) * 2, float(step), cascade.device)
    coarse = torch.stack([_sure(unfolding.fitted, tables, points), _filling(cascade, grid)])
    result = np.ones(synthesised.shape, dtype=np.float32)
    for rows, columns in tiles(cascade.shape, cascade.tile):
        size = (rows.stop - rows.start, columns.stop - columns.start)
        places = grid_points(size, (float(rows.start), float(columns.start)), 1.0, cascade.device)
        y, x = (places - (step - 1) / 2) / step
        sure, filling = sample(coarse[None], y[None], x[None], "bilinear")[0].cpu().numpy()
        share = synthesised[rows, columns]
        unmoved = (flow[:, rows, columns] == 0).all(axis=0)
        result[rows, columns] = np.where(unmoved, 1.0, sure) * (1 - share) + filling * share
    return result


def _sure(
    fitted: Sequence[FittedFold], tables: Sequence[Mapping[str, NDArray[Any]]], points: Tensor
) -> Tensor:
    """Return the chance that the flow at points (2, ...) is within one px of the true one."""
    variance = torch.zeros_like(points[0])
    floor = torch.zeros_like(variance)
    for one, table in zip(fitted, tables, strict=True):
        line_points = one.curve.project(points.reshape(2, -1))
        along, positive = line_points.along, line_points.distance > 0
        beyond = line_points.distance.abs() - one.law.hidden_half_width(along, positive)
        knots, own, least = (
            torch.tensor(table[name], dtype=torch.float32, device=points.device)
            for name in ("along", "error", "floor")
        )
        at = torch.stack([interpolate(knots, row, along) for row in own])
        at = torch.where(positive, at[len(BEYOND) :], at[: len(BEYOND)])
        error = _between(at, beyond.clamp_min(0)).reshape(variance.shape)
        variance = variance + error.square()
        low = interpolate(knots, least, along).reshape(variance.shape)
        floor = torch.where(error.square() > 1e-6, torch.maximum(floor, low), floor)
    spread = (variance + floor.square()).sqrt().clamp_min(1e-3)
    return torch.erf(WITHIN / math.sqrt(2) / spread)


def _between(values: Tensor, beyond: Tensor) -> Tensor:
    """Return values (distances, N) at `BEYOND` between these distances; nothing far beyond."""
    knots = torch.tensor(BEYOND, device=beyond.device)
    right = torch.searchsorted(knots, beyond.contiguous()).clamp(1, len(BEYOND) - 1)
    low, high = knots[right - 1], knots[right]
    share = ((beyond - low) / (high - low)).clamp(0, 1)
    first = values.gather(0, (right - 1)[None])[0]
    second = values.gather(0, right[None])[0]
    return first + share * (second - first)


def _filling(cascade: Cascade, grid: tuple[int, int]) -> Tensor:
    """Return on a grid the correlation that made-up tissue should have with the true tissue."""
    around = [Features.of(one.image, one.known, 4) for one in cascade.neighbours]
    if cascade.mutual is not None:
        around = met_half_way(around, cascade.mutual)
    shared = filling_confidence(around)[None, None]
    filling = F.interpolate(shared, size=grid, mode="bilinear", align_corners=False)[0, 0]
    # A fusion may know more of what it made up: a share of the variance, on the same grid.
    doubt = getattr(cascade.fuser, "doubt", None)
    if doubt is not None:
        variance, known = doubt(grid)
        filling = torch.where(known > 0, (1 - variance).clamp(0, 1).sqrt(), filling)
    return filling
