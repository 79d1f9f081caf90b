"""Estimate how strongly a slice drifts, from displacements that no fold disturbs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sff_napari.alignment.drift_model import DriftCovariance, DriftPrior, DriftStrength

_LEVELS = (0.02, 0.035, 0.06, 0.1, 0.18, 0.32, 0.56, 1.0, 1.8, 3.3)
_SHORTS = (0.3, 0.7, 1.5, 3.0, 5.0)
_MOST = 220
"""Places that are used: the strength is known well enough from few."""
_ANY_OFFSET = 25.0
"""Variance, px^2, of the offset, which must not count as smooth drift."""


def estimate_strength(
    points: Tensor,
    directions: Tensor,
    values: Tensor,
    noise: Tensor,
    shape: tuple[int, int],
    prior: DriftPrior,
) -> DriftStrength:
    """Return the likeliest strength of drift (METHOD, section 7.2a).

    Along a fold's line the tissue moves by drift alone: a fold moves nothing along it.

    Parameters
    ----------
    points : Tensor, (2, N)
        Places, px.
    directions : Tensor, (2, N) float64
        Unit vectors along which the displacement was seen.
    values : Tensor, (N,) float64
        The displacement along them, px.
    noise : Tensor, (N,) float64
        Variance of its error, px^2.
    shape : (height, width)
        Of the slice, px.
    prior : DriftPrior
        What is known of the strength before.
    """
    few = slice(None, None, max(1, -(-len(values) // _MOST)))
    points, directions = points[:, few], directions[:, few]
    values, noise = values[few], noise[few]
    covariance = DriftCovariance(points, shape)
    alike = directions.T @ directions
    smooth, near = covariance.smooth * alike, covariance.near * alike
    rest = _ANY_OFFSET * alike + torch.diag(noise)
    levels = smooth.new_tensor(_LEVELS)
    usual = -0.5 * (torch.log(levels / prior.level) / math.log(prior.level_spread)).square()
    best, found = -math.inf, DriftStrength(prior.level)
    for short in _SHORTS:
        factor = torch.linalg.cholesky(levels[:, None, None] * smooth + (short * near + rest))
        white = torch.linalg.solve_triangular(
            factor, values[None, :, None].expand(len(levels), -1, 1), upper=False
        )
        volume = factor.diagonal(dim1=1, dim2=2).log().sum(1)
        top, index = (usual - volume - 0.5 * white.square().sum((1, 2))).max(0)
        if float(top) > best:
            best, found = float(top), DriftStrength(float(levels[index]), short)
    return found
