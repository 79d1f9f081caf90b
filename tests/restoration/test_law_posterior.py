"""The posterior of a law: derivatives, what is usual, and sides that are equal or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sff_napari.evaluation import Perturbation, make_case
from sff_napari.evaluation.metrics import end_point_errors
from sff_napari.folds import Curve, Fold, FoldLaw
from sff_napari.restoration import restore
from sff_napari.restoration.unfolding.law_search import fall, fall_slopes
from sff_napari.simulation import FoldPlan, neuropil, simulate, simulate_fold


@given(
    gap=st.floats(0.5, 90),
    decay=st.floats(0.002, 0.2),
    tail=st.floats(0.02, 0.94),
    beyond=st.floats(0, 900),
)
@settings(deadline=None)
def test_slopes_are_what_small_changes_do(
    gap: float, decay: float, tail: float, beyond: float
) -> None:
    end = gap / (decay * (1 - tail))
    assume(abs(beyond - end) > 1e-2 * end)  # The law has a corner there.
    start = torch.tensor([gap, decay, tail], dtype=torch.float64)
    place = torch.tensor(beyond, dtype=torch.float64)
    slopes = fall_slopes(start[0], start[1], start[2], place)
    for index, slope in enumerate(slopes):
        step = torch.zeros(3, dtype=torch.float64)
        step[index] = size = (1e-6, 1e-8, 1e-6)[index]
        above, below = (
            fall(moved[0], moved[1], moved[2], place) for moved in (start + step, start - step)
        )
        assert float(slope) == pytest.approx(float(above - below) / (2 * size), rel=1e-3, abs=1e-2)


@pytest.fixture(scope="module")
def stack() -> NDArray[np.uint8]:
    return neuropil((3, 512, 512), seed=3)


_LINE = Fold([(250.0, 0.0), (262.0, 511.0)], 6.0)


def test_equal_sides_are_taken_for_the_papers_law(stack: NDArray[np.uint8]) -> None:
    made = simulate_fold(stack[1], _LINE, hidden_half_width=36.0, decay=0.05)
    found = restore(stack[0], made.damaged, stack[2], made.folds, device="cpu", fusion="seamless")
    fold = found.report["folds"][0]
    assert fold["uniform"]
    assert fold["displacement"][0] == pytest.approx(30.0, abs=2.0)
    assert fold["decay"][0] == pytest.approx(0.05, rel=0.3)


def test_unequal_sides_are_not(stack: NDArray[np.uint8]) -> None:
    law = FoldLaw.uniform(Curve.of(_LINE), 6.0, 36.0, 0.08)
    unequal = FoldLaw(
        law.knots, law.dark, law.gap * torch.tensor([[1.4], [0.4]]), law.decay, law.tail
    )
    made = simulate(stack[1], [FoldPlan(_LINE, unequal)])
    found = restore(stack[0], made.damaged, stack[2], made.folds, device="cpu", fusion="seamless")
    fold = found.report["folds"][0]
    assert not fold["uniform"]
    assert fold["displacement"] == pytest.approx([42.0, 12.0], abs=8.0)
    seen = ~np.isnan(found.flow[0]) & ~made.corrupted
    error = np.linalg.norm(found.flow - made.flow, axis=0)[seen]
    # The drift of the tissue leaves some; a slice that is left alone errs by more than ten.
    assert float(error.mean()) < 3.0
    assert float(np.linalg.norm(made.flow, axis=0)[seen].mean()) > 10.0


@pytest.mark.parametrize(("number", "shift"), [(0, (3.0, -4.5)), (3, (-5.0, 5.0))])
def test_neighbours_off_by_opposite_amounts_change_little(
    stack: NDArray[np.uint8], number: int, shift: tuple[float, float]
) -> None:
    case = make_case(stack, 1, "realistic", 0, number)
    errors = []
    for by in ((0.0, 0.0), shift):
        shown = case.with_perturbation(Perturbation(shift=by))
        around = shown.previous, case.simulation.damaged, shown.following
        found = restore(*around, case.folds, device="cpu", fusion="seamless")
        errors.append(float(end_point_errors(found.flow, case.simulation.flow).mean()))
    assert errors[0] < 2.0
    assert errors[1] < errors[0] + 0.3
