"""The filling network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sff_napari.errors import InputError
from sff_napari.networks import FillingNetwork, weights
from sff_napari.simulation import neuropil


def made(width: float = 0.125) -> FillingNetwork:
    """Return a network with fixed weights."""
    torch.manual_seed(0)
    return FillingNetwork(width)


def images(side: int = 64, batch: int = 1) -> list[Tensor]:
    """Return an unfolded slice, a mask of a band, and two neighbours."""
    draw = torch.Generator().manual_seed(side)
    unfolded, previous, following = torch.randn((3, batch, 1, side, side), generator=draw)
    hidden = torch.zeros(batch, 1, side, side, dtype=torch.bool)
    hidden[..., side // 4 : side // 2] = True
    return [unfolded, hidden, previous, following]


@pytest.mark.parametrize("side", [16, 48, 192])
def test_three_planes_of_the_same_size(side: int) -> None:
    with torch.no_grad():
        out = made()(*images(side, batch=2))
    assert out.shape == (2, 3, side, side)
    assert out.dtype == torch.float32
    assert bool(torch.isfinite(out).all())


def test_untrained_it_expects_the_mean() -> None:
    unfolded, hidden, previous, following = images()
    with torch.no_grad():
        out = made()(unfolded, hidden, previous, following)
    assert float((out[:, :1] - (previous + following) / 2).abs().mean()) < 0.3


def test_what_stands_in_hidden_places_does_not_count() -> None:
    unfolded, hidden, previous, following = images()
    other = torch.where(hidden, torch.full_like(unfolded, torch.nan), unfolded)
    with torch.no_grad():
        first = made()(unfolded, hidden, previous, following)
        second = made()(other, hidden, previous, following)
        third = made()(unfolded + 1, hidden, previous, following)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_detail_does_not_pull_what_is_expected() -> None:
    network = made()
    out = network(*images())
    out[:, 1].square().mean().backward()
    change, detail, _ = network.last.weight.grad.reshape(3, 4, -1)
    assert float(change.abs().max()) == 0
    assert float(detail.abs().max()) > 0


@pytest.mark.parametrize("side", [40, 17])
def test_sides_it_cannot_halve_are_refused(side: int) -> None:
    with pytest.raises(InputError, match="multiples of 16"):
        made()(*images(side))


def test_images_of_different_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="one shape"):
        made()(*images(32)[:3], images(48)[3])


def test_bfloat16_agrees_with_float32() -> None:
    network = made(0.5).eval()
    nn.init.normal_(network.last.weight, std=0.02)
    with torch.no_grad():
        exact = network(*images())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = network(*images())
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    assert float((rounded - exact).square().mean().sqrt()) < 0.02 * float(exact.std())


def test_the_bundled_weights_beat_the_mean_where_tissue_is_hidden() -> None:
    """On tissue it has never seen, drawn by the generator."""
    stack = neuropil((3, 192, 192), seed=12).astype(np.float32)
    stack = (stack - stack[::2].mean()) / stack[::2].std()
    previous, clean, following = (torch.from_numpy(one)[None, None] for one in stack)
    hidden = torch.zeros_like(clean, dtype=torch.bool)
    hidden[..., 70:122] = True
    with torch.no_grad():
        out = weights.load("filling")(clean, hidden, previous, following)
    expected, textured, doubt = (plane[hidden[0]] for plane in out[0][:, None])
    truth, mean = clean[hidden], ((previous + following) / 2)[hidden]
    error = (expected - truth).square()
    assert float(error.mean()) < 0.95 * float((mean - truth).square().mean())
    assert float((textured - truth).square().mean()) > float(error.mean())
    # It is right about how far off it is, within a factor of two.
    assert 0.5 < float(doubt.exp().mean() / error.mean()) < 2
