"""Simulated folds: exact ways back, determinism, realistic looks, synthetic tissue."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import sff_napari as sff
from sff_napari.errors import FoldError, InputError
from sff_napari.simulation import (
    apply_flow,
    neuropil,
    random_realistic,
    random_straight,
    simulate_realistic,
    simulate_straight,
)


@pytest.fixture(scope="module")
def smooth():
    """A smooth image: what resampling costs is then far below what a wrong map would."""
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.normal(size=(240, 300)), 6)
    return (128 + 60 * image / image.std() / 2).clip(0, 255).astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(
    st.floats(40, 200),
    st.floats(40, 200),
    st.floats(3, 10),
    st.floats(0, 40),
    st.floats(0, 0.1),
)
def test_the_flow_undoes_the_fold(smooth, y0, y1, w1, gap, decay):
    fold = sff.Fold([(y0, 0), (y1, 299)], w1)
    sim = sff.simulate_fold(smooth, fold, hidden_half_width=w1 + gap, decay=decay)
    back = apply_flow(sim.damaged, sim.flow)
    # The rim of the dark line takes part in the resampling of the pixels next to it.
    clear = ~ndimage.binary_dilation(sim.corrupted, iterations=4)
    clear[:3] = clear[-3:] = clear[:, :3] = clear[:, -3:] = False
    if clear.any():
        assert np.abs(back - smooth)[clear].max() < 6


def test_what_a_simulation_returns(smooth):
    image = smooth.astype(np.uint8)
    fold = sff.Fold([(0, 100), (239, 180)], 6)
    sim = sff.simulate_fold(image, fold, hidden_half_width=30, decay=0.03)
    assert sim.damaged.dtype == np.uint8
    assert sim.flow.shape == (2, 240, 300)
    assert sim.flow.dtype == np.float32
    assert sim.fold == fold
    assert np.array_equal(np.isnan(sim.flow).any(0), sim.corrupted)
    row = sim.damaged[120]
    assert (row[135:146] == 0).all()  # the line crosses this row at about 140
    hidden = sim.corrupted[120].sum()
    assert hidden == pytest.approx(2 * 30 * np.hypot(1, 80 / 239), abs=3)


def test_widths_along_the_line_and_ends_inside(smooth):
    fold = sff.Fold([(60, 60), (120, 150), (180, 220)], 5, half_widths=[3, 5, 7])
    sim = sff.simulate_fold(smooth, fold, hidden_half_width=25, decay=0.05)
    assert not sim.corrupted[:40, :40].any()
    assert sim.corrupted[120, 150]
    # Beyond an end that lies inside, the slice is as it was.
    assert np.allclose(sim.damaged[:30, :30], smooth[:30, :30], atol=0.5)


@pytest.mark.parametrize(
    ("hidden", "decay", "says"),
    [
        (3, 0.02, "already reaches"),
        (40, -0.1, "between 0"),
        (40, 1.5, "between 0"),
        (np.nan, 0, "nan"),
    ],
)
def test_impossible_folds_are_refused(smooth, hidden, decay, says):
    with pytest.raises(FoldError, match=says):
        sff.simulate_fold(smooth, sff.Fold([(0, 50), (239, 60)], 5), hidden, decay)


def test_a_seed_gives_the_same_fold(smooth):
    for make in (simulate_straight, simulate_realistic):
        one, two = (make(smooth, np.random.default_rng(7)) for _ in range(2))
        other = make(smooth, np.random.default_rng(8))
        assert np.array_equal(one.damaged, two.damaged)
        assert one.folds == two.folds
        assert not np.array_equal(one.damaged, other.damaged)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_straight_folds_stay_in_the_papers_ranges(seed):
    plan = random_straight((512, 512), np.random.default_rng(seed))
    assert 5 <= plan.fold.half_width <= 30
    w2 = plan.fold.half_width + float(plan.law.gap.max())
    assert plan.fold.half_width <= w2 <= 80
    assert 1e-5 <= float(plan.law.decay.max()) <= 0.1
    on_border = [min(y, x, 511 - y, 511 - x) for y, x in plan.fold.vertices]
    assert max(on_border) == pytest.approx(0)


def test_realistic_folds_differ_as_real_ones_do():
    plans = [random_realistic((1024, 1024), np.random.default_rng(i)) for i in range(40)]
    sides = np.array([[float(g.max()) for g in plan.law.gap] for plan in plans])
    assert (np.abs(sides[:, 0] - sides[:, 1]) > 5).mean() > 0.5
    assert np.mean([max(p.fold.half_widths) / min(p.fold.half_widths) for p in plans]) > 1.2
    bends = [len(plan.fold.vertices) for plan in plans]
    assert min(bends) > 2
    ends = [
        min(y, x, 1023 - y, 1023 - x) > 50
        for plan in plans
        for y, x in (plan.fold.vertices[0], plan.fold.vertices[-1])
    ]
    assert 0 < sum(ends) < len(ends) / 2


def test_realistic_lines_are_dark_but_not_black():
    stack = neuropil((1, 320, 320), seed=3)
    levels = []
    for seed in range(6):
        sim = simulate_realistic(stack[0], np.random.default_rng(seed))
        y, x = sim.fold.vertices[len(sim.fold.vertices) // 2]
        if 5 < y < 315 and 5 < x < 315:
            levels.append(
                float(sim.damaged[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].mean())
            )
    assert 1 < np.median(levels) < 60


def test_several_folds_drag_each_other_along(smooth):
    sim = simulate_realistic(smooth, np.random.default_rng(4), count=2)
    assert len(sim.folds) == 2
    clear = ~sim.corrupted
    assert np.isfinite(sim.flow[:, clear]).all()


def test_synthetic_neighbours_correlate_like_real_ones():
    stack = neuropil((3, 256, 256), seed=1)
    assert stack.dtype == np.uint8
    assert np.array_equal(stack, neuropil((3, 256, 256), seed=1))
    soft = ndimage.gaussian_filter(stack.astype(float), (0, 1, 1))
    for a, b in ((0, 1), (1, 2)):
        assert 0.25 < np.corrcoef(soft[a].ravel(), soft[b].ravel())[0, 1] < 0.6


def test_empty_neuropil_is_refused():
    with pytest.raises(InputError, match="no pixels"):
        neuropil((0, 64, 64))
