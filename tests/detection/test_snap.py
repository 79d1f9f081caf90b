"""Snapping a roughly drawn line onto the dark ridge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sff_napari.detection import compare, snap_fold
from sff_napari.errors import FoldError, InputError
from sff_napari.folds import Fold
from sff_napari.simulation import Simulation


@settings(max_examples=8)
@given(offsets=st.tuples(st.floats(-9, 9), st.floats(-9, 9)), width=st.floats(3, 20))
def test_a_line_some_px_off_is_moved_onto_the_fold(
    straight: Simulation, offsets: tuple[float, float], width: float
) -> None:
    (y0, x0), (y1, x1) = straight.fold.vertices
    rough = Fold([(y0 + offsets[0], x0), (y1 + offsets[1], x1)], width)
    snapped = snap_fold(straight.damaged, rough)
    agreement = compare(snapped, straight.fold, straight.damaged.shape)
    assert agreement.distance < 0.6
    assert agreement.cover > 0.97
    assert snapped.half_width == pytest.approx(straight.fold.half_width, abs=0.6)
    assert snapped.source == "drawn"
    assert snapped.score is None


def test_three_points_are_enough_for_a_bent_fold(realistic: Simulation) -> None:
    vertices = realistic.fold.vertices
    rough = Fold(
        [(y + 3, x - 3) for y, x in (vertices[0], vertices[len(vertices) // 2], vertices[-1])], 5.0
    )
    before = compare(rough, realistic.fold, realistic.damaged.shape)
    after = compare(snap_fold(realistic.damaged, rough), realistic.fold, realistic.damaged.shape)
    assert after.distance < min(1.0, before.distance)
    assert after.cover > 0.9


def test_a_line_on_nothing_stays_as_drawn(straight: Simulation) -> None:
    rough = Fold([(370.0, 20.0), (330.0, 120.0)], 6.0)
    bright = straight.damaged.copy()
    bright[300:, :200] = 180
    assert snap_fold(bright, rough) is rough


def test_bad_arguments_are_one_sentence(tissue: NDArray[np.uint8]) -> None:
    with pytest.raises(FoldError, match="outside"):
        snap_fold(tissue, Fold([(-90.0, -90.0), (-50.0, -60.0)], 5.0))
    with pytest.raises(InputError, match="reach"):
        snap_fold(tissue, Fold([(9.0, 9.0), (90.0, 90.0)], 5.0), reach=0.0)
