"""Lines that stop short of the end of their dark line."""

from __future__ import annotations

import numpy as np
import pytest

import sff_napari as sff
from sff_napari.restoration.extend_line import prolonged
from sff_napari.simulation import neuropil


@pytest.fixture(scope="module")
def slice_with_a_line_that_ends_inside():
    image = neuropil((1, 200, 300), seed=1)[0]
    image[96:105, 60:300] = 10
    return image


def test_a_short_line_is_taken_to_the_end(slice_with_a_line_that_ends_inside):
    fold = sff.Fold([(100, 85), (100, 299)], 4)
    ends = prolonged(slice_with_a_line_that_ends_inside, fold).vertices
    assert ends[0][1] == pytest.approx(60, abs=3)
    assert ends[1] == (100, 299)


def test_a_line_at_its_end_stays(slice_with_a_line_that_ends_inside):
    fold = sff.Fold([(100, 59), (100, 299)], 4)
    assert prolonged(slice_with_a_line_that_ends_inside, fold).vertices[0][1] > 52


def test_a_line_without_darkness_stays():
    image = neuropil((1, 200, 300), seed=1)[0]
    image[90:110] = 200
    fold = sff.Fold([(100, 80), (100, 220)], 4)
    assert prolonged(image, fold) == fold
    assert np.all(np.isfinite(fold.vertices))
