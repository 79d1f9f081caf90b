"""Binarisation: the same pixels whatever the grey scale, and no padding."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sff_napari.detection import binarise
from sff_napari.detection.binarise import measure_darkness, working_factor
from sff_napari.errors import InputError
from sff_napari.folds import Curve
from sff_napari.simulation import Simulation


def test_the_dark_line_is_in_the_mask_and_most_tissue_is_not(straight: Simulation) -> None:
    mask = binarise(straight.damaged)
    at = Curve.of(straight.fold).on_grid(straight.damaged.shape)
    band = (at.distance.abs() < straight.fold.half_width - 1).numpy()
    beside = (at.distance.abs() > straight.fold.half_width + 3).numpy()
    assert mask[band].mean() > 0.99
    assert mask[beside].mean() < 0.25


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.astype(np.uint16) * 257,
        lambda a: a.astype(np.uint16) * 3 + 2000,
        lambda a: a.astype(np.float32) / 255,
        lambda a: a.astype(np.float64) * 7 - 900,
    ],
    ids=["uint16", "uint16, part of the range", "float", "float, negative"],
)
def test_the_grey_scale_does_not_matter(straight: Simulation, change: object) -> None:
    expected = binarise(straight.damaged)
    got = binarise(change(straight.damaged))  # type: ignore[operator]
    assert (expected == got).mean() > 0.999


def test_a_higher_threshold_keeps_less(tissue: NDArray[np.uint8]) -> None:
    shares = [float(binarise(tissue, level).mean()) for level in (0.2, 0.4, 0.6, 0.8)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_padding_is_no_fold(tissue: NDArray[np.uint8], value: float) -> None:
    image = np.full((tissue.shape[0] + 100, tissue.shape[1]), value, np.float32)
    image[100:] = tissue / 255
    mask = binarise(image)
    assert not mask[:98].any()
    assert abs(mask[102:].mean() - binarise(tissue).mean()) < 0.02


def test_a_constant_slice_is_empty() -> None:
    assert not binarise(np.full((64, 80), 7, np.uint8)).any()
    assert not binarise(np.full((64, 80), 0.25, np.float32)).any()


def test_the_reduced_darkness_covers_the_whole_slice(tissue: NDArray[np.uint8]) -> None:
    darkness = measure_darkness(tissue[:383, :447], factor=4)
    assert darkness.values.shape == (96, 112)
    assert darkness.valid.all()


def test_the_reduction_grows_with_the_slice_and_stops() -> None:
    factors = [working_factor((side, side)) for side in (512, 1024, 2048, 4096, 8192, 40000)]
    assert factors == sorted(factors)
    assert factors[0] == 1
    assert factors[-1] == 4


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.2, 3.0, float("nan")])
def test_a_bad_threshold_is_one_sentence(tissue: NDArray[np.uint8], threshold: float) -> None:
    with pytest.raises(InputError, match="between 0"):
        binarise(tissue, threshold)
