"""Alignment: what it applies, and that it finds shifts and the axis again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from sff_napari.errors import InputError
from sff_napari.tilt_series import make_phantom, simulate_tilts
from sff_napari.tilt_series.series import TiltSeries, check_series
from sff_napari.tilt_series.tilt_alignment import (
    TiltAlignment,
    align_tilts,
    correlated_shifts,
)


def padded_series(psnr: float = 30.0) -> TiltSeries:
    """Return a series of bodies that stay in view when they are moved."""
    volume = np.pad(make_phantom((16, 32, 32), seed=6), ((2, 2), (10, 10), (10, 10)))
    made = simulate_tilts(volume, np.linspace(-60, 60, 25), noise=psnr, seed=6)
    return check_series(made.noisy, made.tilts, "x")


def moved(series: TiltSeries, shifts: np.ndarray) -> TiltSeries:
    images = np.stack(
        [
            ndimage.shift(image, shift, order=3, mode="nearest")
            for image, shift in zip(series.images, shifts, strict=True)
        ]
    )
    return TiltSeries(images, series.tilts, series.axis, series.order)


def without_common_movement(tilts: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Remove what moving the whole object would do."""
    angle = np.radians(tilts)
    basis = np.stack([np.cos(angle), np.sin(angle)], 1)
    rest = shifts.copy()
    rest[:, 0] -= basis @ np.linalg.lstsq(basis, rest[:, 0], rcond=None)[0]
    rest[:, 1] -= rest[:, 1].mean()
    return rest


def test_applying_undoes_a_movement() -> None:
    series = padded_series()
    shifts = np.random.default_rng(0).integers(-3, 4, (25, 2)).astype(float)
    back = TiltAlignment(shifts).apply(moved(series, shifts)).images
    np.testing.assert_allclose(back[:, 6:-6, 6:-6], series.images[:, 6:-6, 6:-6], atol=0.02)


def test_no_alignment_changes_nothing() -> None:
    series = padded_series()
    assert TiltAlignment.none(25).apply(series) is series
    with pytest.raises(InputError, match="25 images|24 images"):
        TiltAlignment.none(24).apply(series)


def test_stored_alignment_is_the_same() -> None:
    series = padded_series()
    shifts = np.round(np.random.default_rng(1).normal(size=(25, 2)), 3)
    stored = TiltAlignment(shifts, 1.5, -0.25).to_dict(series)
    found = TiltAlignment.from_dict(stored)
    np.testing.assert_allclose(found.shifts, shifts)
    assert (found.axis_offset, found.axis_angle) == (1.5, -0.25)
    with pytest.raises(InputError, match="axis_offset"):
        TiltAlignment.from_dict({"images": []})


def test_shifts_are_found() -> None:
    series = padded_series()
    true = np.clip(np.random.default_rng(2).normal(0, 0.8, (25, 2)).cumsum(0), -4, 4)
    true -= true[12]
    shaken = moved(series, true)
    rough = without_common_movement(series.tilts, correlated_shifts(shaken) - true)
    found = align_tilts(shaken, "bright", axis_position=False, axis_angle=False)
    rest = without_common_movement(series.tilts, found.shifts - true)
    assert np.sqrt(np.mean(rest**2)) < 0.2
    assert np.abs(rest).max() < 0.45
    assert np.mean(rest**2) < np.mean(rough**2)


def test_the_axis_is_found() -> None:
    series = padded_series()
    tilted = TiltAlignment(np.zeros((25, 2)), 0.0, -1.5).apply(series)
    tilted = moved(tilted, np.tile([2.0, 0.0], (25, 1)))
    found = align_tilts(tilted, "bright", correlate=False, refine=False)
    assert found.axis_angle == pytest.approx(1.5, abs=0.3)
    assert found.axis_offset == pytest.approx(2.0, abs=0.4)
