"""Sides of a fold that moved as a whole are brought back; sides that are not found are told."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sff_napari.folds import Fold
from sff_napari.folds.curve import grid_points
from sff_napari.restoration import restore
from sff_napari.restoration.unfolding.fitted_fold import LawUnfolding, covered
from sff_napari.restoration.unfolding.several_folds import fit_folds
from sff_napari.restoration.unfolding.side_motion import SideMotion
from sff_napari.simulation import neuropil, simulate_fold
from sff_napari.warp import sample

SIDE = 448
FOLD = Fold([(0.0, 230.0), (447.0, 250.0)], 7.0)
MOTION = SideMotion(math.radians(3.0), (220.0, 115.0), (40.0, -124.0))
"""What brings the left side back: more than a law can do, and along the line as well."""

angle = st.floats(-0.2, 0.2)
length = st.floats(-200.0, 200.0)


@given(angle, length, length, length, length)
@settings(max_examples=30, deadline=None)
def test_back_and_origin_undo_each_other(
    turn: float, y: float, x: float, dy: float, dx: float
) -> None:
    motion = SideMotion(turn, (y, x), (dy, dx))
    points = torch.rand(2, 50, dtype=torch.float64) * 400
    assert torch.allclose(motion.origin(motion.back(points)), points, atol=1e-6)
    centre = torch.tensor([[y], [x]], dtype=torch.float64)
    assert torch.allclose(motion.back(centre)[:, 0], torch.tensor([y + dy, x + dx]).double())


@pytest.fixture(scope="module")
def slices() -> NDArray[np.float32]:
    """Return three clean slices (3, Y, X) in [0, 1]."""
    return np.asarray(neuropil((3, SIDE, SIDE), seed=4), np.float32) / 255


@pytest.fixture(scope="module")
def moved(slices: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the middle slice with a dark line and its left side off as a whole."""
    points = grid_points((SIDE, SIDE))
    clean = torch.from_numpy(slices[1])[None, None]
    place = MOTION.back(points)
    left = sample(clean, place[0][None], place[1][None], "bicubic", "reflection")[0, 0].clamp(0, 1)
    on_left = points[1] < 230 + 20 * points[0] / 447
    damaged = torch.where(on_left, left, clean[0, 0])
    damaged[covered(FOLD, (SIDE, SIDE), 0.0)] = 0.02
    return np.asarray(damaged.numpy())


def fitted(damaged: NDArray[np.float32], around: list[NDArray[np.float32]]) -> LawUnfolding:
    """Return what the fold did, found with these neighbours."""
    known = ~covered(FOLD, (SIDE, SIDE), 2.0)
    everywhere = torch.ones((SIDE, SIDE), dtype=torch.bool)
    return fit_folds(
        [FOLD],
        (torch.from_numpy(damaged), known),
        [(torch.from_numpy(one), everywhere) for one in around],
    )


def test_a_side_that_moved_as_a_whole_is_brought_back(
    slices: NDArray[np.float32], moved: NDArray[np.float32]
) -> None:
    unfolding = fitted(moved, [slices[0], slices[2]])
    (one,) = unfolding.fitted
    left = 0 if one.motions[0] is not None else 1
    motion = one.motions[left]
    assert motion is not None
    assert one.motions[1 - left] is None
    assert motion.turn == pytest.approx(MOTION.turn, abs=math.radians(1.0))
    (told,) = one.warnings()
    assert told.startswith("The tissue left of the fold lay turned by")
    flow, hidden = unfolding.on_grid((SIDE, SIDE))
    points = grid_points((SIDE, SIDE))
    origin = MOTION.origin(points)
    seen = (origin >= 0).all(0) & (origin <= SIDE - 1).all(0)
    seen &= (origin[1] < 215 + 20 * origin[0] / 447) & ~hidden
    assert float(seen.float().mean()) > 0.1
    error = torch.linalg.vector_norm(flow - (origin - points), dim=0)[seen]
    # The slice drifts against its neighbours by some pixels besides.
    assert float(error.median()) < 6
    # The other side stays, and what lies between them was swallowed.
    right = points[1] > 262 + 20 * points[0] / 447
    assert float(torch.linalg.vector_norm(flow, dim=0)[right & ~hidden].median()) < 6
    assert bool(hidden[200, 150:230].all())


def test_what_was_moved_lies_on_the_neighbours(
    slices: NDArray[np.float32], moved: NDArray[np.float32]
) -> None:
    result = restore(slices[0], moved, slices[2], [FOLD], device="cpu")
    far = np.isfinite(result.flow[0]) & (np.hypot(*result.flow) > 60)
    assert far.mean() > 0.1
    after = np.corrcoef(result.restored[far], slices[1][far])[0, 1]
    before = np.corrcoef(moved[far], slices[1][far])[0, 1]
    assert after > before + 0.4


def test_an_ordinary_fold_moves_no_side(slices: NDArray[np.float32]) -> None:
    trial = simulate_fold(slices[1], FOLD, 35.0, 0.02)
    (one,) = fitted(np.asarray(trial.damaged, np.float32), [slices[0], slices[2]]).fitted
    assert one.motions == (None, None)
    assert all(score is not None and score > 0.15 for score in one.side_scores)
    assert one.warnings() == []


def test_a_side_that_is_not_found_again_is_told(slices: NDArray[np.float32]) -> None:
    trial = simulate_fold(slices[1], FOLD, 35.0, 0.02)
    damaged = np.asarray(trial.damaged, np.float32).copy()
    damaged[:, 258:] = damaged[::-1, 258:]
    (one,) = fitted(damaged, [slices[0]]).fitted
    assert one.motions == (None, None)
    (told,) = one.warnings()
    assert told.startswith("Hardly anything right of the fold was found again")
