"""Shift, turn and scale between slices: right to half a pixel, and a word where they are far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sff_napari.alignment import Similarity, estimate_similarity, misalignment
from sff_napari.errors import InputError
from sff_napari.folds import Fold
from sff_napari.simulation import neuropil, simulate_fold

SLICES = neuropil((2, 512, 512), 3)


def moved(image: NDArray[Any], similarity: Similarity, border: float = 0) -> NDArray[Any]:
    """Return the moving slice of which `image` is the fixed one."""
    height, width = image.shape
    out = cv2.warpAffine(
        image.astype(np.float32), similarity.matrix(), (width, height),
        flags=cv2.INTER_CUBIC, borderValue=border,
    )  # fmt: skip
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def error(found: Similarity, true: Similarity) -> float:
    """Return the largest distance, px, between where two similarities put a point."""
    height, width = true.shape
    grid = np.stack(
        np.meshgrid(np.linspace(0, height - 1, 7), np.linspace(0, width - 1, 7), indexing="ij"), -1
    ).reshape(-1, 2)
    return float(np.linalg.norm(found.apply(grid) - true.apply(grid), axis=1).max())


@settings(max_examples=12)
@given(
    rotation=st.floats(-10, 10),
    scale=st.floats(0.97, 1.03),
    dy=st.floats(-100, 100),
    dx=st.floats(-100, 100),
)
def test_half_a_pixel(rotation: float, scale: float, dy: float, dx: float) -> None:
    true = Similarity(rotation, scale, (dy, dx), 1.0, SLICES.shape[1:])
    found = estimate_similarity(moved(SLICES[0], true), SLICES[0])
    assert error(found, true) < 0.5
    assert found.score > 0.9
    assert found.rotation_degrees == pytest.approx(rotation, abs=0.1)
    assert found.scale == pytest.approx(scale, abs=0.002)


@pytest.mark.parametrize("seed", range(4))
def test_neighbours_with_a_fold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fold = Fold([(0, 200), (511, 330)], 8)
    damaged = simulate_fold(SLICES[0], fold, hidden_half_width=12).damaged
    before = estimate_similarity(SLICES[1], damaged)
    true = Similarity(
        rng.uniform(-10, 10), rng.uniform(0.97, 1.03), tuple(rng.uniform(-100, 100, 2)), 1.0,
        damaged.shape,
    )  # fmt: skip
    neighbour = moved(SLICES[1], true)
    found = estimate_similarity(neighbour, damaged)
    assert found.is_unaligned
    assert not before.is_unaligned
    # As the slices lay against each other before, to what a fold lets one tell.
    assert error(found, true) < 2 * before.displacement + 8
    told = misalignment(found, "Slice 4", "slice 3")
    assert "Slice 4 is not aligned to slice 3" in told
    assert misalignment(before, "a", "b") == ""


@pytest.mark.parametrize("border", [0, 255, 128])
def test_no_data_does_not_count(border: int) -> None:
    true = Similarity(8.0, 1.0, (60.0, -40.0), 1.0, SLICES.shape[1:])
    fixed = SLICES[0].copy()
    fixed[:60] = border
    fixed[:, 250:254] = border
    found = estimate_similarity(moved(SLICES[0], true, border), fixed)
    assert error(found, true) < 0.5


def test_what_does_not_match_is_not_moved_with_confidence() -> None:
    other = neuropil((1, 512, 512), 77)[0]
    assert not estimate_similarity(other, SLICES[0]).is_unaligned
    assert not estimate_similarity(np.zeros_like(other), SLICES[0]).is_unaligned
    noise = np.random.default_rng(0).integers(0, 255, (512, 512)).astype(np.uint8)
    assert not estimate_similarity(noise, SLICES[0]).is_unaligned


def test_units_and_sizes() -> None:
    true = Similarity(-5.0, 1.02, (30.0, 20.0), 1.0, SLICES.shape[1:])
    moving = moved(SLICES[0], true)
    found = estimate_similarity(moving.astype(np.float64) * 1e-9, SLICES[0].astype(np.uint16) * 99)
    assert error(found, true) < 0.5
    quick = estimate_similarity(moving, SLICES[0], side=256)
    assert error(quick, true) < 1.5
    with pytest.raises(InputError, match="differ in size"):
        estimate_similarity(moving, SLICES[0][:400])


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["vnc_stack1", "isbi2012_train", "snemi3d_z34_73"])
def test_real_slices(data_folder: Path, name: str) -> None:
    stack = tifffile.imread(data_folder / f"{name}.tif")
    rng = np.random.default_rng(1)
    image, neighbour = stack[3], stack[4]
    far = (100, 100) if image.shape[0] > 600 else (60, 60)
    true = Similarity(
        rng.uniform(-10, 10), rng.uniform(0.97, 1.03), tuple(rng.uniform(-1, 1, 2) * far), 1.0,
        image.shape,
    )  # fmt: skip
    assert error(estimate_similarity(moved(image, true), image), true) < 0.5
    lies = estimate_similarity(neighbour, image).displacement
    found = estimate_similarity(moved(neighbour, true), image)
    assert found.is_unaligned
    assert error(found, true) < 2 * lies + 8
