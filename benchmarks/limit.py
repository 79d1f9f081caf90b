"""How well any fit of the fold's law can do, given how tissue drifts from slice to slice.

Draws the folds that ``sff-napari evaluate`` draws, takes their true laws, and
prints the error of the flow that is left if the law's parameters are estimated
as well as the drift allows (the posterior spread; no image is read).

    python benchmarks/limit.py [--folds 30] [--size 1024] [--level 1.0]
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import torch

from sff_napari.alignment.drift_model import SliceDrift
from sff_napari.folds import Curve
from sff_napari.folds.law import interpolate
from sff_napari.restoration.confidence import FLEXIBLE, FLOORS, SIMPLE, FlowConfidence
from sff_napari.restoration.unfolding.fitted_fold import FittedFold
from sff_napari.restoration.unfolding.law_search import SideFit, spline_count, spline_matrix
from sff_napari.simulation import random_realistic, random_straight
from sff_napari.simulation.plan import FoldPlan


def as_fitted(plan: FoldPlan, uniform: bool, shape: tuple[int, int], level: float) -> FittedFold:
    """Return the true law of a fold as if it had been fitted."""
    curve = Curve.of(plan.fold)
    along = torch.linspace(0, curve.length, 400)
    basis = spline_matrix(along, curve.length, spline_count(curve.length))
    fits = []
    for side in (0, 1):
        gap = interpolate(plan.law.knots, plan.law.gap[side], along)
        coefficients = torch.linalg.lstsq(basis, gap[:, None]).solution[:, 0]
        decay = torch.log(plan.law.decay[side][[0, -1]])
        fits.append(SideFit(coefficients, decay, plan.law.tail[side].clamp(0.02, 0.94)))
    drift = SliceDrift.none(shape, level=level)
    return FittedFold(plan.fold, curve, plan.law, (fits[0], fits[1]), drift, uniform, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folds", type=int, default=30)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--level", type=float, default=1.0, help="drift, 1 for the nerve cord")
    given = parser.parse_args()
    shape = (given.size, given.size)
    for number, (kind, draw) in enumerate(
        (("straight", random_straight), ("realistic", random_realistic))
    ):
        errors = []
        for fold in range(given.folds):
            plan = draw(shape, np.random.default_rng([0, number, fold]))
            one = as_fitted(plan, kind == "straight", shape, given.level)
            grid = (given.size // 16, given.size // 16)
            spread = FlowConfidence([one], shape, doubt=0.0).spread(grid, (7.5, 7.5), 16.0)
            # As the linear picture has it, without the allowance for errors of the search.
            simple = kind == "straight"
            factor, floor = (SIMPLE, FLOORS[0]) if simple else (FLEXIBLE, FLOORS[1])
            plain = ((spread.square() - floor**2).clamp_min(0) / factor).sqrt()
            errors.append(float(plain.mean()) * math.sqrt(2 / math.pi))
        print(
            f"{kind}: expected error of the flow {np.mean(errors):.2f} px "
            f"(median {np.median(errors):.2f}, largest {max(errors):.2f}) over {given.folds} folds"
        )


if __name__ == "__main__":
    main()
