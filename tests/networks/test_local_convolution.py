"""The separable local convolution against plain definitions of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from sff_napari.networks.local_convolution import local_convolution


def naive(image: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """Return the same by unfolding every patch."""
    taps = vertical.shape[1]
    batch, _, height, width = image.shape
    padded = functional.pad(image, (taps // 2,) * 4, mode="replicate")
    patches = functional.unfold(padded, taps).reshape(batch, taps, taps, height, width)
    return torch.einsum("bijyx,biyx,bjyx->byx", patches, vertical, horizontal)[:, None]


def random_case(taps: int, shape: tuple[int, int] = (6, 9)) -> tuple[Tensor, Tensor, Tensor]:
    """Return an image and kernels in float64."""
    draw = torch.Generator().manual_seed(taps)
    image = torch.rand((2, 1, *shape), generator=draw, dtype=torch.float64)
    vertical, horizontal = (
        torch.randn((2, taps, *shape), generator=draw, dtype=torch.float64) for _ in range(2)
    )
    return image, vertical, horizontal


@pytest.mark.parametrize("taps", [1, 3, 51])
def test_equals_the_naive_definition(taps: int) -> None:
    case = random_case(taps)
    assert torch.allclose(local_convolution(*case), naive(*case), rtol=1e-10, atol=1e-10)


def test_several_rows_a_call_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a GPU many rows go into one product; here the same path is taken in pieces.
    case = random_case(5)
    monkeypatch.setattr(
        "sff_napari.networks.local_convolution._calls",
        lambda k: [
            (b, y, min(y + 4, k.shape[1])) for b in range(2) for y in range(0, k.shape[1], 4)
        ],
    )
    for part in case:
        part.requires_grad_()
    out = local_convolution(*case)
    assert torch.allclose(out, naive(*case))
    got = torch.autograd.grad(out.square().sum(), case)
    expected = torch.autograd.grad(naive(*case).square().sum(), case)
    for one, other in zip(got, expected, strict=True):
        assert torch.allclose(one, other)


def test_gradients_are_exact() -> None:
    case = tuple(part.requires_grad_() for part in random_case(3, (4, 5)))
    assert torch.autograd.gradcheck(local_convolution, case)


def test_gradients_of_51_taps_equal_the_naive_ones() -> None:
    case = tuple(part.requires_grad_() for part in random_case(51, (5, 7)))
    weights = torch.linspace(-1, 1, 70, dtype=torch.float64).reshape(2, 1, 5, 7)
    got = torch.autograd.grad((local_convolution(*case) * weights).sum(), case)
    expected = torch.autograd.grad((naive(*case) * weights).sum(), case)
    for one, other in zip(got, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-9)


def test_bands_of_rows_join(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(5)
    whole = local_convolution(*case)
    monkeypatch.setattr("sff_napari.networks.local_convolution._BAND", 4)
    assert torch.equal(local_convolution(*case), whole)


def test_a_centre_tap_returns_the_image() -> None:
    image = torch.rand(1, 1, 33, 40)
    kernels = torch.zeros(1, 51, 33, 40)
    kernels[:, 25] = 1
    assert torch.equal(local_convolution(image, kernels, kernels), image)


def test_bfloat16_kernels_are_summed_in_float32() -> None:
    image = torch.rand(1, 1, 12, 12)
    kernels = torch.rand(1, 51, 12, 12).bfloat16()
    out = local_convolution(image, kernels, kernels)
    assert out.dtype == torch.float32
    assert torch.allclose(out, naive(image, kernels.float(), kernels.float()), rtol=1e-4)
