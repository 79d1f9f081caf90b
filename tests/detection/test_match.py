"""When a found line counts as a true one."""

from __future__ import annotations

import pytest

from sff_napari.detection import compare, match
from sff_napari.folds import Fold

SHAPE = (200, 300)
TRUE = Fold([(50.0, 0.0), (150.0, 299.0)], 6.0)


def moved(down: float, share: tuple[float, float] = (0.0, 1.0)) -> Fold:
    return Fold([(50 + 100 * s + down, 299 * s) for s in share], 6.0)


def test_the_same_line_matches_whichever_way_it_runs() -> None:
    for line in (TRUE, Fold(TRUE.vertices[::-1], 6.0)):
        agreement = compare(line, TRUE, SHAPE)
        assert agreement.distance < 1e-6
        assert agreement.cover == 1.0
        assert agreement.is_match


@pytest.mark.parametrize(("down", "expected"), [(2.0, True), (3.0, True), (3.5, False)])
def test_the_mean_distance_decides(down: float, expected: bool) -> None:
    agreement = compare(moved(down), TRUE, SHAPE)
    assert agreement.distance == pytest.approx(down * 299 / (299**2 + 100**2) ** 0.5, abs=0.02)
    assert agreement.is_match is expected


@pytest.mark.parametrize(("share", "expected"), [((0.0, 0.93), True), ((0.1, 0.97), False)])
def test_the_covered_length_decides(share: tuple[float, float], expected: bool) -> None:
    agreement = compare(moved(0.0, share), TRUE, SHAPE)
    assert agreement.cover == pytest.approx(share[1] - share[0], abs=0.03)
    assert agreement.is_match is expected


def test_what_lies_outside_the_slice_does_not_count() -> None:
    longer = Fold([(50.0, 0.0), (150.0, 299.0), (250.0, 598.0)], 6.0)
    assert compare(TRUE, longer, SHAPE).is_match


def test_a_line_elsewhere_does_not_match() -> None:
    assert not compare(moved(60.0), TRUE, SHAPE).is_match


def test_each_line_is_used_once() -> None:
    result = match([moved(1.0), moved(0.2), moved(70.0)], [TRUE], SHAPE)
    assert result.pairs == ((1, 0),)
    assert (result.false, result.missed) == (2, 0)
    assert result.distances[0] < 0.3
    assert match([], [TRUE], SHAPE).missed == 1
