"""Branches of folds are found, and nothing else that begins on one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sff_napari.detection import detect_folds
from sff_napari.folds import Curve, Fold, FoldLaw
from sff_napari.simulation import FoldPlan, neuropil, simulate

SHAPE = (640, 640)
STEM = Fold([(200.0, 0.0), (240.0, 639.0)], 7.0)


def plan(fold: Fold, half_width: float) -> FoldPlan:
    curve = Curve.of(fold)
    law = FoldLaw.uniform(curve, half_width, half_width + 12, 0.05).with_ends(curve, SHAPE)
    return FoldPlan(fold, law)


@pytest.fixture(scope="module")
def clean() -> NDArray[np.uint8]:
    return neuropil((1, *SHAPE), seed=11)[0]


@pytest.mark.parametrize(
    "end", [(380.0, 360.0), (380.0, 470.0), (60.0, 250.0)], ids=["down", "aslant", "up"]
)
def test_a_short_branch_is_found(clean: NDArray[np.uint8], end: tuple[float, float]) -> None:
    branch = Fold([(219.0, 310.0), end], 3.0)
    damaged = simulate(clean, [plan(STEM, 7.0), plan(branch, 3.0)]).damaged
    found = detect_folds(damaged, device="cpu")
    assert len(found) == 2
    line = min(found, key=lambda fold: Curve.of(fold).length)
    # The simulation carries the branch along with its stem: it is as near as that.
    away = [np.hypot(*np.subtract(vertex, end)) for vertex in (line.vertices[0], line.vertices[-1])]
    assert min(away) < 25
    assert line.score is not None
    assert line.score >= 0.5
    assert line.half_width == pytest.approx(3, abs=1.5)


def test_a_fold_without_branches_has_none(clean: NDArray[np.uint8]) -> None:
    damaged = simulate(clean, [plan(STEM, 7.0)]).damaged
    assert len(detect_folds(damaged, device="cpu")) == 1


def test_a_branch_by_itself_is_no_fold(clean: NDArray[np.uint8]) -> None:
    alone = Fold([(219.0, 310.0), (360.0, 360.0)], 3.0)
    assert detect_folds(simulate(clean, [plan(alone, 3.0)]).damaged, device="cpu") == []
