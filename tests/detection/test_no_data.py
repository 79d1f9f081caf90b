"""Folds of slices that hold no data in places: none is found there, and real ones are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from sff_napari.detection import detect_folds
from sff_napari.detection.match import compare
from sff_napari.errors import InputError
from sff_napari.folds import Fold
from sff_napari.simulation import neuropil, simulate_fold, simulate_realistic

CLEAN = neuropil((2, 400, 400), 11)
FOLD = Fold([(0, 150), (200, 175), (399, 260)], 7)
DAMAGED = simulate_fold(CLEAN[0], FOLD, hidden_half_width=30).damaged
REAL = simulate_realistic(CLEAN[1], np.random.default_rng(4))


def turned(image: NDArray[Any], degrees: float, fill: float) -> NDArray[Any]:
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array(image.shape) / 2
    out = affine_transform(image.astype(float), matrix, centre - matrix @ centre, order=1, cval=-1)
    out = np.where(out < 0, fill, np.clip(out, 0, 255))
    return out.astype(np.uint8 if 0 <= fill <= 255 else np.float32)


def with_gap(image: NDArray[Any], width: int, value: float) -> NDArray[Any]:
    out = image.astype(np.uint8 if 0 <= value <= 255 else np.float32)
    out[:, 300 : 300 + width] = value
    out[90 : 90 + width] = value
    # Tiles differ in brightness.
    out[:, 300 + width :] = np.clip(out[:, 300 + width :] + 20.0, 0, 255)
    return out


@pytest.mark.parametrize("fill", [0, 255, 128, np.nan, -9999])
@pytest.mark.parametrize("degrees", [0.7, 3, 30])
def test_no_fold_at_the_border_of_a_turned_section(degrees: float, fill: float) -> None:
    for clean in CLEAN:
        assert detect_folds(turned(clean, degrees, fill)) == []


@pytest.mark.parametrize("value", [0, 255, np.nan, -9999])
@pytest.mark.parametrize("width", [1, 2, 5, 8, 20])
def test_no_fold_between_tiles(width: int, value: float) -> None:
    assert detect_folds(with_gap(CLEAN[0], width, value)) == []


@pytest.mark.parametrize("value", [0, 255, np.nan, -9999])
@pytest.mark.parametrize("width", [2, 8])
def test_a_fold_is_found_across_tiles(width: int, value: float) -> None:
    (found,) = detect_folds(with_gap(DAMAGED, width, value))
    assert compare(found, FOLD, (400, 400)).is_match
    assert found.half_width == pytest.approx(7, abs=1.5)


@pytest.mark.parametrize("fill", [0, 255, np.nan, -9999])
def test_a_fold_is_found_in_a_frame(fill: float) -> None:
    image = DAMAGED.astype(np.float32 if not 0 <= fill <= 255 else np.uint8)
    image[:30] = image[-20:] = fill
    image[:, :40] = fill
    (found,) = detect_folds(image)
    agreement = compare(found, FOLD, (400, 400))
    # 50 of 400 rows of the fold are not there.
    assert agreement.distance < 1
    assert agreement.cover > 0.86


def test_a_realistic_fold_beside_a_missing_tile() -> None:
    image = REAL.damaged.copy()
    (expected,) = detect_folds(image)
    ends = np.array(expected.vertices)
    corner = (slice(0, 150), slice(250, 400))
    inside = (ends[:, 0] < 160) & (ends[:, 1] > 240)
    if inside.any():
        corner = (slice(250, 400), slice(0, 150))
    image[corner] = 0
    found = detect_folds(image)
    assert found
    assert compare(found[0], expected, (400, 400)).distance < 3


@pytest.mark.parametrize("factor", [1e-9, 1e-3, 1e6])
def test_units_and_hot_pixels_do_not_matter(factor: float) -> None:
    image = DAMAGED.astype(np.float64) * factor
    image[[5, 50, 300], [7, 30, 390]] = 1e9 * factor
    image[200, 60] = -1e9 * factor
    (found,) = detect_folds(image)
    assert compare(found, FOLD, (400, 400)).is_match
    (single,) = detect_folds(image.astype(np.float32))
    assert compare(single, FOLD, (400, 400)).is_match


def test_a_mask_of_ones_own() -> None:
    mask = np.zeros((400, 400), bool)
    mask[:, 100:300] = True
    assert detect_folds(DAMAGED, no_data=mask) == []
    with pytest.raises(InputError, match="has shape"):
        detect_folds(DAMAGED, no_data=mask[:10])


def test_other_byte_orders() -> None:
    (found,) = detect_folds((DAMAGED.astype(">u2") * 200).astype(">u2"))
    assert compare(found, FOLD, (400, 400)).is_match
