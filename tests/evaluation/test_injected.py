"""Drift that is put into a slice before it is folded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from sff_napari.alignment.drift_model import SliceDrift
from sff_napari.alignment.stack_drift import StackDrift
from sff_napari.evaluation import Trials, evaluate, make_case
from sff_napari.evaluation.injected import moved, random_drift, shifted, with_injected
from sff_napari.evaluation.methods import Settings


@given(st.integers(16, 1500), st.integers(16, 1500), st.floats(0.01, 50), st.integers(0, 2**32 - 1))
def test_the_strength_is_met_exactly(height, width, rms, seed):
    field = random_drift((height, width), rms, np.random.default_rng(seed))
    assert field.shape == (2, height, width)
    assert field.dtype == np.float32
    assert np.sqrt(np.square(field).sum(axis=0).mean()) == pytest.approx(rms, rel=1e-3)


def test_it_is_an_offset_and_a_smooth_field():
    fields = [random_drift((1024, 768), 2.0, np.random.default_rng(i)) for i in range(12)]
    offsets = np.array([field.mean(axis=(1, 2)) for field in fields])
    assert np.hypot(*offsets.T) == pytest.approx(2 / np.sqrt(2), rel=1e-3)
    rest = np.array([field - field.mean(axis=(1, 2), keepdims=True) for field in fields])
    assert np.sqrt(np.square(rest).sum(axis=1).mean()) == pytest.approx(2 / np.sqrt(2), rel=1e-3)
    # Nothing finer than four half waves per 1024 px: slopes stay small.
    assert max(np.abs(np.diff(rest, axis=axis)).max() for axis in (2, 3)) < 0.06
    spectrum = np.abs(np.fft.rfft(np.concatenate([rest, rest[..., ::-1]], axis=3), axis=3))
    power = np.square(spectrum).mean(axis=(0, 1, 2))
    assert power[4:].sum() < 1e-6 * power.sum()
    assert power[1] > 3 * power[2] > 3 * power[3]
    # All directions come up.
    assert np.ptp(np.arctan2(*offsets.T)) > 3


def test_the_drift_is_known_and_the_fold_is_the_same(stack):
    plain = make_case(stack, 1, "realistic", 3, 5)
    case = make_case(stack, 1, "realistic", 3, 5, inject_drift=4.0)
    assert np.array_equal(plain.previous, case.previous)
    assert np.array_equal(plain.simulation.flow, case.simulation.flow, equal_nan=True)
    assert plain.folds == case.folds
    field = random_drift(stack[1].shape, 4.0, np.random.default_rng([3, 2, 5]))
    assert np.array_equal(case.clean, moved(stack[1], field))
    assert not np.array_equal(case.clean, plain.clean)
    assert np.array_equal(
        Trials(seed=3, kind="realistic", inject_drift=4.0, slices=[1]).case(stack, 5).clean,
        case.clean,
    )


def test_what_is_moved_can_be_moved_back():
    smooth = gaussian_filter(np.random.default_rng(0).normal(size=(300, 300)), 6)
    image = np.rint(120 + 800 * smooth).clip(0, 255).astype(np.uint8)
    drift = random_drift(image.shape, 3.0, np.random.default_rng(1))
    there = moved(image, drift)
    assert there.dtype == image.dtype
    back = moved(there, -moved_field(drift))
    inner = (slice(20, -20),) * 2
    assert np.abs(there[inner].astype(float) - image[inner]).mean() > 2
    assert np.abs(back[inner].astype(float) - image[inner]).mean() < 0.8
    assert np.array_equal(shifted(image, (2.0, -3.0))[2:, :-3], image[:-2, 3:])
    assert shifted(image, (0.0, 0.0)) is image


def moved_field(drift):
    """Return the inverse of a smooth drift, with the sign turned."""
    out = drift.copy()
    rows, columns = np.indices(drift.shape[1:])
    for _ in range(10):
        y = np.clip(np.rint(rows - out[0]), 0, drift.shape[1] - 1).astype(int)
        x = np.clip(np.rint(columns - out[1]), 0, drift.shape[2] - 1).astype(int)
        out = drift[:, y, x]
    return out


def test_the_true_strength_is_that_of_what_was_injected():
    shape, rms = (1024, 768), 2.0
    fields = np.array([random_drift(shape, rms, np.random.default_rng(i)) for i in range(24)])
    offsets = fields.mean(axis=(2, 3))
    known = with_injected(StackDrift((1,), 0.1, 0.2, 0.3, 2.0), shape, rms)
    assert np.square(offsets).mean() == pytest.approx(known.offset_variance - 0.1, rel=0.05)
    assert known.middle_variance - 0.2 == pytest.approx(known.offset_variance - 0.1)
    usual = float(SliceDrift.none(shape).spread().square().sum())
    rest = np.square(fields - offsets[:, :, None, None]).mean()
    assert rest == pytest.approx((known.level - 0.3) * usual, rel=0.05)
    # A slice too small for a smooth part has its drift as an offset.
    small = with_injected(StackDrift((1,), 0.1, 0.2, 0.3, 2.0), (128, 128), rms)
    assert small.level == pytest.approx(0.3)
    assert small.offset_variance == pytest.approx(0.1 + rms**2 / 2)


def test_a_method_is_told_the_true_strength(larger):
    trials = Trials(slices=[1], folds=1, seed=1, inject_drift=3.0)
    assert Settings.of(trials, larger, ["seamless"]).drift is None
    told = Settings.of(trials, larger, ["known-drift"]).drift
    usual = Settings.of(Trials(slices=[1], folds=1), larger, ["known-drift"]).drift
    assert told.offset_variance == pytest.approx(usual.offset_variance + 9 / 4)
    found = evaluate(larger, trials, methods=["seamless", "known-drift"])
    errors = [row.mean["flow_error"] for row in found.rows]
    assert errors[0] != errors[1]
    assert errors[1] < 1.25 * errors[0] + 0.3
