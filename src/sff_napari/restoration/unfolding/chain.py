"""Undo several folds one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sff_napari.alignment.features import Features
from sff_napari.folds import Curve, Fold
from sff_napari.folds.law import interpolate
from sff_napari.restoration.unfolding.fitted_fold import FittedFold, LawUnfolding
from sff_napari.warp import warp


def undone_features(damaged: Mapping[int, Features], chain: LawUnfolding) -> dict[int, Features]:
    """Return the features of a slice, by their grids, once the folds of a chain are undone."""
    result = {}
    for pool, features in damaged.items():
        grid = (features.values.shape[0], features.values.shape[1])
        flow, hidden = chain.on_grid(grid, ((pool - 1) / 2, (pool - 1) / 2), float(pool))
        both = warp(features.stacked(), flow[None] / pool, "bilinear", "zeros")[0]
        known = ((both[1] > 0.9) & ~hidden).to(both.dtype)
        result[pool] = Features(both[0] * known, known, pool)
    return result


def compose_folds(fitted: Sequence[FittedFold], cover: float) -> LawUnfolding:
    """Return the folds as a chain: each earlier line carried along as later ones are undone."""
    chain: list[FittedFold] = []
    for one in reversed(fitted):
        if not chain:
            chain.append(one)
            continue
        fold = carried_line(one.curve, one.fold, LawUnfolding(chain, cover))
        chain.insert(0, replace(one, curve=Curve.of(fold, one.curve.device).smoothed()))
    return LawUnfolding(chain, cover)


def carried_line(curve: Curve, fold: Fold, chain: LawUnfolding) -> Fold:
    """Return a fold line as it lies after the folds of a chain are undone."""
    count = max(len(fold.vertices), int(curve.length / 40) + 2)

    def brought_back(along: Tensor) -> tuple[Tensor, Tensor, float]:
        points, _ = curve.at(along)
        start, keep = points, torch.ones(len(along), dtype=torch.bool, device=curve.device)
        for one in reversed(chain.fitted):
            points, seen = one.brought_back(points)
            keep &= seen
        return points, keep, float((points - start).abs().max())

    # A branch begins where the dark line of its stem ends, not at the next of a few places.
    dense = torch.linspace(0, curve.length, int(curve.length / 2) + 2, device=curve.device)
    _, keep, farthest = brought_back(dense)
    if farthest < 0.25 or int(keep.sum()) < 2:
        return fold
    along = torch.linspace(
        float(dense[keep][0]), float(dense[keep][-1]), count, device=curve.device
    )
    points, keep, _ = brought_back(along)
    # The line may be a smoothed one, with other vertices than the fold has widths at.
    drawn = Curve.of(fold, curve.device)
    knots = torch.tensor(drawn.vertices_along, dtype=curve.dtype, device=curve.device)
    widths = interpolate(
        knots * (curve.length / drawn.length),
        knots.new_tensor(fold.half_widths or [fold.half_width] * len(knots)),
        along,
    )
    vertices = [(float(y), float(x)) for y, x in points[:, keep].T.cpu()]
    return fold.with_changes(vertices=vertices, half_widths=[float(w) for w in widths[keep].cpu()])
