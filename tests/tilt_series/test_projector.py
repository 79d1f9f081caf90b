"""The projector: adjoint, mass, geometry."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sff_napari.tilt_series.projector import Projector


@settings(max_examples=25, deadline=None)
@given(
    tilts=st.lists(st.floats(-85, 85), min_size=1, max_size=6),
    width=st.integers(4, 20),
    thickness=st.integers(1, 12),
    seed=st.integers(0, 10**6),
)
def test_back_projection_is_the_adjoint(
    tilts: list[float], width: int, thickness: int, seed: int
) -> None:
    projector = Projector(np.array(tilts), width, thickness)
    generator = torch.Generator().manual_seed(seed)
    volume = torch.randn(thickness, width, 3, generator=generator)
    images = torch.randn(len(tilts), width, 3, generator=generator)
    left = (projector.project(volume).double() * images.double()).sum()
    right = (volume.double() * projector.back_project(images).double()).sum()
    scale = float(volume.norm() * projector.back_project(images).norm()) + 1e-6
    assert abs(float(left - right)) <= 1e-5 * scale


def test_gradient_is_the_back_projection() -> None:
    projector = Projector(np.array([-40.0, 0.0, 25.0]), 10, 6)
    volume = torch.randn(6, 10, 2, requires_grad=True)
    images = torch.randn(3, 10, 2)
    (projector.project(volume) * images).sum().backward()
    assert torch.allclose(volume.grad, projector.back_project(images), atol=1e-5)


def test_mass_is_kept_at_every_tilt() -> None:
    volume = torch.zeros(9, 41, 1)
    volume[2:7, 15:25] = torch.rand(5, 10, 1)
    sums = Projector(np.linspace(-70, 70, 15), 41, 9).project(volume).sum((1, 2))
    assert torch.allclose(sums, volume.sum().expand(15), rtol=1e-4)


def test_zero_tilt_sums_along_z() -> None:
    volume = torch.rand(7, 12, 3)
    assert torch.allclose(
        Projector(np.array([0.0]), 12, 7).project(volume)[0], volume.sum(0), atol=2e-3
    )


def test_a_point_moves_by_cosine_and_sine() -> None:
    volume = torch.zeros(21, 61, 1)
    volume[16, 40, 0] = 1.0  # z = +6, y = +10 from the middle
    tilts = np.array([-50.0, -20.0, 0.0, 30.0, 60.0])
    images = Projector(tilts, 61, 21).project(volume)[:, :, 0].numpy()
    seen = (images * (np.arange(61) - 30)).sum(1)
    angle = np.radians(tilts)
    np.testing.assert_allclose(seen, 10 * np.cos(angle) + 6 * np.sin(angle), atol=0.05)


def test_shifts_move_the_axis() -> None:
    volume = torch.zeros(5, 31, 1)
    volume[2, 15, 0] = 1.0
    images = Projector(np.array([-30.0, 30.0]), 31, 5, np.array([2.0, -3.5])).project(volume)
    seen = (images[:, :, 0].numpy() * (np.arange(31) - 15)).sum(1)
    np.testing.assert_allclose(seen, [2.0, -3.5], atol=0.05)
