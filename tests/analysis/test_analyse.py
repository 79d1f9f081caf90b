"""Folds of a known law are measured as they are."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from sff_napari.analysis import analyse, match_blocks
from sff_napari.analysis.plot import plot
from sff_napari.analysis.report import amplitude_against_distance, report
from sff_napari.analysis.statistics import describe_line
from sff_napari.errors import Cancelled, InputError
from sff_napari.folds import Fold
from sff_napari.simulation import (
    RealisticRanges,
    neuropil,
    random_realistic,
    ranges_from_dict,
    simulate_fold,
)


@pytest.fixture(scope="module")
def found(known):
    return analyse(known.stack, known.folds, reach=60)


def test_blocks_are_found_again():
    tissue = neuropil((1, 320, 320), seed=3)[0]
    moved = np.roll(tissue, (7, -12), axis=(0, 1))
    nothing, one = np.zeros(tissue.shape, bool), np.zeros(tissue.shape, int)
    matches = match_blocks(tissue, [moved], nothing, one, reach=30)
    assert len(matches) == 9 * 9
    assert matches.reliable.mean() > 0.8
    offsets = matches.offsets[matches.reliable]
    assert np.median(offsets, axis=0) == pytest.approx([7, -12], abs=0.05)
    # Too short a range is noticed.
    short = match_blocks(tissue, [np.roll(tissue, 25, axis=1)], nothing, one, reach=12)
    assert short.reliable.mean() < 0.3
    assert short.at_limit.mean() > 0.5


def test_a_block_shows_one_side_only():
    tissue = neuropil((1, 200, 200), seed=3)[0]
    parts = np.zeros(tissue.shape, int)
    parts[:, 100:] = 1
    torn = tissue.copy()
    torn[:, 100:] = np.roll(tissue, 10, axis=0)[:, 100:]
    matches = match_blocks(torn, [tissue], np.zeros(tissue.shape, bool), parts, reach=20)
    right = matches.places[:, 1] > 100
    for which, expected in ((right, -10), (~right, 0)):
        good = which & matches.reliable
        assert good.sum() > 3
        assert matches.offsets[good, 0] == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(
    ("numbers", "says"),
    [({"block": 300}, "do not|cannot"), ({"overlap": 71}, "overlap"), ({"reach": 0}, "range")],
)
def test_impossible_blocks(numbers, says):
    image = np.zeros((128, 128), np.uint8)
    with pytest.raises(InputError, match=says):
        match_blocks(image, [image], image > 0, image.astype(int), **numbers)


def test_the_law_is_found(known, found):
    assert [fold.z for fold in found.folds] == [1, 3, 5, 7]
    errors, angles = [], []
    for fold in found.folds:
        law = known.plans[fold.z].law
        for side, truth in zip(fold.sides, law.gap, strict=True):
            if side.is_known:
                errors.append(side.displacement - float(truth.mean()))
                angles.append(side.off_perpendicular)
                assert abs(side.displacement - float(truth.mean())) < 6
    assert len(errors) >= 6
    assert np.abs(errors).mean() < 2.5
    assert np.abs(angles).max() < 12
    products = [s.slope_product for f in found.folds for s in f.sides]
    assert np.nanmedian(products) == pytest.approx(-1, abs=0.2)


def test_the_ranges_cover_the_truth(known, found):
    ranges = found.ranges
    for fold in found.folds:
        plan = known.plans[fold.z]
        low, high = ranges.half_width
        assert low <= plan.fold.half_width <= high
        for side, gap, decay in zip(fold.sides, plan.law.gap, plan.law.decay, strict=True):
            if side.is_known:
                assert ranges.gap[0] <= float(gap.mean()) <= ranges.gap[1]
                assert ranges.decay[0] <= float(decay[0]) <= ranges.decay[1]
    # And they say something: far narrower than everything that could be.
    assert ranges.gap[0] > 3
    assert ranges.gap[1] < 80
    assert ranges.decay[1] < 0.35
    assert found.usual == ("knot_spacing",)
    for seed in range(5):
        random_realistic((448, 448), np.random.default_rng(seed), ranges)


def test_amplitudes_fall_with_the_distance(found):
    less, more = amplitude_against_distance(found.folds)
    for rows in (less, more):
        rows = [row for row in rows if row[3] > 3]
        assert rows[0][0] < 60
        near = np.mean([row[1] for row in rows if row[0] < 100])
        far = np.mean([row[1] for row in rows if row[0] > 250])
        assert far < 0.5 * near
    assert np.nanmean([row[1] for row in less]) < np.nanmean([row[1] for row in more])


def test_what_is_printed_and_drawn(found):
    text = report(found)
    assert "4 folds against the neighbours" in text
    assert "Off the perpendicular" in text
    assert "half_width_variation" in text
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert ranges_from_dict(record["ranges"]) == found.ranges
    figure = plot(found.folds)
    slopes, amplitudes = figure.axes
    dots = [line for line in slopes.lines if line.get_marker() == "o"]
    for side, line in enumerate(dots):
        shown = [(fold.line.slope, fold.sides[side].slope) for fold in found.folds]
        assert np.allclose(line.get_xydata(), shown, equal_nan=True)
    assert len(dots) == 2
    assert len([line for line in amplitudes.lines if line.get_marker() == "None"]) >= 8
    assert amplitudes.get_ylim()[1] > 20
    picture = io.BytesIO()
    figure.savefig(picture, format="svg")
    assert b"</svg>" in picture.getvalue()
    assert slopes.get_xlabel().startswith("slope of the line")


def test_against_the_interpolated_slice(known):
    found = analyse(known.stack, known.folds, slices=[3], reference="interpolated", reach=60)
    (fold,) = found.folds
    truth = known.plans[3].law.gap.mean(dim=1)
    for side, gap in zip(fold.sides, truth, strict=True):
        if side.is_known:
            assert side.displacement == pytest.approx(float(gap), abs=8)
    assert any(side.is_known for side in fold.sides)
    assert "the interpolated slice" in report(found)


def test_nothing_to_measure_is_said():
    stack = np.random.default_rng(0).integers(0, 255, (3, 160, 160)).astype(np.uint8)
    fold = Fold([(0, 80), (159, 90)], 5)
    found = analyse(stack, {1: [fold]}, reach=30)
    assert not any(side.is_known for side in found.folds[0].sides)
    assert "too few blocks" in found.notes[0]
    usual = RealisticRanges()
    assert found.usual == ("gap", "gap_variation", "decay", "knot_spacing")
    assert (found.ranges.gap, found.ranges.decay) == (usual.gap, usual.decay)
    assert "not measured" in report(found)
    plot(found.folds).savefig(io.BytesIO(), format="png")


def test_two_folds_on_a_slice_are_told_apart(known):
    stack = known.stack[:3].copy()
    stack[1] = known.stack[4]
    lines = [Fold([(0, 130), (447, 130)], 5), Fold([(0, 330), (447, 330)], 5)]
    for fold, hidden in zip(lines, (25, 35), strict=True):
        made = simulate_fold(stack[1], fold, hidden_half_width=hidden, decay=0.3)
        stack[1] = made.damaged
    stack[0] = stack[2] = known.stack[4]
    found = analyse(stack, {1: lines}, reach=50)
    first, second = found.folds
    assert max(s.displacement for s in first.sides) == pytest.approx(20, abs=4)
    assert max(s.displacement for s in second.sides) == pytest.approx(30, abs=5)


def test_a_line_is_described():
    straight = describe_line(Fold([(0, 100), (300, 200)], 7), (301, 400))
    assert straight.slope == pytest.approx(3)
    assert straight.ends_inside == 0
    assert straight.bow == pytest.approx(0, abs=1e-6)
    x = np.linspace(0, 400, 9)
    bowed = Fold(
        [(150 - 40 * (1 - (v / 200 - 1) ** 2), v) for v in x], 6, half_widths=[4] * 4 + [8] * 5
    )
    line = describe_line(bowed, (301, 600))
    assert line.bow == pytest.approx(0.1, abs=0.01)
    assert line.wiggle < 0.005
    assert line.ends_inside == 1
    assert line.half_width_range == pytest.approx((4, 8))
    assert np.isinf(describe_line(Fold([(0, 9), (50, 9)], 2), (51, 51)).slope)


def test_bad_choices(known):
    folds = known.folds
    with pytest.raises(InputError, match="no fold on slice 2"):
        analyse(known.stack, folds, slices=[2])
    with pytest.raises(InputError, match="no fold to measure"):
        analyse(known.stack, {})
    with pytest.raises(InputError, match="no reference"):
        analyse(known.stack, folds, reference="magic")
    with pytest.raises(InputError, match="no undamaged slice near"):
        analyse(known.stack[3:4], {0: folds[3]})
    with pytest.raises(Cancelled):
        analyse(known.stack, folds, cancelled=lambda: True)
