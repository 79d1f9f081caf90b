"""Restoring scans: better than they were, in their own dtype, and honest about bad input."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sff_napari as sff
from sff_napari.errors import Cancelled, InputError, WeightsError
from sff_napari.scan_distortion import METHODS, specimen
from sff_napari.scan_distortion.classical import gaussian
from sff_napari.scan_distortion.displacement import (
    estimate_row_shifts,
    without_slow,
)
from sff_napari.scan_distortion.inference import OVERLAP, TILE, _ramp, _starts
from sff_napari.scan_distortion.noise import noise_deviation
from sff_napari.scan_distortion.simulation import sample

PLAIN: dict[str, Any] = {"drift_share": 0, "flyback_share": 0, "interlaced_share": 0}
RANDOM = np.random.default_rng(0).random((64, 64))
OWN = tuple(name for name in METHODS if name not in ("plain12", "cgrdn"))


def decibels(image: np.ndarray, truth: np.ndarray) -> float:
    """Return the PSNR with the truth's range."""
    error = np.mean((image.astype(float) - truth.astype(float)) ** 2)
    return float(20 * np.log10(np.ptp(truth.astype(float))) - 10 * np.log10(error))


@pytest.fixture(scope="module")
def scan() -> sff.SimulatedScan:
    clean = specimen("tissue", (160, 192), seed=3)
    return sff.simulate_scan(clean, 5, jitter=2, counts=60, detector_share=0, **PLAIN)


@pytest.mark.parametrize("method", OWN)
def test_every_method_takes_noise_away(scan: sff.SimulatedScan, method: Any) -> None:
    made = sff.restore_scan(scan.distorted, method=method)
    assert made.restored.dtype == scan.distorted.dtype
    assert made.displacement.shape == (2, *scan.distorted.shape)
    assert made.confidence.shape == scan.distorted.shape
    assert decibels(made.restored, scan.truth) > decibels(scan.distorted, scan.truth) + 2
    assert made.report["method"] == method


def test_the_network_is_better_than_the_gaussian(scan: sff.SimulatedScan) -> None:
    by = {name: sff.restore_scan(scan.distorted, method=name) for name in ("default", "gaussian")}
    assert decibels(by["default"].restored, scan.truth) > decibels(
        by["gaussian"].restored, scan.truth
    )


def test_the_displacement_of_rows_is_found(scan: sff.SimulatedScan) -> None:
    true = without_slow(scan.displacement[1].mean(axis=1))
    found = without_slow(sff.restore_scan(scan.distorted).displacement[1].mean(axis=1))
    assert (found - true).std() < 0.75 * true.std()
    assert np.corrcoef(found, true)[0, 1] > 0.7


def test_moved_pixels_alone_keep_their_noise(scan: sff.SimulatedScan) -> None:
    made = sff.restore_scan(scan.distorted, displacement_only=True)
    assert decibels(made.restored, scan.truth) > decibels(scan.distorted, scan.truth)
    assert noise_deviation(made.restored) > 0.6 * noise_deviation(scan.distorted)


def test_strength_goes_from_unchanged_to_restored(scan: sff.SimulatedScan) -> None:
    images = [
        sff.restore_scan(scan.distorted, strength=s, method="median").restored.astype(float)
        for s in (0, 0.5, 1)
    ]
    np.testing.assert_allclose(images[0], scan.distorted, atol=1e-5)
    np.testing.assert_allclose(images[1], (images[0] + images[2]) / 2, atol=1e-5)


