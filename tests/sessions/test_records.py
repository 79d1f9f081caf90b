"""Records, neighbours and thinning."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sff_napari import Fold
from sff_napari.errors import StackError
from sff_napari.sessions import FoldRecord, SliceRecord, choose_neighbours, clean_pairs
from sff_napari.sessions.simplify import is_same_line, thin_path


def test_a_fold_survives_its_record_and_json():
    fold = Fold(
        [(1, 2), (30, 40), (50, 90)], 4, half_widths=[3, 4, 5], score=0.5, source="detected"
    )
    record = FoldRecord.of(fold, (2, 7))
    again = FoldRecord.from_dict(record.to_dict())
    assert again == record
    assert again.fold() == fold


@pytest.mark.parametrize(
    "broken", [{}, {"uid": "a", "index": [1], "vertices": [[1]]}, {"uid": "a"}]
)
def test_broken_records_give_one_sentence(broken):
    with pytest.raises(StackError, match="cannot be read"):
        FoldRecord.from_dict(broken)


def test_slice_record_round_trip_and_unknown_state():
    record = SliceRecord((3,), "accepted", "slice-3", {"tile": 512}, time="now")
    assert SliceRecord.from_dict(record.to_dict()) == SliceRecord(
        (3,), "accepted", "slice-3", {"tile": 512}, [], {}, {}, {}, "now"
    )
    with pytest.raises(StackError):
        SliceRecord.from_dict({"index": [1], "state": "lost"})


@pytest.mark.parametrize(
    ("z", "damaged", "expected"),
    [
        (2, set(), ((1,), (3,))),
        (2, {1}, ((0,), (3,))),
        (2, {3, 4}, ((1,), (5,))),
        (0, set(), (None, (1,))),
        (5, set(), ((4,), None)),
        (2, {0, 1, 3, 4, 5}, (None, None)),
    ],
)
def test_neighbours_are_the_nearest_undamaged_slices(z, damaged, expected):
    chosen = choose_neighbours((z,), 0, 6, {(i,) for i in damaged})
    assert (chosen.previous, chosen.following) == expected
    plain = expected == ((z - 1,), (z + 1,))
    assert bool(chosen.note) is not plain


def test_damaged_neighbours_are_used_when_asked_for():
    chosen = choose_neighbours((2,), 0, 6, {(1,), (3,)}, skip_damaged=False)
    assert (chosen.previous, chosen.following) == ((1,), (3,))


def test_neighbours_on_another_axis_and_without_one():
    assert choose_neighbours((4, 2), 1, 6, {(4, 1), (0, 3)}).previous == (4, 0)
    assert choose_neighbours((), 0, 1, set()).previous is None


def test_clean_pairs_avoid_folds():
    assert clean_pairs((3,), 0, 8, {(3,), (0,)}) == (((1,), (2,)), ((4,), (5,)))
    assert clean_pairs((0,), 0, 2, {(0,)}) == ()


@given(
    st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500)), min_size=2, max_size=60, unique=True),
    st.floats(0.5, 10),
)
def test_thinning_stays_within_its_tolerance(points, tolerance):
    thin = thin_path(points, tolerance)
    assert thin[0] == points[0]
    assert thin[-1] == points[-1]
    line = np.asarray(thin)
    for point in points:
        gaps = []
        for a, b in pairwise(line):
            along = b - a
            share = np.clip((point - a) @ along / max(along @ along, 1e-12), 0, 1)
            gaps.append(np.linalg.norm(point - a - share * along))
        assert min(gaps) <= tolerance + 1e-6


def test_the_same_fold_is_recognised():
    line = [(0, 50), (200, 60)]
    assert is_same_line(line, [(20, 54), (180, 62)], 8)
    assert not is_same_line(line, [(0, 120), (200, 130)], 8)
    assert not is_same_line(line, [(100, 0), (110, 200)], 8)
