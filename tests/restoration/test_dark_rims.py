"""Nothing of the fold is left: jagged rims, spurs and debris that touch the dark line."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import sff_napari as sff
from sff_napari.restoration.dark_rims import dark_rims
from sff_napari.restoration.unfolding.fitted_fold import clearance
from sff_napari.simulation import neuropil

SHAPE = (448, 448)
FOLD = sff.Fold([(0, 200), (220, 214), (447, 230)], 8)


def jagged(damaged: NDArray[np.uint8], seed: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the slice with a rim that widens by half within 10 px, spurs and debris."""
    rng = np.random.default_rng(seed)
    distance = clearance(FOLD, SHAPE).numpy()
    mask = np.zeros(SHAPE, np.uint8)
    for row in range(15, SHAPE[0] - 10, 30):
        column = int(200 + 30 * row / 447)
        side = rng.choice((-1, 1))
        width = int(rng.integers(3, 7))
        cv2.ellipse(mask, (column + side * 8, row), (width + 2, 5), 0, 0, 360, 1, -1)
        tip = (int(column + side * (10 + rng.integers(4, 12))), int(row + rng.integers(-4, 5)))
        cv2.line(mask, (column + side * 6, row), tip, 1, 2)
    painted = (mask > 0) & (distance > 0)
    result = damaged.copy()
    result[painted] = rng.integers(0, 8, int(painted.sum()))
    return result, painted


@pytest.mark.parametrize("seed", [0, 1])
def test_no_dark_pixel_is_left_beside_the_band(seed: int) -> None:
    stack = (60 + 0.75 * neuropil((3, *SHAPE), seed=20 + seed)).astype(np.uint8)
    made = sff.simulate_fold(stack[1], FOLD, hidden_half_width=34, decay=0.05)
    damaged, painted = jagged(made.damaged, seed)
    assert painted.sum() > 500
    result = sff.restore(stack[0], damaged, stack[2], [FOLD], device="cpu", snap=False)
    assert stack.min() >= 60
    assert int((result.restored < 40).sum()) == 0


def test_tissue_stays() -> None:
    # Dark tissue that touches the line is lighter than it; black that lies apart is no part of it.
    image = np.full(SHAPE, 0.6, np.float32)
    image[(np.indices(SHAPE).sum(0) // 8) % 8 == 0] = 0.3
    image[100:110, 320:330] = 0.0
    distance = clearance(FOLD, SHAPE)
    image[distance.numpy() <= 0] = 0.02
    known = torch.ones(SHAPE, dtype=torch.bool)
    assert dark_rims(torch.from_numpy(image), distance, known, 2.0) is None
    # A spur of the line's own grey is.
    image[200:204, 190:260] = 0.02
    found = dark_rims(torch.from_numpy(image), distance, known, 2.0)
    assert found is not None
    assert bool(found[201, 235])
    assert int(found.sum()) < 70 * 8


def test_a_line_no_darker_than_tissue_has_no_rims() -> None:
    image = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))
    known = torch.ones(SHAPE, dtype=torch.bool)
    assert dark_rims(image, clearance(FOLD, SHAPE), known, 2.0) is None
