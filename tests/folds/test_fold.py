"""The fold line as data: checks, JSON, scaling."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sff_napari import Fold, SffError
from sff_napari.errors import FoldError

numbers = st.floats(-500, 1500, allow_nan=False)
lines = st.lists(st.tuples(numbers, numbers), min_size=2, max_size=6)


@given(lines, st.floats(0.1, 200), st.sampled_from(["drawn", "detected", "simulated"]))
def test_json_round_trip(vertices, half_width, source):
    try:
        fold = Fold(vertices, half_width, source=source, score=0.5)
    except FoldError:
        return
    assert Fold.from_json(fold.to_json()) == fold


def test_json_keeps_widths_along_the_line():
    fold = Fold([(0, 0), (5, 50), (0, 100)], 4, half_widths=[3, 4, 5])
    assert Fold.from_json(fold.to_json()) == fold
    assert fold.widest == 5
    assert not fold.is_straight


@pytest.mark.parametrize(
    ("vertices", "half_width", "says"),
    [
        ([(0, 0)], 5, "at least two"),
        ([(3, 3), (3, 3)], 5, "no length"),
        ([(0, 0), (1, 1), (1, 1)], 5, "two equal vertices"),
        ([(0, 0), (100, 100), (100, 0), (0, 100)], 5, "crosses itself"),
        ([(0, 0), (0, 9)], 0, "larger than 0"),
        ([(0, 0), (0, 9)], -1, "larger than 0"),
        ([(0, 0), (0, 9)], math.nan, "finite"),
        ([(0, 0), (0, 9)], True, "must be a number"),
        ([(0, 0), (0, math.inf)], 3, "finite"),
        ([(0, 0, 0), (0, 9, 1)], 3, "pair"),
        ([("a", 0), (0, 9)], 3, "must be a number"),
        (7, 3, "list of"),
    ],
)
def test_bad_lines_are_refused_in_one_sentence(vertices, half_width, says):
    with pytest.raises(FoldError, match=says) as caught:
        Fold(vertices, half_width)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, SffError)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"vertices": [[0, 0], [1, 1]]}', "nonsense"])
def test_bad_json_is_refused(text):
    with pytest.raises(FoldError):
        Fold.from_json(text)


def test_fold_outside_or_too_wide_for_the_slice():
    with pytest.raises(FoldError, match="outside the slice"):
        Fold([(500, 0), (500, 90)], 5).check_inside((100, 100))
    with pytest.raises(FoldError, match="too large"):
        Fold([(50, 0), (50, 99)], 60).check_inside((100, 100))
    # Both ends lie outside, but the line passes through.
    Fold([(-50, 50), (150, 50)], 5).check_inside((100, 100))


@given(st.floats(0.1, 8))
def test_scaling_there_and_back(factor):
    fold = Fold([(3, 4), (60, 90)], 7, half_widths=[6, 8])
    back = fold.scaled(factor).scaled(1 / factor)
    for (y, x), (v, u) in zip(fold.vertices, back.vertices, strict=True):
        assert math.isclose(y, v, abs_tol=1e-6)
        assert math.isclose(x, u, abs_tol=1e-6)
    assert math.isclose(back.half_width, 7, rel_tol=1e-9)
