"""How strongly stacks drift: what is measured is what was put in, and it is used."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

import sff_napari as sff
from sff_napari.errors import InputError


def jittering(offsets: list[tuple[float, float]], seed: int = 0) -> NDArray[np.uint8]:
    """Return slices of one texture, each with an offset and with noise of its own."""
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(rng.normal(size=(320, 320)), 3)
    texture /= texture.std()
    slices = []
    for offset in offsets:
        part = ndimage.shift(texture, offset, order=3, mode="wrap")[32:288, 32:288]
        own = ndimage.gaussian_filter(rng.normal(size=part.shape), 3)
        slices.append(np.clip(128 + 30 * (part + 0.5 * own / own.std()), 0, 255))
    return np.stack(slices).astype(np.uint8)


@pytest.mark.parametrize("size", [0.0, 4.0])
def test_the_offset_of_slices_is_found(size: float) -> None:
    # Every other slice lies off the middle of its neighbours by (size, -size / 2).
    stack = jittering([(size * (z % 2), -size / 2 * (z % 2)) for z in range(7)])
    found = sff.measure_drift(stack)
    expected = (size**2 + size**2 / 4) / 2
    assert found.middle_variance == pytest.approx(expected, rel=0.15, abs=0.3)
    assert found.slices == (1, 2, 3, 4, 5)


def test_damaged_slices_are_neither_measured_nor_neighbours() -> None:
    stack = jittering([(0, 0)] * 8)
    stack[3] = 0
    assert sff.measure_drift(stack, damaged=[3]).slices == (1, 5, 6)
    with pytest.raises(InputError, match="clean slice"):
        sff.measure_drift(stack[2:5], damaged=[1])


def test_slices_farther_away_are_used_where_they_tell_more() -> None:
    # The slices sway with a period of three: two away tells where a slice lies.
    wave = 5.0 * np.array([(math.sin(2.1 * z), math.cos(2.1 * z)) for z in range(22)])
    stack = jittering([(float(y), float(x)) for y, x in wave])
    found = sff.measure_drift(stack, slices=range(4, 18))
    assert found.weights
    assert found.offset_variance < 0.6 * found.middle_variance
    # The slice at x shows what the middle of its neighbours shows at x + place.
    expected = (wave[7] + wave[9]) / 2 - wave[8]
    place = found.for_slice(stack, 8).place
    assert np.hypot(*(place - expected)) < 0.5 * np.hypot(*expected)


def test_independent_jitter_is_predicted_best_by_the_middle() -> None:
    rng = np.random.default_rng(3)
    stack = jittering([(float(y), float(x)) for y, x in np.cumsum(rng.normal(0, 2, (12, 2)), 0)])
    found = sff.measure_drift(stack)
    assert found.weights == ()
    assert found.for_slice(stack, 5) is found


positive = st.floats(0.01, 100)


@given(positive, positive, positive, st.lists(st.floats(-1, 1), max_size=3))
@settings(deadline=None, max_examples=30)
def test_json_round_trip(
    variance: float, level: float, spread: float, weights: list[float]
) -> None:
    drift = sff.StackDrift((1, 4), variance, variance, level, spread, tuple(weights), (1.0, -2.5))
    assert sff.StackDrift.from_json(drift.to_json()) == drift


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"slices": [1], "offset_variance": -1, "middle_variance": 1}']
)
def test_what_is_no_measurement_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(InputError, match=r"\."):
        sff.StackDrift.from_json(text)


def test_restore_takes_the_measurement() -> None:
    stack = jittering([(0, 0)] * 5)
    fold = sff.Fold([(0, 120), (255, 140)], 5)
    made = sff.simulate_fold(stack[2], fold, hidden_half_width=25, decay=0.06)
    drift = sff.measure_drift(np.delete(stack, 2, axis=0))
    told = sff.restore(stack[1], made.damaged, stack[3], made.folds, device="cpu", drift=drift)
    both = np.isfinite(told.flow).all(0) & ~made.corrupted
    assert np.hypot(*(told.flow - made.flow)[:, both]).mean() < 1.0
    with pytest.raises(InputError, match="measure_drift"):
        sff.restore(stack[1], made.damaged, stack[3], made.folds, drift=3)  # type: ignore[arg-type]
