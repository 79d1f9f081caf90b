"""The flow of the noise: inverse, log-derivative, anchored mean."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sff_napari.tilt_series.noise_flow import NoiseFlow


def random_flow(seed: int) -> NoiseFlow:
    torch.manual_seed(seed)
    flow = NoiseFlow(0.2).double()
    with torch.no_grad():
        flow.free += 0.4 * torch.randn_like(flow.free)
        for parameter in flow.conditional.parameters():
            parameter += 0.03 * torch.randn_like(parameter)
    return flow


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_inverse_undoes_the_flow(seed: int) -> None:
    flow = random_flow(seed)
    noise, clean = 0.3 * torch.randn(200).double(), torch.rand(200).double()
    with torch.no_grad():
        z, _ = flow(noise, clean)
        assert torch.allclose(flow.inverse(z, clean), noise, atol=1e-7)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_log_derivative_agrees_with_finite_differences(seed: int) -> None:
    flow = random_flow(seed)
    noise, clean = 0.3 * torch.randn(200).double(), torch.rand(200).double()
    step = 1e-6
    with torch.no_grad():
        slope = (flow(noise + step, clean)[0] - flow(noise - step, clean)[0]) / (2 * step)
        found = flow(noise, clean)[1]
    # Around a layer's centre the derivative itself bends: a few values may be off by more.
    assert float((slope.log() - found).abs().median()) < 1e-6
    assert float((slope.log() - found).abs().max()) < 1e-2


def test_starts_as_normal_noise_of_the_given_scale() -> None:
    # Its conditional layers begin near, not at, the identity: how near is a matter of the draw.
    torch.manual_seed(0)
    flow = NoiseFlow(0.2)
    with torch.no_grad():
        noise, clean = torch.linspace(-0.5, 0.5, 11), torch.full((11,), 0.3)
        normal = torch.distributions.Normal(0, 0.2).log_prob(noise)
        assert torch.allclose(flow.log_density(noise, clean), normal, atol=0.15)
        assert abs(float(flow.mean(torch.tensor([0.5]))[0])) < 0.02
