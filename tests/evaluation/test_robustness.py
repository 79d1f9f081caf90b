"""What mistakes cost, fold by fold."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from sff_napari.errors import InputError
from sff_napari.evaluation import (
    Perturbation,
    Trials,
    make_case,
    methods,
    parse_perturbation,
    robustness,
)
from sff_napari.evaluation.tables import mean_cell
from sff_napari.folds import Curve


def test_what_goes_wrong(stack):
    case = make_case(stack, 1, "realistic", 0, 0)
    wrong = parse_perturbation("line-offset=3, width=+20%,brightness=1.1")
    given = case.with_perturbation(wrong)
    assert np.array_equal(given.clean, case.clean)
    assert np.array_equal(given.simulation.damaged, case.simulation.damaged)
    expected = np.clip(np.rint(case.previous * 1.1), 0, 255)
    assert np.array_equal(given.previous, expected.astype(np.uint8))
    (fold,), (drawn,) = case.folds, given.folds
    assert drawn.half_width == pytest.approx(1.2 * fold.half_width)
    assert drawn.half_widths == pytest.approx([1.2 * w for w in fold.half_widths])
    assert drawn.source == "drawn"
    points, _ = Curve.of(drawn).at(Curve.of(drawn)._tensor(np.linspace(0, 100, 9)))
    assert Curve.of(fold).project(points).distance.numpy() == pytest.approx(3, abs=0.1)
    blurred = case.with_perturbation(parse_perturbation("blur=2")).following
    assert blurred.std() < case.following.std()


def test_neighbours_are_shifted_by_opposite_amounts(stack):
    case = make_case(stack, 1, "straight", 0, 0)
    given = case.with_perturbation(parse_perturbation("shift=3/-5"))
    assert np.array_equal(given.previous[3:, :-5], case.previous[:-3, 5:])
    assert np.array_equal(given.following[:-3, 5:], case.following[3:, :-5])
    assert given.previous.dtype == case.previous.dtype
    assert np.array_equal(given.clean, case.clean)
    half = case.with_perturbation(Perturbation(shift=(0, 0.5)))
    between = (case.previous[:, :-1].astype(float) + case.previous[:, 1:]) / 2
    assert np.abs(half.previous[:, 1:] - between)[:, 8:-8].mean() < 4
    assert parse_perturbation("shift=3/-4.5,blur=1").label == (
        "neighbours blurred by 1 px, neighbours ±(3, -4.5) px off"
    )


def test_the_change_of_the_error_is_of_pairs(stack, monkeypatch):
    def follows(case, settings):
        # The error grows with how far the previous slice was moved.
        moved = 0.0 if np.array_equal(case.previous, stack[case.z - 1]) else 2.0
        flow = case.simulation.flow + np.float32(1 + moved)
        return methods.Outcome(case.clean, flow)

    monkeypatch.setattr(methods, "METHODS", {"follows": follows})
    wrong = [parse_perturbation("shift=3/-4.5")]
    found = robustness(stack, wrong, Trials(folds=3), methods=["follows"])
    plain, off = found.rows
    assert plain.flow_error[0] == pytest.approx(math.sqrt(2), abs=1e-3)
    assert off.flow_change == pytest.approx((2 * math.sqrt(2), 0), abs=1e-3)
    assert math.isnan(plain.flow_change[0])
    assert "change px" in found.table()
    assert found.to_dict()["rows"][1]["flow_change"]["mean"] == pytest.approx(2.828, abs=1e-3)


@pytest.mark.parametrize(
    "text",
    [
        "shift=3",
        "shift=3/",
        "shift=10%/2",
        "",
        "magic=3",
        "width",
        "width=two",
        "blur=10%",
        "line-offset=nan",
        "width=-100%",
    ],
)
def test_nonsense_is_refused(text):
    with pytest.raises(InputError):
        parse_perturbation(text)


def test_losses_are_of_pairs(stack):
    wrong = [parse_perturbation("brightness=+40%"), parse_perturbation("width=-50%")]
    found = robustness(stack, wrong, Trials(folds=3), methods=["mean", "inpainting"])
    rows = {(row.method, row.perturbation): row for row in found.rows}
    bright = "neighbours 40 % brighter"
    assert rows["mean", bright].loss[0] > 1
    assert rows["inpainting", bright].loss[0] == 0
    assert rows["inpainting", bright].loss[1] == 0
    narrow = rows["inpainting", "50 % narrower"]
    assert narrow.loss[0] > 0.5
    # The interval of the loss is that of the pairs, far below that of the folds.
    assert rows["mean", bright].loss[1] < rows["inpainting", bright].psnr[1]
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["rows"][0]["loss"]["mean"] is None
    assert "50 % narrower" in found.table()
    with pytest.raises(InputError, match="at least one perturbation"):
        robustness(stack, [], Trials(folds=1))


def test_perturbations_in_words():
    assert Perturbation().label == "nothing wrong"
    both = Perturbation(line_offset=3, width_factor=0.8)
    assert both.label == "line 3 px off, 20 % narrower"


def test_what_is_missing_is_a_dash_alone():
    assert mean_cell((1.234, 0.5), 2, 7, 5) == "   1.23 ± 0.50"
    assert mean_cell((1.234, math.nan), 2, 7, 5) == "   1.23       "
    assert mean_cell((math.nan, math.nan), 2, 7, 5) == "      -       "
