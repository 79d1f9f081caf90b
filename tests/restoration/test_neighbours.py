"""Bringing neighbours to the damaged slice."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sff_napari as sff
from sff_napari.restoration.neighbours.neighbour import aligned, load, with_contrast_of
from sff_napari.simulation import neuropil

STACK = neuropil((3, 384, 384), seed=12)
FOLD = sff.Fold([(0, 190), (383, 200)], 6)
SIM = sff.simulate_fold(STACK[1], FOLD, hidden_half_width=20, decay=0.05)


def unit(image):
    return image.astype(np.float32) / 255


def prepared(*images):
    device = torch.device("cpu")
    return [
        load(n, unit(im), device) for n, im in zip(("previous", "following"), images, strict=False)
    ]


def damaged():
    image = torch.from_numpy(unit(SIM.damaged))
    return image, image > 0


def test_aligned_neighbours_stay():
    for images in ((STACK[0], STACK[2]), (STACK[0],)):
        assert all(one.shift == (0, 0) for one in aligned(prepared(*images), *damaged(), [FOLD]))


@pytest.mark.parametrize("which", [0, 1])
def test_the_shifted_one_of_two_is_moved_back(which):
    # Two sections apart, synthetic slices hardly resemble each other; real ones do.
    images = [STACK[0], STACK[0]]
    images[which] = np.roll(images[which], (21, 0), (0, 1))
    result = aligned(prepared(*images), *damaged(), [FOLD])
    assert max(abs(value) for value in result[1 - which].shift) <= 3
    assert np.hypot(result[which].shift[0] - 21, result[which].shift[1]) < 6


def test_a_single_neighbour_is_moved_back_along_the_line():
    result = aligned(prepared(np.roll(STACK[0], 18, 0)), *damaged(), [FOLD])
    assert abs(result[0].shift[0] - 18) < 5


def test_sides_that_moved_differently_are_no_shift_of_the_slice():
    torn = np.hstack([np.roll(STACK[0], 24, 0)[:, :192], STACK[0][:, 192:]])
    assert aligned(prepared(torn), *damaged(), [FOLD])[0].shift == (0, 0)


def test_contrast_is_brought_back():
    dull = prepared((STACK[0] * 0.5 + 60).astype(np.uint8))[0]
    image, known = damaged()
    fixed = with_contrast_of(dull, image, known)
    assert fixed.gain == pytest.approx(2, rel=0.15)
    assert float(fixed.image.mean()) == pytest.approx(float(image[known].mean()), abs=0.01)
