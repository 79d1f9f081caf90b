"""Folds are followed where they get thin and broken, and no farther than they go."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sff_napari.detection import detect as detection
from sff_napari.detection import detect_folds
from sff_napari.detection.vertices import to_fold
from sff_napari.folds import Fold
from sff_napari.simulation import neuropil

WIDE = (350, 900)
"""Columns between which the fold is a band that proves itself."""
LAST = 1500
"""Column at which its thin continuation ends."""


def course(x: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return the row of a gently bent line at column `x`."""
    return np.asarray(220.0 + 40.0 * np.sin(np.asarray(x) / 260.0))


def painted(
    image: NDArray[np.uint8], start: float, stop: float, width: int, grey: int
) -> NDArray[np.uint8]:
    """Return `image` with the line drawn between two columns."""
    x = np.linspace(start, stop, max(2, int(stop - start)))
    points = np.round(np.stack([x, course(x)], axis=1) * 16).astype(np.int32)
    return np.asarray(
        cv2.polylines(image.copy(), [points], False, grey, width, cv2.LINE_AA, 4), np.uint8
    )


@pytest.fixture(scope="module")
def banded() -> NDArray[np.uint8]:
    """Return a slice with a fold that ends inside it at both ends."""
    half = neuropil((1, 384, 448), seed=2)[0]
    tissue = np.concatenate([half, half[:, ::-1]] * 2, axis=1)
    return painted(tissue, *WIDE, 7, 8)


def broken(image: NDArray[np.uint8], gap: int) -> NDArray[np.uint8]:
    """Return the slice with the fold going on on its right as a thin line with gaps."""
    for start in range(WIDE[1], LAST, 100):
        image = painted(image, start + gap, start + 100, 2, 5)
    return image


def ends(fold: Fold) -> tuple[float, float]:
    """Return the columns of the two ends."""
    left, right = sorted((fold.vertices[0][1], fold.vertices[-1][1]))
    return left, right


@pytest.mark.parametrize("gap", [12, 20])
def test_a_thin_line_with_gaps_is_followed(
    banded: NDArray[np.uint8], gap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = broken(banded, gap)
    (fold,) = detect_folds(image)
    left, right = ends(fold)
    assert left == pytest.approx(WIDE[0], abs=15)
    assert right == pytest.approx(LAST, abs=15)
    for y, x in fold.vertices:
        assert abs(y - float(course(x))) < 3
    assert fold.half_widths is not None
    monkeypatch.setattr(detection, "carried_on", lambda view, line: line)
    (alone,) = detect_folds(image)
    assert ends(alone)[1] < right - 200


def test_a_fold_that_ends_is_not_prolonged(banded: NDArray[np.uint8]) -> None:
    (fold,) = detect_folds(banded)
    for end, true in zip(ends(fold), WIDE, strict=True):
        assert end == pytest.approx(true, abs=15)


def test_a_line_whose_centre_leaves_the_slice_is_cut_at_the_border() -> None:
    x = np.arange(400.0, 100.0, -2.0)
    points = np.stack([280.0 + 0.15 * (400.0 - x), x], axis=1)
    fold = to_fold(points, np.full(len(x), 9.0), (301, 448), score=0.9, source="detected")
    assert max(y for y, _ in fold.vertices) <= 304
    assert fold.vertices[0][1] == pytest.approx(400, abs=3)
