"""What the stages are given, what they are compared with."""

from __future__ import annotations

import math
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from sff_napari.errors import InputError
from sff_napari.networks import FusionNetwork, InterpolationNetwork, UnfoldingNetwork
from sff_napari.training.parallel import Ranks, ranks
from sff_napari.training.stages import Stage, psnr


class Gives(nn.Module):
    """A network that gives a fixed value."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the value for every sample."""
        return self.value.expand(len(first), *self.value.shape[1:])


@pytest.fixture
def batch() -> dict[str, Tensor]:
    """Return two samples of 16 x 16 px with a flow of 3 px to the right."""
    draw = torch.Generator().manual_seed(0)
    images = torch.rand((4, 2, 1, 16, 16), generator=draw)
    flow = torch.zeros(2, 2, 16, 16)
    flow[:, 1] = 3
    known = torch.ones(2, 1, 16, 16, dtype=torch.bool)
    known[..., -3:] = False
    hidden = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    hidden[:, :, :4] = True
    names = ("previous", "clean", "following", "damaged")
    return dict(zip(names, images, strict=True)) | {"flow": flow, "known": known, "hidden": hidden}


def stage(name: str, share: float = 0.0, flow: float = 0.0) -> Stage:
    """Return a stage after networks that give 0.25 and a constant flow."""
    before = {
        "interpolation": Gives(torch.full((1, 1, 16, 16), 0.25)),
        "unfolding": Gives(torch.full((1, 2, 16, 16), flow)),
    }
    return Stage(name, before, nullcontext, share)


def test_each_stage_is_given_what_the_one_before_makes(batch: dict[str, Tensor]) -> None:
    first, second = stage("interpolation").inputs(batch)
    assert first is batch["previous"]
    assert second is batch["following"]
    first, second = stage("unfolding").inputs(batch)
    assert first is batch["damaged"]
    assert float(second.mean()) == 0.25
    first, second = stage("fusion", flow=0.0).inputs(batch)
    assert torch.allclose(first, batch["damaged"], atol=1e-5)
    moved, _ = stage("fusion", flow=2.0).inputs(batch)
    assert torch.allclose(moved[..., :-2, :-2], batch["damaged"][..., 2:, 2:], atol=1e-5)


def test_a_share_of_fusion_samples_gets_the_true_flow(batch: dict[str, Tensor]) -> None:
    mixed, _ = stage("fusion", share=0.5).inputs(batch, training=True)
    assert torch.allclose(mixed[0, :, 4:, :-3], batch["damaged"][0, :, 4:, 3:], atol=1e-5)
    assert float(mixed[0, :, :4].abs().max()) == 0
    assert torch.allclose(mixed[1], batch["damaged"][1], atol=1e-5)
    plain, _ = stage("fusion", share=0.5).inputs(batch)
    assert torch.allclose(plain, batch["damaged"], atol=1e-5)


def test_the_losses_are_l1(batch: dict[str, Tensor]) -> None:
    for name in ("interpolation", "fusion"):
        loss = stage(name).distance(batch["clean"] + 0.125, batch)
        assert float(loss) == pytest.approx(0.125, rel=1e-5)
    out = batch["flow"].clone()
    assert float(stage("unfolding").distance(out, batch)) == 0
    out[:, 0] += 4
    assert float(stage("unfolding").distance(out, batch)) == pytest.approx(2)
    out = batch["flow"].clone()
    out[..., -3:] = 100  # leads out of the crop, so it does not count
    assert float(stage("unfolding").distance(out, batch)) == 0


def test_the_scores(batch: dict[str, Tensor]) -> None:
    unfolding = stage("unfolding")
    scores = unfolding.scores(torch.zeros(2, 2, 16, 16), unfolding.inputs(batch), batch)
    assert scores["flow_error_px"] == pytest.approx(3)
    assert scores["flow_error_untouched_px"] == pytest.approx(3)
    fusion = stage("fusion")
    out = batch["clean"].clone()
    out[:, :, :4] = (out[:, :, :4] - 0.5) * 0.8 + 0.5
    scores = fusion.scores(out, fusion.inputs(batch), batch)
    assert scores["psnr_hidden"] == pytest.approx(scores["psnr"] - 10 * math.log10(4), abs=1e-3)


def test_psnr() -> None:
    truth = torch.zeros(2, 1, 8, 8)
    image = torch.zeros(2, 1, 8, 8)
    image[0], image[1] = 0.1, 0.01
    assert psnr(image, truth) == pytest.approx(30, abs=1e-3)
    where = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    assert psnr(image, truth, where) != psnr(image, truth, where)
    where[1, :, 0] = True
    assert psnr(image, truth, where) == pytest.approx(40, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("interpolation", InterpolationNetwork),
        ("unfolding", UnfoldingNetwork),
        ("fusion", FusionNetwork),
    ],
)
def test_the_seed_gives_the_starting_weights(name: str, kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    made = [stage(name).new_network(0.05, seed) for seed in (3, 3, 4)]
    assert torch.equal(torch.get_rng_state(), state)
    first, same, other = (next(network.parameters()) for network in made)
    assert isinstance(made[0], kind)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_a_batch_is_shared_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with ranks("cpu") as alone:
        assert alone.share_of(7) == 7
        assert alone.agree(1.5, 2.0) == (1.5, 2.0)
        assert alone.any(True)
        assert not alone.any(False)
    four = Ranks(1, 4, torch.device("cpu"))
    assert four.share_of(32) == 8
    with pytest.raises(InputError, match="batch of 6 cannot be split"):
        four.share_of(6)
