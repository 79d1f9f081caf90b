"""Line coordinates and the law of a fold, as properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sff_napari.folds import Curve, Fold, FoldLaw, fold_displacement, unfold_displacement
from sff_napari.folds.curve import grid_points

SHAPE = (160, 200)
DOUBLE = torch.float64


def straight(y0, y1):
    return Curve([(y0, 0.0), (y1, SHAPE[1] - 1.0)], dtype=DOUBLE)


bends = st.lists(st.floats(-6, 6), min_size=4, max_size=4)


def bent(offsets):
    x = np.linspace(0, SHAPE[1] - 1, 4)
    return Curve([(80 + o, float(v)) for o, v in zip(offsets, x, strict=True)], dtype=DOUBLE)


@given(st.floats(10, 150), st.floats(10, 150))
def test_straight_distance_is_the_euclidean_one(y0, y1):
    here = straight(y0, y1).on_grid(SHAPE)
    points = grid_points(SHAPE, dtype=DOUBLE)
    d = torch.tensor([y1 - y0, SHAPE[1] - 1.0], dtype=DOUBLE)
    d /= d.norm()
    expected = (points[0] - y0) * d[1] - points[1] * d[0]
    assert torch.allclose(here.distance.abs(), expected.abs(), atol=1e-9)
    assert torch.allclose(here.normal.norm(dim=0), torch.ones(SHAPE, dtype=DOUBLE))


@settings(max_examples=25, deadline=None)
@given(bends)
def test_place_is_the_inverse_of_project(offsets):
    curve = bent(offsets)
    here = curve.on_grid(SHAPE)
    back = curve.place(here.along, here.distance)
    # The foot of a pixel is found by a few rounds of Newton's method: a sharp bend leaves 1e-4 px.
    assert float((back - grid_points(SHAPE, dtype=DOUBLE)).abs().max()) < 1e-3


@settings(max_examples=15, deadline=None)
@given(bends)
def test_distance_to_a_curve_is_the_shortest(offsets):
    curve = bent(offsets)
    here = curve.on_grid(SHAPE)
    samples, _ = curve.at(torch.linspace(0, curve.length, 4000, dtype=DOUBLE))
    points = grid_points(SHAPE, dtype=DOUBLE)[:, ::11, ::13].reshape(2, -1).T
    nearest = torch.cdist(points, samples.T).min(dim=1).values
    distance, along = here.distance[::11, ::13].flatten(), here.along[::11, ::13].flatten()
    within = (along > 0) & (along < curve.length)
    assert float((distance.abs() - nearest)[within].abs().max()) < 0.03


def test_a_curve_passes_through_its_vertices():
    vertices = [(0.0, 3.0), (40.0, 18.0), (90.0, 10.0), (150.0, 30.0)]
    curve = Curve(vertices, dtype=DOUBLE)
    points, _ = curve.at(torch.tensor(curve.vertices_along, dtype=DOUBLE))
    assert torch.allclose(points.T, torch.tensor(vertices, dtype=DOUBLE), atol=1e-3)


def test_grid_of_a_part_is_part_of_the_grid():
    curve = bent([3, -5, 4, 0])
    whole = curve.on_grid(SHAPE)
    part = curve.on_grid((50, 60), (33.0, 71.0))
    assert torch.allclose(part.distance, whole.distance[33:83, 71:131], atol=1e-7)
    assert torch.allclose(part.along, whole.along[33:83, 71:131], atol=1e-6)


laws = st.fixed_dictionaries(
    {
        "dark": st.floats(1, 20),
        "gap": st.tuples(st.floats(0, 60), st.floats(0, 60)),
        "decay": st.tuples(st.floats(0, 0.1), st.floats(0, 0.1)),
        "tail": st.tuples(st.sampled_from([0.0, 0.3, 1.0]), st.floats(0, 1)),
        "vary": st.floats(0, 0.4),
    }
)


def law_on(curve, dark, gap, decay, tail, vary):
    knots = torch.linspace(0, curve.length, 5, dtype=DOUBLE)
    wave = 1 + vary * torch.sin(torch.linspace(0, 5, 5, dtype=DOUBLE))
    gaps = torch.tensor(gap, dtype=DOUBLE)[:, None] * wave
    decays = torch.tensor(decay, dtype=DOUBLE)[:, None].expand(2, 5)
    return FoldLaw(knots, dark * wave, gaps, decays, torch.tensor(tail, dtype=DOUBLE))


@settings(max_examples=40, deadline=None)
@given(bends, laws)
def test_unfolding_undoes_folding(offsets, parameters):
    """The fold's backward map after the unfolding's is the identity outside the hidden band."""
    curve = bent(offsets)
    law = law_on(curve, **parameters)
    here = curve.on_grid(SHAPE)
    back = unfold_displacement(law, here)
    seen = ~law.is_hidden(here.along, here.distance)
    place = curve.project(grid_points(SHAPE, dtype=DOUBLE) + back, here.along)
    error = (back + fold_displacement(law, place)).abs().amax(0)
    if bool(seen.any()):
        assert float(error[seen].max()) < 1e-4


@settings(max_examples=40, deadline=None)
@given(laws)
def test_tissue_moves_towards_the_line_and_less_farther_away(parameters):
    curve = straight(80, 90)
    law = law_on(curve, **parameters)
    distance = torch.linspace(-200, 200, 801, dtype=DOUBLE)
    u = law.displacement(torch.full_like(distance, 100.0), distance)
    assert bool((u >= 0).all())
    right = u[distance > 0]
    assert bool((right[1:] <= right[:-1] + 1e-9).all())


def test_the_papers_law_in_closed_form():
    curve = straight(80, 80)
    law = FoldLaw.uniform(curve, 5.0, 25.0, 0.05)
    along = torch.full((3,), 50.0, dtype=DOUBLE)
    u = law.displacement(along, torch.tensor([5.0, 105.0, -505.0], dtype=DOUBLE))
    assert torch.allclose(u, torch.tensor([20.0, 15.0, 0.0], dtype=DOUBLE))
    # a = (r - (w2 - w1) - alpha * w1) / (1 - alpha) for r = 60.
    r = torch.tensor([60.0], dtype=DOUBLE)
    a = r - law.shift(along[:1], r)
    assert float(a) == pytest.approx((60 - 20 - 0.05 * 5) / 0.95)


@pytest.mark.parametrize("fold", [Fold([(0, 0), (9, 9)], 1), Fold([(0, 0), (5, 4), (9, 9)], 1)])
def test_length_of_short_lines(fold):
    assert Curve.of(fold).length == pytest.approx(12.7, abs=0.2)
