"""The three networks: sizes, channel counts, precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sff_napari.errors import InputError
from sff_napari.networks import FusionNetwork, InterpolationNetwork, UnfoldingNetwork
from sff_napari.networks.unfolding import FLOW_UNIT
from sff_napari.networks.weights import NETWORKS

KINDS = tuple(NETWORKS)
PAIRED = ("interpolation", "unfolding", "fusion")
"""The paper's, which are given two images; see test_filling for the other."""


def pair(height: int, width: int, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two random images."""
    draw = torch.Generator().manual_seed(height * width)
    first, second = torch.rand((2, batch, 1, height, width), generator=draw)
    return first, second


def made(kind: str, width: float) -> nn.Module:
    """Return a network with fixed weights, none of them special."""
    torch.manual_seed(0)
    return NETWORKS[kind](width)


def convolution(source: int, target: int, size: int = 3) -> int:
    """Return the number of parameters of a convolution."""
    return source * target * size**2 + target


@pytest.mark.parametrize("kind", PAIRED)
@pytest.mark.parametrize("shape", [(64, 64), (33, 70), (5, 3), (1, 1), (100, 17)])
def test_any_size_comes_back_in_that_size(kind: str, shape: tuple[int, int]) -> None:
    network = made(kind, 0.05).eval()
    with torch.no_grad():
        out = network(*pair(*shape, batch=2))
    assert out.shape == (2, 2 if kind == "unfolding" else 1, *shape)
    assert out.dtype == torch.float32
    assert bool(torch.isfinite(out).all())


def test_interpolation_has_the_channels_of_table_1() -> None:
    levels = [32, 64, 128, 256, 512]
    down = sum(
        convolution(a, b) + 2 * convolution(b, b)
        for a, b in zip([2, *levels[:-1]], levels, strict=True)
    )
    up = sum(
        convolution(a, b) + 3 * convolution(b, b)
        for a, b in zip([512, 512, 256, 128], [512, 256, 128, 64], strict=True)
    )
    head = 2 * convolution(64, 64) + convolution(64, 51) + convolution(51, 51)
    count = sum(p.numel() for p in InterpolationNetwork().parameters())
    assert count == down + up + 4 * head == 21_674_300


def test_unfolding_has_the_channels_of_table_2() -> None:
    def level(a: int, b: int) -> int:
        return convolution(a, b) + 4 * convolution(b, b) + 5 * 2 * b

    levels = [32, 64, 128, 256, 512]
    down = sum(level(a, b) for a, b in zip([2, *levels[:-1]], levels, strict=True))
    up = sum(
        convolution(a, b) + 2 * b + level(b, b)
        for a, b in zip(levels[:0:-1], levels[-2::-1], strict=True)
    )
    count = sum(p.numel() for p in UnfoldingNetwork().parameters())
    assert count == down + up + convolution(32, 2) == 19_645_538


def test_fusion_has_the_channels_of_table_3() -> None:
    def two(a: int, b: int) -> int:
        return convolution(a, b) + convolution(b, b)

    total = two(2, 32) + two(32, 64) + two(64, 128)
    total += two(128, 128) + convolution(128, 128, 2)
    total += two(256, 128) + convolution(128, 64, 2)
    total += two(128, 64) + convolution(64, 32, 2)
    total += convolution(64, 32) + convolution(32, 1)
    assert sum(p.numel() for p in FusionNetwork().parameters()) == total == 1_260_705


@pytest.mark.parametrize("kind", KINDS)
def test_the_width_multiplier_scales_the_parameters(kind: str) -> None:
    full, half, tiny = (
        sum(p.numel() for p in made(kind, width).parameters()) for width in (1.0, 0.5, 0.05)
    )
    # A block of pixels goes in and out of the enlarging networks, however narrow they are.
    least, share = (3.0, 10) if kind.startswith("enlarging") else (3.8, 20)
    assert least < full / half < 4.2
    assert tiny < half / share


@pytest.mark.parametrize("width", [0, -1, float("nan"), 9])
def test_widths_that_make_no_sense_are_refused(width: float) -> None:
    with pytest.raises(InputError, match="width multiplier"):
        FusionNetwork(width)


@pytest.mark.parametrize("kind", PAIRED)
def test_images_of_different_shapes_are_refused(kind: str) -> None:
    with pytest.raises(InputError, match="same shape"):
        made(kind, 0.05)(torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 40))
    with pytest.raises(InputError, match="same shape"):
        made(kind, 0.05)(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("kind", PAIRED)
def test_bfloat16_agrees_with_float32(kind: str) -> None:
    """Within 2 % of the output's own spread, with trained-like (not tiny) last layers."""
    network = made(kind, 0.125)
    for layer in (getattr(network, "last", None), *getattr(network, "taps", ())):
        if layer is not None:
            nn.init.normal_(layer.weight, std=0.02)
    images = pair(64, 64)
    with torch.no_grad():
        network.train()(*pair(64, 64, batch=4))  # statistics for the batch norm
        network.eval()
        exact = network(*images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = network(*images)
    assert rounded.dtype == torch.float32
    assert exact.std() > 0
    assert not torch.equal(rounded, exact)
    assert (rounded - exact).square().mean().sqrt() < 0.02 * exact.abs().mean() + 0.02 * exact.std()


@pytest.mark.parametrize("kind", ["interpolation", "fusion"])
def test_training_starts_near_the_mean(kind: str) -> None:
    first, second = (functional_blur(image) for image in pair(96, 96))
    with torch.no_grad():
        out = made(kind, 0.25).eval()(first, second)
    mean = (first + second) / 2
    inner = (slice(None), slice(None), slice(16, -16), slice(16, -16))
    assert (out - mean)[inner].abs().mean() < 0.06


def functional_blur(image: torch.Tensor) -> torch.Tensor:
    """Return a smooth image, on which narrow kernels change little."""
    return nn.functional.avg_pool2d(image, 25, stride=1, padding=12, count_include_pad=False)


def test_the_flow_starts_small_and_is_in_pixels() -> None:
    network = made("unfolding", 0.1).train()
    images = pair(64, 64, batch=2)
    assert float(network(*images).detach().abs().max()) < 1
    nn.init.zeros_(network.last.weight)
    nn.init.ones_(network.last.bias)
    assert torch.equal(network(*images), torch.full((2, 2, 64, 64), FLOW_UNIT))


@pytest.mark.parametrize("kind", PAIRED)
def test_every_parameter_learns(kind: str) -> None:
    network = made(kind, 0.1)
    images = pair(64, 64, batch=2)
    network(*images).square().sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None]
    assert silent == []
    dead = [name for name, p in network.named_parameters() if not bool(p.grad.abs().sum() > 0)]
    # A bias before batch norm has no effect; nothing else may be cut off.
    assert len(dead) <= len(list(network.parameters())) // 4
