"""Reducing, enlarging, and back-projection."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sff_napari.low_magnification.resampling import (
    back_project,
    band_of_low,
    enlarge_cubic,
    reduce_area,
)

SIZES = st.tuples(st.integers(3, 12), st.integers(3, 12))


def images(low_shape: tuple[int, int], factor: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    shape = tuple(side * factor for side in low_shape)
    low, image = (rng.normal(0, 1, size).astype(np.float32) for size in (low_shape, shape))
    return torch.from_numpy(low)[None, None], torch.from_numpy(image)[None, None]


@given(SIZES, st.integers(2, 16), st.integers(0, 1000))
def test_what_is_back_projected_reduces_to_the_low_slice(
    low_shape: tuple[int, int], factor: int, seed: int
) -> None:
    low, image = images(low_shape, factor, seed)
    made = back_project(image, low, factor, exact=True)
    assert float((reduce_area(made, factor) - low).abs().max()) < 1e-4


@given(SIZES, st.sampled_from([2, 4, 8, 16]), st.integers(0, 1000))
def test_each_step_leaves_less(low_shape: tuple[int, int], factor: int, seed: int) -> None:
    low, image = images(low_shape, factor, seed)
    rest = [
        float((reduce_area(back_project(image, low, factor, steps), factor) - low).square().mean())
        for steps in (0, 1, 3)
    ]
    assert rest[2] < rest[1] < rest[0]


def test_a_slice_that_agrees_is_not_changed() -> None:
    _, image = images((6, 7), 4, 1)
    made = back_project(image, reduce_area(image, 4), 4, exact=True)
    torch.testing.assert_close(made, image, atol=1e-5, rtol=0)


def test_a_constant_stays_one() -> None:
    low = torch.full((1, 1, 5, 6), 0.3)
    torch.testing.assert_close(enlarge_cubic(low, 8), torch.full((1, 1, 40, 48), 0.3))
    image = torch.full((1, 1, 40, 48), 0.3)
    torch.testing.assert_close(band_of_low(image, 8), image)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_gradients_pass(factor: int) -> None:
    low, image = images((4, 4), factor, 3)
    image.requires_grad_(True)
    back_project(image, low, factor).square().mean().backward()
    assert image.grad is not None
    assert float(image.grad.abs().max()) > 0
