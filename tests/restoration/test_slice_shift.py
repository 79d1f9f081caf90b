"""Where a whole slice lies against its neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

import sff_napari as sff
from sff_napari.alignment.drift_model import USUAL_JITTER
from sff_napari.alignment.features import Features
from sff_napari.restoration.neighbours.neighbour import Neighbour, aligned, usual_jitter
from sff_napari.restoration.neighbours.slice_offset import shift_of_slice

FOLD = sff.Fold([(0, 170), (383, 215)], 7)


def stack(*shifts: tuple[int, int]) -> list[np.ndarray]:
    """Return slices that show one texture, each moved, and with noise of its own."""
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.normal(size=(484, 484)), 3)
    texture /= texture.std()
    images = []
    for dy, dx in shifts:
        part = texture[50 + dy : 434 + dy, 50 + dx : 434 + dx]
        own = ndimage.gaussian_filter(rng.normal(size=part.shape), 3)
        images.append(np.clip(128 + 30 * (part + own / own.std()), 0, 255).astype(np.uint8))
    return images


def features(image: np.ndarray, known: np.ndarray | None = None) -> Features:
    """Return what is compared of a slice."""
    where = np.ones(image.shape, bool) if known is None else known
    return Features.of(torch.from_numpy(image / 255).float(), torch.from_numpy(where), 4)


@pytest.mark.parametrize("moved", [(0, 0), (16, -8), (-12, 20)])
def test_the_shift_is_found_although_a_fold_moved_both_sides(moved):
    previous, clean, following = stack((0, 0), moved, (6, 2))
    sim = sff.simulate_fold(clean, FOLD, hidden_half_width=40, decay=0.05)
    scores = shift_of_slice(
        features(sim.damaged, sim.damaged > 0),
        [features(previous), features(following)],
        FOLD,
        torch.tensor([-6.0, -2.0]),
    )
    shift, score = scores.best()
    # Along the line it is told; across, all of it could be the fold's in so small a slice.
    tangent = np.array([383, 45]) / np.hypot(383, 45)
    error = np.subtract(shift, moved)
    assert abs(error @ tangent) < 5
    assert score > scores.at((shift[0] + 20, shift[1]), 4) + 0.05
    assert scores.at((1000.0, 0.0)) == -1


def test_a_slice_between_neighbours_that_lie_apart_is_put_between_them():
    moved = (9, -11)
    previous, clean, following = stack((0, 0), moved, (22, -18))
    sim = sff.simulate_fold(clean, FOLD, hidden_half_width=30, decay=0.05)
    around = [
        Neighbour(name, torch.from_numpy(image / 255).float(), torch.ones(384, 384).bool())
        for name, image in (("previous", previous), ("following", following))
    ]
    damaged = torch.from_numpy(sim.damaged / 255).float()
    result = aligned(around, damaged, torch.from_numpy(sim.damaged > 0), [FOLD])
    assert np.allclose(result[0].shift, moved, atol=7)
    assert np.allclose(result[1].shift, np.subtract(moved, (22, -18)), atol=7)
    # Both show the same at the same place.
    inner = (slice(60, -60), slice(60, -60))
    one, other = (side.image[inner].numpy() for side in result)
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.3
    assert usual_jitter(result) > 3 * USUAL_JITTER
    assert usual_jitter(around) == USUAL_JITTER


def test_a_restoration_in_a_jittering_stack():
    previous, clean, following = stack((0, 0), (17, 1), (-5, 2))
    sim = sff.simulate_fold(clean, FOLD, hidden_half_width=20, decay=0.1)
    result = sff.restore(previous, sim.damaged, following, sim.folds, device="cpu", snap=False)
    both = np.isfinite(result.flow).all(0) & ~sim.corrupted
    assert np.hypot(*(result.flow - sim.flow)[:, both]).mean() < 1.5
