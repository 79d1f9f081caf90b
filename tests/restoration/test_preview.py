"""The quick preview: close to the whole restoration, fast enough to follow the mouse."""

from __future__ import annotations

import numpy as np
import pytest

from sff_napari import Fold, simulate_fold
from sff_napari.errors import Cancelled, FoldError, InputError
from sff_napari.restoration.preview import Previewer
from sff_napari.simulation import neuropil

SIDE = 512
FOLD = Fold([(0.0, 240.0), (260.0, 262.0), (511.0, 230.0)], 7.0)


@pytest.fixture(scope="module")
def triple() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    stack = neuropil((3, SIDE, SIDE), seed=5)
    damaged = simulate_fold(stack[1], FOLD, 26.0, 0.025).damaged
    return stack[0], damaged, stack[2], stack[1]


def pooled(plane: np.ndarray, factor: int) -> np.ndarray:
    height, width = (n // factor for n in plane.shape)
    part = plane[: height * factor, : width * factor].astype(np.float32)
    return part.reshape(height, factor, width, factor).mean(axis=(1, 3))


def likeness(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
    return float(np.corrcoef(one[where], other[where])[0, 1])


def test_a_preview_resembles_the_truth_much_more_than_the_damaged_slice(triple):
    previous, damaged, following, truth = triple
    previewer = Previewer(previous, damaged, following, [FOLD], device="cpu")
    made = previewer([FOLD])
    f = made.factor
    assert f > 1
    assert made.image.shape == (SIDE // f, SIDE // f)
    changed = np.isfinite(made.image)
    assert changed.mean() > 0.1
    before = likeness(pooled(damaged, f), pooled(truth, f), changed)
    after = likeness(made.image, pooled(truth, f), changed)
    assert after > before + 0.3
    assert after > 0.75


def test_a_line_that_is_off_gives_a_worse_preview_and_coming_back_the_same_one(triple):
    previous, damaged, following, truth = triple
    previewer = Previewer(previous, damaged, following, [FOLD], device="cpu")
    first = previewer([FOLD]).image
    off = FOLD.with_changes(vertices=[(0.0, 200.0), (260.0, 262.0), (511.0, 230.0)])
    moved = previewer([off]).image
    np.testing.assert_array_equal(previewer([FOLD]).image, first)
    both = np.isfinite(first) & np.isfinite(moved)
    small = pooled(truth, previewer.factor)
    assert likeness(first, small, both) > likeness(moved, small, both)


def test_two_folds_one_neighbour_and_other_dtypes(triple):
    previous, damaged, following, _ = triple
    second = Fold([(0.0, 60.0), (200.0, 90.0)], 5.0)
    wide = damaged.astype(np.uint16) * 257
    made = Previewer(previous.astype(np.uint16) * 257, wide, None, [FOLD, second], device="cpu")(
        [FOLD, second]
    )
    assert np.nanmax(made.image) > 20000
    gappy = damaged.astype(np.float32)
    gappy[400:, 400:] = np.nan
    made = Previewer(None, gappy, following, [FOLD], device="cpu")([FOLD])
    assert np.isfinite(made.image).any()
    assert np.isnan(made.image[-3:, -3:]).all()


def test_the_resolution_follows_the_size_of_what_is_restored(triple):
    previous, damaged, following, _ = triple
    large = [np.tile(plane, (4, 4)) for plane in (previous, damaged, following)]
    upright = Fold([(0.0, 1000.0), (2047.0, 1010.0)], 7.0)
    diagonal = Fold([(0.0, 0.0), (2047.0, 2047.0)], 7.0)
    previewer = Previewer(*large, [upright], device="cpu")
    assert previewer.fits([upright])
    assert not previewer.fits([diagonal])
    away = np.isnan(previewer([upright]).image).mean(axis=0)
    assert away[0] == away[-1] == 1, "nothing changes far from the line"


def test_bad_input_and_cancelling(triple):
    previous, damaged, following, _ = triple
    with pytest.raises(FoldError, match="no fold"):
        Previewer(previous, damaged, following, [], device="cpu")
    with pytest.raises(InputError, match="Both neighbours"):
        Previewer(None, damaged, None, [FOLD], device="cpu")
    with pytest.raises(InputError, match="differ in shape"):
        Previewer(previous[:100], damaged, following, [FOLD], device="cpu")
    previewer = Previewer(previous, damaged, following, [FOLD], device="cpu")
    with pytest.raises(FoldError):
        previewer([FOLD.with_changes(vertices=[(-90.0, -90.0), (-50.0, -50.0)])])
    with pytest.raises(Cancelled):
        previewer([FOLD], cancelled=lambda: True)
