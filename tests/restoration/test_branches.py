"""Folds that fork: the stem is found first, and its branches on what it left."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.measure import label, regionprops

from sff_napari.folds import Curve, Fold, FoldLaw
from sff_napari.restoration import restore
from sff_napari.restoration.unfolding.several_folds import stems_of
from sff_napari.simulation import FoldPlan, Simulation, neuropil, simulate

SHAPE = (768, 768)
STEM = Fold([(300.0, 0.0), (330.0, 767.0)], 6.0)
BRANCH = Fold([(318.0, 400.0), (480.0, 470.0), (640.0, 500.0)], 3.0)
TWIG = Fold([(480.0, 470.0), (540.0, 600.0)], 2.0)


def plan(fold: Fold, half_width: float, hidden: float, decay: float) -> FoldPlan:
    curve = Curve.of(fold)
    law = FoldLaw.uniform(curve, half_width, hidden, decay).with_ends(curve, SHAPE)
    return FoldPlan(fold, law)


@pytest.fixture(scope="module")
def stack() -> NDArray[np.uint8]:
    return neuropil((3, *SHAPE), seed=4)


@pytest.fixture(scope="module")
def forked(stack: NDArray[np.uint8]) -> Simulation:
    return simulate(stack[1], [plan(STEM, 6.0, 36.0, 0.02), plan(BRANCH, 3.0, 8.0, 0.03)])


@pytest.mark.parametrize("way", [1, -1], ids=["stem first", "branch first"])
def test_a_branch_leaves_its_stem_as_it_is(
    stack: NDArray[np.uint8], forked: Simulation, way: int
) -> None:
    found = restore(stack[0], forked.damaged, stack[2], forked.folds[::way], device="cpu")
    stem, branch = found.report["folds"][::way]
    assert stem["displacement"][0] == pytest.approx(30, abs=1.5)
    assert branch["displacement"][0] == pytest.approx(5, abs=2.5)
    seen = ~np.isnan(found.flow[0]) & ~np.isnan(forked.flow[0]) & ~forked.corrupted
    error = np.linalg.norm(found.flow - forked.flow, axis=0)[seen]
    # It was 1.4 px while each saw only what lay nearest to it.
    assert float(error.mean()) < 1.1
    # Nothing of the dark lines is left, neither where they meet nor at the end of the branch.
    black = (found.restored < 25) & (stack[1] > 60)
    largest = max((one.area for one in regionprops(label(black))), default=0)
    assert largest < 20


def test_lines_with_widths_of_their_own(stack: NDArray[np.uint8], forked: Simulation) -> None:
    folds = [
        STEM.with_changes(half_widths=[6.0, 6.0]),
        BRANCH.with_changes(half_widths=[3.0, 3.5, 3.0]),
        Fold([(0.0, 700.0), (100.0, 705.0), (200.0, 700.0)], 2.0, half_widths=[2.0, 2.5, 2.0]),
    ]
    found = restore(stack[0], forked.damaged, stack[2], folds, device="cpu", snap=False)
    assert len(found.report["folds"]) == 3


def test_a_branch_of_a_branch_may_come_first(stack: NDArray[np.uint8]) -> None:
    laws = [plan(STEM, 6.0, 36.0, 0.02), plan(BRANCH, 3.0, 8.0, 0.03), plan(TWIG, 2.0, 5.0, 0.03)]
    made = simulate(stack[1], laws)
    found = restore(stack[0], made.damaged, stack[2], made.folds[::-1], device="cpu")
    _, branch, stem = found.report["folds"]
    assert stem["displacement"][0] == pytest.approx(30, abs=1.5)
    assert branch["displacement"][0] == pytest.approx(5, abs=2.5)


def test_a_branch_without_tissue_beside_it_moves_nothing(stack: NDArray[np.uint8]) -> None:
    short = Fold([(318.0, 400.0), (370.0, 410.0)], 4.0)
    made = simulate(stack[1], [plan(STEM, 6.0, 36.0, 0.02), plan(short, 4.0, 6.0, 0.05)])
    found = restore(stack[0], made.damaged, stack[2], made.folds, device="cpu")
    stem, branch = found.report["folds"]
    assert branch["displacement"] == [0.0, 0.0]
    assert stem["displacement"][0] == pytest.approx(30, abs=1.5)


@pytest.mark.parametrize(
    ("folds", "stems"),
    [
        ([STEM, BRANCH], [None, 0]),
        ([BRANCH, STEM], [1, None]),
        ([TWIG, BRANCH, STEM], [1, 2, None]),
        # Beside each other, and crossing.
        ([STEM, Fold([(400.0, 0.0), (420.0, 700.0)], 4.0)], [None, None]),
        ([STEM, Fold([(100.0, 300.0), (600.0, 320.0)], 4.0)], [None, None]),
        ([STEM], [None]),
    ],
)
def test_what_a_branch_is(folds: list[Fold], stems: list[int | None]) -> None:
    assert stems_of(folds, torch.device("cpu")) == stems
