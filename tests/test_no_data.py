"""Where a slice holds no image: borders, gaps, tiles, sentinels; and what is tissue."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform

from sff_napari.folds import Fold
from sff_napari.no_data import fill_no_data, find_no_data, robust_range
from sff_napari.simulation import neuropil, simulate_fold

TISSUE = neuropil((1, 360, 420), 11)[0]


def found(image, fill_value=None):
    mask = find_no_data(image, fill_value)
    return np.zeros(image.shape, bool) if mask is None else mask


def turned(image, degrees):
    """Return the image turned about its middle, and where nothing was."""
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array(image.shape) / 2
    out = affine_transform(image.astype(float), matrix, centre - matrix @ centre, order=1, cval=-1)
    return np.clip(out, 0, 255), out < 0


def test_tissue_has_none():
    assert find_no_data(TISSUE) is None
    assert find_no_data(TISSUE.astype(np.uint16) * 200) is None
    assert find_no_data(TISSUE.astype(np.float64) / 1e9) is None


@pytest.mark.parametrize("degrees", [1, 3, 10, 30, 45])
@pytest.mark.parametrize("fill", [0, 255, 128, np.nan, -9999])
def test_borders_of_a_turned_section(fill, degrees):
    image, border = turned(TISSUE, degrees)
    image[border] = fill
    image = image.astype(np.uint8 if 0 <= fill <= 255 else np.float32)
    mask = found(image)
    assert not (border & ~mask).any()
    # A pixel of the same grey beside the border may join it.
    assert (mask & ~border).sum() < 0.01 * border.sum() + 10


LAYOUTS = {
    "a gap of 1 px": [np.s_[:, 200:201]],
    "a gap of 2 px": [np.s_[:, 200:202]],
    "a gap of 8 px": [np.s_[200:208, :]],
    "a frame": [np.s_[:40], np.s_[-25:], np.s_[:, :33]],
    "one tile of four": [np.s_[200:, 200:]],
    "gaps that end at gaps": [np.s_[:, 200:201], np.s_[100:103], np.s_[103:, 300:302]],
    "tiles with an offset": [np.s_[200:202], np.s_[202:, 150:152], np.s_[:200, 260:262]],
    "a gap and a tile": [np.s_[:, 200:204], np.s_[150:, 204:]],
    "a tile inside": [np.s_[128:192, 128:192]],
    "a few rows at the border": [np.s_[:3]],
}


@pytest.mark.parametrize("value", [0, 255, 77])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gaps_and_tiles(layout, value):
    image, truth = TISSUE.copy(), np.zeros(TISSUE.shape, bool)
    for part in LAYOUTS[layout]:
        truth[part] = True
    image[truth] = value
    mask = found(image)
    assert not (truth & ~mask).any()
    assert (mask & ~truth).sum() < 0.01 * truth.sum() + 10


@pytest.mark.parametrize("angle", [2, 10, 45, 80, 88])
@pytest.mark.parametrize("half_width", [3, 8, 16])
def test_a_black_straight_fold_is_tissue(angle, half_width):
    middle, direction = np.array([180.0, 210.0]), np.deg2rad(angle)
    reach = min(179 / max(abs(np.sin(direction)), 1e-9), 209 / max(abs(np.cos(direction)), 1e-9))
    step = reach * np.array([np.sin(direction), np.cos(direction)])
    fold = Fold(vertices=[tuple(middle - step), tuple(middle + step)], half_width=half_width)
    damaged = simulate_fold(TISSUE, fold, hidden_half_width=40).damaged
    assert (damaged == 0).sum() > 1000
    assert find_no_data(damaged) is None
    assert find_no_data(damaged.astype(np.float32), 0.0) is None


def test_a_fold_that_runs_into_a_border_stays():
    fold = Fold(vertices=[(0.0, 80.0), (359.0, 300.0)], half_width=8)
    damaged = simulate_fold(TISSUE, fold, hidden_half_width=40).damaged
    black = damaged == 0
    damaged[:90] = 0
    mask = found(damaged)
    assert mask[:90].all()
    assert mask[110:].sum() == 0
    assert black[110:].sum() > 2000


def test_a_fold_that_crosses_a_gap_stays():
    fold = Fold(vertices=[(0.0, 80.0), (359.0, 300.0)], half_width=8)
    damaged = simulate_fold(TISSUE, fold, hidden_half_width=40).damaged
    black = damaged == 0
    damaged[150:156] = 0
    damaged[:, 200:202] = 0
    mask = found(damaged)
    assert mask[150:156].all()
    assert mask[:, 200:202].all()
    assert (mask & black).sum() < 400
    assert mask.sum() == 6 * 420 + 2 * 360 - 12


def test_outliers_are_grey_values_and_sentinels_are_not():
    image = TISSUE.astype(np.float32)
    image[10, 10] = 1e9
    assert find_no_data(image) is None
    image[100:120, 50:90] = -9999
    image[300, 300] = -9999
    mask = found(image)
    assert mask.sum() == 801
    assert robust_range(image, mask)[1] <= 255


def test_a_declared_fill_value_within_the_tissue_counts_in_regions_only():
    image = TISSUE.copy()
    image[5, 5] = image[100, 100] = 0
    image[:, :50] = 0
    mask = found(image, 0)
    assert mask[:, :50].all()
    assert not mask[100, 100]


def test_a_slice_of_one_value_has_no_data():
    assert found(np.full((50, 60), 7, np.uint8)).all()
    assert found(np.full((50, 60), np.nan, np.float32)).all()


@settings(max_examples=60, deadline=None)
@given(
    factor=st.floats(1e-12, 1e12),
    offset=st.floats(-5, 5),
    hot=st.integers(0, 20),
    seed=st.integers(0, 99),
)
def test_the_range_follows_units_and_not_outliers(factor, offset, hot, seed):
    rng = np.random.default_rng(seed)
    plain = TISSUE.astype(np.float64) / 255
    low, high = robust_range(plain)
    image = (plain + offset) * factor
    image.flat[rng.integers(0, image.size, hot)] = 1e9 * factor
    found_low, found_high = robust_range(image)
    assert found_low == pytest.approx((low + offset) * factor, abs=0.02 * factor)
    assert found_high == pytest.approx((high + offset) * factor, abs=0.02 * factor)


def test_filling_is_smooth_and_keeps_the_tissue():
    image = TISSUE.copy()
    image[:, :80] = 0
    image[200:208] = 0
    mask = found(image)
    filled = fill_no_data(image, mask)
    assert filled.dtype == image.dtype
    assert (filled[~mask] == image[~mask]).all()
    assert abs(filled[mask].mean() - image[~mask].mean()) < 15
    steps = np.abs(np.diff(filled[:, :70].astype(float), axis=1))
    assert steps.max() < 30
    assert np.isfinite(fill_no_data(np.full((9, 9), np.nan), np.ones((9, 9), bool))).all()
    assert fill_no_data(image, None) is not image