def test_the_fast_axis_y_is_the_transposed(scan: sff.SimulatedScan) -> None:
    along_x = sff.restore_scan(scan.distorted, method="gaussian")
    along_y = sff.restore_scan(scan.distorted.T, method="gaussian", fast_axis="y")
    np.testing.assert_allclose(along_y.restored.T, along_x.restored, atol=1e-5)
    np.testing.assert_allclose(
        along_y.displacement[::-1].transpose(0, 2, 1), along_x.displacement, atol=1e-4
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_the_dtype_does_not_matter(scan: sff.SimulatedScan, dtype: type) -> None:
    top = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1.0
    grey = (np.clip(scan.distorted / scan.distorted.max(), 0, 1) * top).astype(dtype)
    made = sff.restore_scan(grey)
    assert made.restored.dtype == dtype
    wanted = sff.restore_scan((grey / top).astype(np.float32)).restored
    assert np.abs(made.restored / top - wanted).mean() < 0.01


def test_a_clean_image_comes_back() -> None:
    clean = specimen("tissue", (192, 192), seed=8)
    made = sff.restore_scan(clean)
    assert decibels(made.restored, clean) > 33
    assert not made.displacement.any()


def test_slow_drift_is_told_by_neighbours() -> None:
    around = specimen("tissue", (256, 256), seed=9)
    rows = 2.5 * np.sin(np.arange(256) / 40).astype(np.float32)
    field = np.zeros((2, 256, 256), np.float32)
    field[1] = rows[:, None]
    drifted = sample(around, field)
    alone = sff.restore_scan(drifted, method="gaussian")
    made = sff.restore_scan(drifted, around, around, method="gaussian")
    found = made.displacement[1].mean(axis=1)
    assert (found - rows).std() < 0.45 * rows.std() < (alone.displacement[1, :, 0] - rows).std()
    assert made.report["neighbours"] == ["previous", "following"]


def test_noise_is_told_per_grey_level() -> None:
    ramp = np.tile(np.linspace(0.2, 1, 128, dtype=np.float32), (128, 1))
    made = sff.simulate_scan(
        ramp, 1, jitter=0, pixel_jitter=0, counts=50, detector_share=0, noise=0,
        row_offset_share=0, dead_pixels=0, dead_segments=0, gain=1, offset=0, **PLAIN,
    )  # fmt: skip
    grey, noise = sff.restore_scan(made.distorted, method="gaussian").noise.T
    np.testing.assert_allclose(noise, np.sqrt(grey / 50), rtol=0.25)


def test_what_holds_no_image_stays(scan: sff.SimulatedScan) -> None:
    part = scan.distorted.copy()
    part[:, :50] = np.nan
    made = sff.restore_scan(part)
    assert np.isnan(made.restored[:, :50]).all()
    assert np.isfinite(made.restored[:, 50:]).all()
    assert not made.confidence[:, :50].any()


@settings(max_examples=8)
@given(height=st.integers(32, 90), width=st.integers(32, 90))
def test_any_size_comes_back_in_that_size(height: int, width: int) -> None:
    image = np.random.default_rng(height * width).random((height, width), np.float32)
    assert sff.restore_scan(image).restored.shape == (height, width)


@given(side=st.integers(1, 5000))
def test_tiles_cover_a_side_and_overlap(side: int) -> None:
    starts = _starts(side)
    weight = np.zeros(side)
    for start in starts:
        length = min(TILE, side - start)
        weight[start : start + length] += _ramp(start, length, side)
    assert (weight > 0).all()
    assert all(b - a <= TILE - OVERLAP for a, b in pairwise(starts))


def test_large_slices_show_no_borders_of_tiles() -> None:
    clean = specimen("blobs", (96, TILE + 200), seed=1)
    made = sff.simulate_scan(clean, 1, counts=100, **PLAIN)
    restored = sff.restore_scan(made.distorted).restored
    steps = np.abs(np.diff(restored, axis=1)).mean(axis=0)
    assert steps.max() < 6 * np.median(steps)


@pytest.mark.parametrize("seed", range(8))
def test_rows_are_not_moved_without_reason(seed: int) -> None:
    noise = np.random.default_rng(seed).random((96, 96), np.float32)
    found = estimate_row_shifts(noise, gaussian(noise, 1.5), restore=partial(gaussian, sigma=1.5))
    assert not found.shifts.any()


@pytest.mark.parametrize(
    ("image", "choices", "words"),
    [
        (np.full((64, 64), 3, np.uint8), {}, "one value throughout"),
        (np.full((64, 64), np.nan), {}, "NaN or infinite everywhere"),
        (np.zeros((8, 64), np.uint8), {}, "only 8 x 64"),
        (np.zeros((3, 64, 64), np.uint8), {}, "3 dimensions"),
        (np.zeros((64, 64), np.int32), {}, "not supported"),
        (np.random.default_rng(0).random((32, 32_100), np.float32), {}, "at most 32000"),
        (RANDOM, {"fast_axis": "z"}, "no fast axis 'z'"),
        (RANDOM, {"strength": 2}, "from 0"),
        (RANDOM, {"method": "magic"}, "no method 'magic'"),
        (RANDOM, {"previous": RANDOM[:, 1:]}, "slices of one stack"),
    ],
)
def test_bad_input_gets_one_sentence(
    image: np.ndarray, choices: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        sff.restore_scan(image, **choices)


def test_networks_of_the_literature_need_weights(scan: sff.SimulatedScan) -> None:
    with pytest.raises(WeightsError, match="--stages scan_plain12"):
        sff.restore_scan(scan.distorted, method="plain12")


def test_work_is_reported_and_can_be_cancelled(scan: sff.SimulatedScan) -> None:
    told: list[float] = []
    sff.restore_scan(scan.distorted, progress=lambda share, _: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1
    with pytest.raises(Cancelled):
        sff.restore_scan(scan.distorted, cancelled=lambda: True)


def test_confidence_is_lower_where_errors_are_larger() -> None:
    clean = specimen("facets", (128, 256), seed=6)
    made = sff.simulate_scan(clean, 1, counts=200, jitter=0.1, detector_share=0, **PLAIN)
    noisy = made.distorted.copy()
    noisy[:, 128:] += 0.4 * np.random.default_rng(0).standard_normal((128, 128), np.float32)
    sure = sff.restore_scan(noisy).confidence.astype(float)
    assert sure[:, :110].mean() > sure[:, 146:].mean()
