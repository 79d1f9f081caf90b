"""Placements as maps between pixels, there and back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sff_napari.alignment import Similarity
from sff_napari.low_magnification.placing import low_to_stack, placement_of

SHAPE = (120, 90)
placements = st.builds(
    lambda turn, scale, dy, dx: Similarity(turn, scale, (dy, dx), 0.0, SHAPE),
    st.floats(-170, 170), st.floats(0.7, 1.4), st.floats(-99, 99), st.floats(-99, 99),
)  # fmt: skip


@given(placements, st.integers(2, 16))
def test_a_placement_comes_back_from_its_map(placement: Similarity, factor: int) -> None:
    back = placement_of(low_to_stack(placement, factor), factor, SHAPE)
    np.testing.assert_allclose(back.matrix(), placement.matrix(), atol=1e-6)


@given(placements, st.integers(2, 16))
def test_the_map_leads_to_where_the_stack_lies_in_the_frame(
    placement: Similarity, factor: int
) -> None:
    on_stack = (low_to_stack(placement, factor) @ [3.0, 5.0, 1.0])[:2]
    in_frame = factor * np.array([3.0, 5.0]) + (factor - 1) / 2
    np.testing.assert_allclose(placement.apply(on_stack[None])[0], in_frame, atol=1e-6)


def test_stretch_and_shear_are_left_out() -> None:
    matrix = np.array([[4.4, 0.2, 1.5], [0.0, 3.6, 1.5], [0, 0, 1.0]])
    found = placement_of(matrix, 4, SHAPE)
    turned = low_to_stack(found, 4)[:2, :2]
    np.testing.assert_allclose(turned @ turned.T, np.eye(2) * (turned @ turned.T)[0, 0], atol=1e-9)
