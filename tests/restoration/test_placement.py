"""Where a whole slice lies against its neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

import sff_napari as sff
from sff_napari.alignment.features import Features
from sff_napari.restoration.neighbours.neighbour import Neighbour
from sff_napari.restoration.neighbours.placement import brought_together, start_offset
from sff_napari.restoration.neighbours.slice_offset import shift_of_slice

FOLD = sff.Fold([(0, 170), (383, 215)], 7)
TANGENT = np.array([383, 45]) / np.hypot(383, 45)


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


def neighbours(*images: np.ndarray) -> list[Neighbour]:
    return [
        Neighbour(name, torch.from_numpy(image / 255).float(), torch.ones(384, 384).bool())
        for name, image in zip(("previous", "following"), images, strict=False)
    ]


@pytest.mark.parametrize("moved", [(0, 0), (16, -8), (-12, 20)])
def test_the_shift_is_found_although_a_fold_moved_both_sides(moved):
    previous, clean, following = stack((0, 0), moved, (0, 0))
    sim = sff.simulate_fold(clean, FOLD, hidden_half_width=40, decay=0.05)
    scores = shift_of_slice(
        features(sim.damaged, sim.damaged > 0), [features(previous), features(following)], FOLD
    )
    shift, score = scores.best()
    # Along the line it is told; across, all of it could be the fold's in so small a slice.
    error = np.subtract(shift, moved)
    assert abs(error @ TANGENT) < 5
    assert score > scores.at((shift[0] + 20, shift[1]), 4) + 0.05
    assert scores.at((1000.0, 0.0)) == -1


def test_neighbours_that_lie_far_apart_meet_half_way():
    previous, _, following = stack((0, 0), (9, -11), (22, -18))
    result = brought_together(neighbours(previous, following))
    assert np.allclose(result[0].shift, (11, -9), atol=1)
    assert np.allclose(result[1].shift, (-11, 9), atol=1)
    # Both show the same at the same place.
    inner = (slice(60, -60), slice(60, -60))
    one, other = (side.image[inner].numpy() for side in result)
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.3


def test_neighbours_that_lie_on_each_other_or_are_alone_stay():
    previous, _, following = stack((0, 0), (9, -11), (2, -3))
    for images in ((previous, following), (previous,)):
        assert all(one.shift == (0, 0) for one in brought_together(neighbours(*images)))


def test_the_search_begins_where_the_slice_lies_along_the_line():
    along = np.rint(20 * TANGENT).astype(int)
    previous, clean, following = stack((0, 0), tuple(along), (0, 0))
    sim = sff.simulate_fold(clean, FOLD, hidden_half_width=30, decay=0.05)
    damaged = torch.from_numpy(sim.damaged / 255).float()
    known = torch.from_numpy(sim.damaged > 0)
    found = start_offset(neighbours(previous, following), damaged, known, [FOLD]).numpy()
    assert abs((found - along) @ TANGENT) < 4
    # Across the line nothing is decided before the fit.
    assert abs(found @ [-TANGENT[1], TANGENT[0]]) < 1e-3


@pytest.mark.parametrize("shift", [(3, -4), (-5, 5)])
def test_neighbours_shifted_by_opposite_amounts_change_hardly_anything(shift):
    previous, clean, following = stack((0, 0), (0, 0), (0, 0))
    sim = sff.simulate_fold(clean, FOLD, hidden_half_width=25, decay=0.06)
    errors = []
    for dy, dx in ((0, 0), shift):
        moved = np.roll(previous, (dy, dx), (0, 1)), np.roll(following, (-dy, -dx), (0, 1))
        result = sff.restore(
            moved[0], sim.damaged, moved[1], sim.folds, device="cpu", snap=False, fusion="stitch"
        )
        both = np.isfinite(result.flow).all(0) & ~sim.corrupted
        errors.append(float(np.hypot(*(result.flow - sim.flow)[:, both]).mean()))
    assert errors[0] < 1.0
    assert abs(errors[1] - errors[0]) < 0.4


def test_a_restoration_in_a_jittering_stack():
    previous, clean, following = stack((0, 0), (17, 1), (-5, 2))
    sim = sff.simulate_fold(clean, FOLD, hidden_half_width=20, decay=0.1)
    result = sff.restore(previous, sim.damaged, following, sim.folds, device="cpu", snap=False)
    both = np.isfinite(result.flow).all(0) & ~sim.corrupted
    assert np.hypot(*(result.flow - sim.flow)[:, both]).mean() < 1.5
