"""The simulation of scans: deterministic, true to its displacement, and checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import sff_napari as sff
from sff_napari.errors import InputError
from sff_napari.scan_distortion import SPECIMENS, ScanRanges, specimen
from sff_napari.scan_distortion.displacement import inverse_displacement
from sff_napari.scan_distortion.simulation import sample

STILL: dict[str, Any] = {
    "jitter": 0,
    "pixel_jitter": 0,
    "drift_share": 0,
    "flyback_share": 0,
    "interlaced_share": 0,
}
QUIET: dict[str, Any] = {
    "counts": 1e6,
    "detector_share": 0,
    "noise": 0,
    "row_offset_share": 0,
    "dead_pixels": 0,
    "dead_segments": 0,
    "bits": 16,
}


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return specimen("blobs", (96, 112), seed=4)


def test_the_same_seed_gives_the_same_scan(clean: np.ndarray) -> None:
    first, again, other = (sff.simulate_scan(clean, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.distorted, again.distorted)
    np.testing.assert_array_equal(first.displacement, again.displacement)
    assert (first.distorted != other.distorted).any()


def test_nothing_to_distort_and_no_noise_changes_nothing(clean: np.ndarray) -> None:
    made = sff.simulate_scan(clean, 1, **STILL, **QUIET)
    assert np.abs(made.distorted - made.truth).max() < 0.01
    assert not made.displacement.any()


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), jitter=st.floats(0.1, 3.0))
def test_the_displacement_explains_the_scan(seed: int, jitter: float) -> None:
    clean = specimen("blobs", (64, 80), seed=2)
    made = sff.simulate_scan(clean, seed, jitter=jitter, **QUIET)
    y, x = np.mgrid[:64, :80].astype(float)
    seen = ndimage.map_coordinates(
        made.truth.astype(float), [y + made.displacement[0], x + made.displacement[1]],
        order=3, mode="mirror",
    )  # fmt: skip
    inside = (slice(8, -8), slice(20, -20))
    assert np.abs(seen - made.distorted)[inside].mean() < 0.01


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_the_inverse_undoes_a_displacement(seed: int) -> None:
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(2, 48, 64)), (0, 6, 6)).astype(np.float32)
    field *= 3 / np.abs(field).max()
    image = ndimage.gaussian_filter(rng.normal(size=(48, 64)), 5).astype(np.float32)
    image /= image.std()
    back = sample(sample(image, field), inverse_displacement(field))
    inside = (slice(8, -8), slice(8, -8))
    assert np.abs(back - image)[inside].max() < 0.1


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_rows_move_as_strongly_as_asked(seed: int) -> None:
    made = sff.simulate_scan(
        specimen("blobs", (256, 32), seed=2), seed, **{**STILL, "jitter": 1.5}, **QUIET
    )
    rows = made.displacement[1]
    assert rows.std(axis=1).max() < 1e-5
    assert 0.8 < rows[:, 0].std() < 2.4


def test_few_counts_are_noisier_than_many(clean: np.ndarray) -> None:
    errors = [
        np.std(made.distorted - made.truth)
        for counts in (4, 40, 400)
        for made in [sff.simulate_scan(clean, 1, **STILL, **{**QUIET, "counts": counts})]
    ]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_a_slow_detector_correlates_noise_along_the_fast_axis(clean: np.ndarray) -> None:
    for axis in ("x", "y"):
        made = sff.simulate_scan(
            clean, 1, fast_axis=axis, **STILL, **{**QUIET, "counts": 5},
            detector=2, gain=1, offset=0,
        )  # fmt: skip
        slow = sff.simulate_scan(
            clean, 1, fast_axis=axis, **STILL,
            **{**QUIET, "counts": 5, "detector_share": 1}, detector=2, gain=1, offset=0,
        )  # fmt: skip
        noise = slow.distorted - slow.truth
        along = np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]
        across = np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]
        if axis == "y":
            along, across = across, along
        assert along > 0.4 > 0.25 > across
        assert noise.std() < (made.distorted - made.truth).std()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_the_dtype_stays(clean: np.ndarray, dtype: type) -> None:
    scale = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1.0
    made = sff.simulate_scan((clean * scale).astype(dtype), 1)
    assert made.distorted.dtype == made.truth.dtype == dtype
    assert made.displacement.shape == (2, *clean.shape)


def test_the_fast_axis_turns_the_jitter(clean: np.ndarray) -> None:
    made = sff.simulate_scan(
        clean, 1, fast_axis="y", **{**STILL, "jitter": 2}, jitter_across=0, **QUIET
    )
    assert not made.displacement[1].any()
    assert made.displacement[0].std(axis=0).max() < 1e-5 < made.displacement[0].std()


@pytest.mark.parametrize("kind", list(SPECIMENS))
def test_specimens_are_images(kind: str) -> None:
    image = specimen(kind, (64, 80), seed=5)
    assert image.shape == (64, 80)
    assert image.dtype == np.float32
    assert -1e-3 <= image.min() < image.max() <= 1 + 1e-3
    np.testing.assert_array_equal(image, specimen(kind, (64, 80), seed=5))


@pytest.mark.parametrize(
    ("ranges", "words"),
    [
        ({"wobble": 1}, "no range 'wobble'"),
        ({"jitter": -1}, "at least 0"),
        ({"jitter": (3, 1)}, "smallest number comes first"),
        ({"jitter": "much"}, "no number"),
        ({"counts": (1, 2, 3)}, "smallest and the largest"),
        ({"detector_share": 1.5}, "from 0 to 1"),
        ({"noise": float("nan")}, "at least 0"),
    ],
)
def test_wrong_ranges_get_one_sentence(ranges: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ScanRanges.of(**ranges)


def test_wrong_images_get_one_sentence(clean: np.ndarray) -> None:
    with pytest.raises(InputError, match="one value throughout"):
        sff.simulate_scan(np.full((64, 64), 7, np.uint8))
    with pytest.raises(InputError, match="no fast axis 'z'"):
        sff.simulate_scan(clean, fast_axis="z")
    with pytest.raises(InputError, match="no specimen 'cat'"):
        specimen("cat")
