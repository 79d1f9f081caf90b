"""Calibration: a sweep of the threshold on the user's own slices."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sff_napari.detection import calibrate
from sff_napari.errors import Cancelled, InputError


def test_the_sweep_tells_good_thresholds_from_bad(tissue: NDArray[np.uint8]) -> None:
    shares: list[float] = []
    result = calibrate(
        [tissue],
        [0.55, 0.99],
        folds_per_slice=3,
        seed=4,
        progress=lambda share, text: shares.append(share),
    )
    good, bad = result.rows
    assert (good.threshold, bad.threshold) == (0.55, 0.99)
    assert good.recall == 1.0
    assert good.precision == 1.0
    assert good.f1 == 1.0
    assert good.false_per_clean_slice == 0.0
    assert bad.f1 < good.f1
    assert result.best == 0.55
    assert (result.folds, result.slices) == (3, 1)
    assert shares == sorted(shares)


def test_the_seed_decides(tissue: NDArray[np.uint8]) -> None:
    arguments = {"thresholds": [0.97], "folds_per_slice": 2, "kind": "realistic", "seed": 1}
    assert calibrate([tissue], **arguments) == calibrate([tissue], **arguments)  # type: ignore[arg-type]


def test_cancelling_stops_it(tissue: NDArray[np.uint8]) -> None:
    with pytest.raises(Cancelled):
        calibrate([tissue], [0.5], folds_per_slice=1, cancelled=lambda: True)


@pytest.mark.parametrize(
    ("slices", "arguments"),
    [
        (0, {}),
        (1, {"thresholds": []}),
        (1, {"thresholds": [0.5, 1.0]}),
        (1, {"kind": "round"}),
        (1, {"folds_per_slice": 0}),
    ],
)
def test_bad_arguments_are_one_sentence(
    tissue: NDArray[np.uint8], slices: int, arguments: dict[str, object]
) -> None:
    with pytest.raises(InputError):
        calibrate([tissue] * slices, **arguments)  # type: ignore[arg-type]
