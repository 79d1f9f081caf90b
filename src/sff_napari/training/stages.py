"""What each stage learns: its network, its inputs from the stages before, its loss, its scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sff_napari.devices import autocast
from sff_napari.networks.weights import NETWORKS
from sff_napari.training.filling import (
    filling_distance,
    filling_losses,
    filling_picture,
    filling_scores,
)
from sff_napari.training.samples import Sample, What
from sff_napari.training.settings import NEEDS, STAGES, Precision
from sff_napari.warp import warp

Scores = dict[str, float]


def precision_context(
    precision: Precision, device: torch.device
) -> Callable[[], AbstractContextManager[object]]:
    """Return a function that makes the context networks run in."""
    if precision == "float32":
        return nullcontext
    if precision == "auto":
        return lambda: autocast(device)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float16
    return lambda: torch.autocast(device.type, dtype=dtype)


@dataclass
class Stage:
    """One stage of the training.

    Parameters
    ----------
    name : str
        One of `STAGES`.
    before : dict of str to Module
        The trained networks of the stages before it, in evaluation mode.
    context : callable
        Makes the context that networks run in, see `precision_context`.
    true_flow_share : float
        See `TrainingSettings`.
    texture : float
        See `TrainingSettings`.
    """

    name: str
    before: dict[str, nn.Module]
    context: Callable[[], AbstractContextManager[object]]
    true_flow_share: float = 0.0
    texture: float = 0.8
    index: int = field(init=False)

    def __post_init__(self) -> None:
        self.index = STAGES.index(self.name)

    @property
    def needs(self) -> tuple[str, ...]:
        """The stages whose networks this one is trained on."""
        return NEEDS[self.name]

    @property
    def what(self) -> What:
        """The samples that are needed."""
        if self.name == "filling":
            return "band"
        return "clean" if self.name == "interpolation" else "fold"

    def new_network(self, width: float, seed: int) -> nn.Module:
        """Return an untrained network with weights drawn from the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed * len(STAGES) + self.index)
            return NETWORKS[self.name](width)

    def inputs(self, batch: Sample, training: bool = False) -> tuple[Tensor, ...]:
        """Return the images the network is given, (B, 1, Y, X) each."""
        if self.name == "filling":
            return batch["unfolded"], batch["hidden"], batch["previous"], batch["following"]
        if self.name == "interpolation":
            return batch["previous"], batch["following"]
        with torch.no_grad(), self.context():
            reference = self.before["interpolation"](batch["previous"], batch["following"])
            reference = reference.clamp(0, 1)
            if self.name == "unfolding":
                return batch["damaged"], reference
            flow = self.before["unfolding"](batch["damaged"], reference)
        unfolded = warp(batch["damaged"], flow)
        given = round(self.true_flow_share * len(flow)) if training else 0
        if given:
            # Samples come in random order, so the first of a batch are as good as any.
            truth = warp(batch["damaged"][:given], batch["flow"][:given])
            truth = truth * (~batch["hidden"][:given])
            unfolded = torch.cat([truth, unfolded[given:]])
        return unfolded, reference

    def loss(self, network: nn.Module, inputs: tuple[Tensor, ...], batch: Sample) -> Tensor:
        """Return the L1 distance to the clean slice, or to the flow (the paper, section 3.3)."""
        return self.learned(self.output(network, inputs), batch)

    def output(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return what a network makes of its inputs."""
        with self.context():
            out: Tensor = network(*inputs)
        return out

    def learned(self, out: Tensor, batch: Sample) -> Tensor:
        """Return what an output adds to the loss that is learned from."""
        if self.name == "filling":
            return sum(filling_losses(out, batch).values(), out.new_zeros(()))
        return self.distance(out, batch)

    def distance(self, out: Tensor, batch: Sample) -> Tensor:
        """Return the L1 distance of an output to what it should be; for filling see there."""
        if self.name == "filling":
            return filling_distance(out, batch, self.texture)
        if self.name != "unfolding":
            return (out.float() - batch["clean"]).abs().mean()
        known = batch["known"]
        # Beyond the crop there is nothing to be found, so nothing to be learned.
        return ((out.float() - batch["flow"]).abs() * known).sum() / (2 * known.sum()).clamp(min=1)

    def scores(self, out: Tensor, inputs: tuple[Tensor, ...], batch: Sample) -> Scores:
        """Return the scores of a batch; `loss` is what is compared, and lower is better."""
        scores = {"loss": float(self.distance(out, batch))}
        if self.name == "filling":
            return scores | filling_scores(out, batch)
        if self.name == "unfolding":
            seen = batch["known"] & ~batch["hidden"]
            error = (out.float() - batch["flow"]).norm(dim=1, keepdim=True)
            length = batch["flow"].norm(dim=1, keepdim=True)
            scores["flow_error_px"] = float(error[seen].mean())
            scores["flow_error_untouched_px"] = float(length[seen].mean())
            return scores
        clean = batch["clean"]
        mean = (batch["previous"] + batch["following"]) / 2
        scores["psnr"] = psnr(out.clamp(0, 1), clean)
        scores["psnr_mean_of_neighbours"] = psnr(mean, clean)
        if self.name == "fusion":
            hidden = batch["hidden"]
            scores["psnr_hidden"] = psnr(out.clamp(0, 1), clean, hidden)
            scores["psnr_interpolated"] = psnr(inputs[1], clean)
            scores["psnr_damaged"] = psnr(batch["damaged"], clean)
        return scores

    def picture(self, out: Tensor, inputs: tuple[Tensor, ...], batch: Sample) -> list[Tensor]:
        """Return images (1, Y, X) in [0, 1] of the first sample, to be shown side by side."""
        if self.name == "interpolation":
            shown = [batch["previous"], batch["following"], out, batch["clean"]]
        elif self.name == "filling":
            shown = filling_picture(out, batch)
        elif self.name == "unfolding":
            flows = [_flow_picture(flow) for flow in (out.float(), batch["flow"])]
            shown = [batch["damaged"], warp(batch["damaged"], out.float()), batch["clean"], *flows]
        else:
            shown = [batch["damaged"], *inputs, out, batch["clean"]]
        return [image[0].float().clamp(0, 1) for image in shown]


def psnr(image: Tensor, truth: Tensor, where: Tensor | None = None) -> float:
    """Return the mean over samples of the PSNR in dB for values in [0, 1].

    Parameters
    ----------
    image, truth : Tensor, (B, 1, Y, X)
        What to compare.
    where : Tensor, (B, 1, Y, X) bool, optional
        The pixels that count; samples without any are left out.
    """
    error = (image.float() - truth).square()
    if where is None:
        means = error.mean(dim=(1, 2, 3))
    else:
        count = where.sum(dim=(1, 2, 3))
        means = ((error * where).sum(dim=(1, 2, 3)) / count.clamp(min=1))[count > 0]
    if not len(means):
        return math.nan
    return float((-10 * torch.log10(means.clamp(min=1e-10))).mean())


def _flow_picture(flow: Tensor) -> Tensor:
    """Return the length of a flow (B, 2, Y, X) as grey: 50 px is white."""
    return flow.norm(dim=1, keepdim=True) / 50
