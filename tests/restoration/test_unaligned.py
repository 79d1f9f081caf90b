"""Neighbours that are not aligned are moved onto the damaged slice first."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import sff_napari as sff
from sff_napari.evaluation.metrics import psnr
from sff_napari.evaluation.without_truth import score_without_truth
from sff_napari.folds import Fold
from sff_napari.restoration.neighbours.aligned import aligned_neighbours, find_unaligned
from sff_napari.simulation import neuropil, simulate_fold, simulate_straight

FOLD = Fold([(0, 230), (511, 290)], 7)


@pytest.fixture(scope="module")
def slices():
    images = neuropil((3, 512, 512), 4)
    return images, simulate_fold(images[1], FOLD, hidden_half_width=15).damaged


def turned(image, degrees, shift):
    matrix = cv2.getRotationMatrix2D((255.5, 255.5), degrees, 1.0)
    matrix[:, 2] += shift[::-1]
    return cv2.warpAffine(image, matrix, (512, 512), flags=cv2.INTER_CUBIC)


@pytest.mark.parametrize(("degrees", "shift"), [(0, (100, -60)), (8, (20, 30))])
def test_it_is_restored_as_if_it_had_been_aligned(slices, degrees, shift):
    images, damaged = slices
    aligned = sff.restore(images[0], damaged, images[2], FOLD, device="cpu")
    assert not [note for note in aligned.report["notes"] if "not aligned" in note]
    moved = sff.restore(images[0], damaged, turned(images[2], degrees, shift), FOLD, device="cpu")
    (note,) = [note for note in moved.report["notes"] if "not aligned" in note]
    assert note.startswith("The following slice is not aligned to the damaged slice: it is shifted")
    assert "Align the stack" in note
    # Far from the border that the moved slice does not show.
    inner = (slice(120, 390), slice(120, 390))
    quality = [psnr(one.restored[inner], images[1][inner]) for one in (aligned, moved)]
    assert quality[1] > quality[0] - 2.0


def test_aligned_ones_are_not_touched(slices):
    images, damaged = slices
    around = {"previous": images[0], "following": images[2]}
    found, notes = aligned_neighbours(damaged, around, {name: name for name in around}, "it")
    assert notes == []
    assert all(found[name] is image for name, image in around.items())


def test_of_other_tissue_nothing_is_said(slices):
    _, damaged = slices
    other = neuropil((1, 512, 512), 99)[0]
    found, notes = aligned_neighbours(damaged, {"previous": other}, {"previous": "P"}, "it")
    assert notes == []
    assert found["previous"] is other


def test_no_data_takes_no_part_in_scores(slices):
    images, damaged = slices
    result = sff.restore(images[0], damaged, images[2], FOLD, device="cpu")
    arguments = (result.synthesised, result.flow)
    whole = score_without_truth(damaged, result.restored, *arguments, [images[0]])
    gap = np.zeros(damaged.shape, bool)
    gap[300:340] = True
    cut = [np.where(gap, 0, image) for image in (damaged, result.restored, images[0])]
    scores = score_without_truth(cut[0], cut[1], *arguments, [cut[2]])
    # Black in all of them would look like agreement.
    assert scores.near_before == pytest.approx(whole.near_before, abs=0.05)
    assert scores.near_after == pytest.approx(whole.near_after, abs=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_a_strong_fold_is_no_misalignment(slices, seed):
    images, _ = slices
    made = simulate_straight(images[1], np.random.default_rng(seed))
    around = {"previous": images[0], "following": images[2]}
    assert find_unaligned(made.damaged, around) == {}


@pytest.mark.parametrize(("degrees", "shift"), [(0, (100, 0)), (10, (0, 0))])
def test_a_slice_that_lies_off_against_both_neighbours(slices, degrees, shift):
    images, damaged = slices
    around = {
        "previous": turned(images[0], degrees, shift),
        "following": turned(images[2], degrees, shift),
    }
    found = find_unaligned(damaged, around)
    assert sorted(found) == ["following", "previous"]
    for move in found.values():
        assert abs(abs(move.rotation_degrees) - degrees) < 1.5
