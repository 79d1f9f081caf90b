"""What mistakes cost, fold by fold."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sff_napari.errors import InputError
from sff_napari.evaluation import Perturbation, make_case, parse_perturbation, robustness
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


@pytest.mark.parametrize(
    "text", ["", "magic=3", "width", "width=two", "blur=10%", "line-offset=nan", "width=-100%"]
)
def test_nonsense_is_refused(text):
    with pytest.raises(InputError):
        parse_perturbation(text)


def test_losses_are_of_pairs(stack):
    wrong = [parse_perturbation("brightness=+40%"), parse_perturbation("width=-50%")]
    found = robustness(stack, wrong, folds=3, methods=["mean", "inpainting"])
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
        robustness(stack, [], folds=1)


def test_perturbations_in_words():
    assert Perturbation().label == "nothing wrong"
    both = Perturbation(line_offset=3, width_factor=0.8)
    assert both.label == "line 3 px off, 20 % narrower"
