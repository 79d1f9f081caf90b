"""Windows compared over shifts: correlations are right, and sites say what scores say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sff_napari.alignment.features import Features
from sff_napari.alignment.window_scores import WindowScores, compare_windows, shift_scores


def features(seed: int, shape: tuple[int, int] = (48, 56)) -> Features:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator)
    known = (torch.rand(shape, generator=generator) > 0.1).float()
    return Features(values * known, known, 4)


def test_scores_are_correlations_at_each_shift() -> None:
    one, other = features(0), features(1)
    scores, weight = shift_scores(one.values, one.known, other, 2, 16, 8)
    assert scores.shape == (*weight.shape, 5, 5)
    row, column, dy, dx = 1, 2, 1, -2
    a = slice(8 * row, 8 * row + 16), slice(8 * column, 8 * column + 16)
    b = slice(a[0].start + dy, a[0].stop + dy), slice(a[1].start + dx, a[1].stop + dx)
    x, y = one.values[a], other.values[b]
    seen = one.known[a] * other.known[b]
    expected = (x * y).sum() / ((x * x * seen).sum() * (y * y * seen).sum()).sqrt()
    assert float(scores[row, column, dy + 2, dx + 2]) == pytest.approx(float(expected), rel=1e-3)


@given(st.floats(-6, 6), st.floats(-6, 6), st.floats(1.0, 3.0), st.floats(2.0, 5.0))
@settings(deadline=None, max_examples=40)
def test_a_site_of_a_normal_likelihood_is_that_normal(
    y: float, x: float, spread: float, width: float
) -> None:
    places = torch.arange(-16, 17, dtype=torch.float64)
    shifts = torch.stack([places.repeat_interleave(33), places.repeat(33)])
    away = (shifts[0] - y).square() + (shifts[1] - x).square()
    scores = WindowScores(torch.zeros(2, 1), (-away / (2 * spread**2))[None], shifts)
    shift, precision = scores.sites(torch.zeros(2, 1, dtype=torch.float64), width)
    assert torch.allclose(shift[:, 0], torch.tensor([y, x]).double(), atol=0.4)
    assert float(precision) == pytest.approx(1 / (spread**2 + width**2), rel=0.1)


def test_a_flat_window_tells_little() -> None:
    places = torch.arange(-8, 9, dtype=torch.float32)
    shifts = torch.stack([places.repeat_interleave(17), places.repeat(17)])
    flat = WindowScores(torch.zeros(2, 1), torch.zeros(1, 289), shifts)
    _, precision = flat.sites(torch.zeros(2, 1, dtype=torch.float64), 2.0)
    assert float(precision) < 0.05 / 4


def test_a_moved_slice_is_found_where_it_was_moved() -> None:
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.normal(size=(400, 400))).float()
    whole = torch.ones(400, 400, dtype=torch.bool)
    one = Features.of(image[8:392, 8:392] * 0.1 + 0.5, whole[8:392, 8:392], 2)
    other = Features.of(image[4:388, 14:398] * 0.1 + 0.5, whole[8:392, 8:392], 2)
    scores = compare_windows(one, [other], 12.0, 700)
    assert scores is not None
    shift, _ = scores.sites(torch.zeros_like(scores.points, dtype=torch.float64), 6.0)
    assert np.allclose(shift.mean(1), (4, -6), atol=0.5)
