"""Define what each stage learns: its network, its inputs, its loss, its scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sff_napari.devices import autocast
from sff_napari.networks.weights import new_network
from sff_napari.training.inpainting import (
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
    scale : int
        Of the unfolding network that is trained, or used.  Above 1 samples are large
        crops whose reference was made beforehand (`paired`): reduced ones for the
        unfolding network, whole ones for fusion, which learns on their middle.
    """

    name: str
    before: dict[str, nn.Module]
    context: Callable[[], AbstractContextManager[object]]
    true_flow_share: float = 0.0
    texture: float = 0.8
    scale: int = 1
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
        if self.is_paired:
            return "pair"
        return "clean" if self.name == "interpolation" else "fold"

    @property
    def is_paired(self) -> bool:
        """Whether samples hold the reference, made beforehand."""
        return self.scale > 1 and self.name in ("unfolding", "fusion")

    @property
    def step(self) -> int:
        """How many times the samples are reduced."""
        return self.scale if self.name == "unfolding" else 1

    def new_network(self, width: float, seed: int) -> nn.Module:
        """Return an untrained network with weights drawn from the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed * len(STAGES) + self.index)
            return new_network(self.name, width, self.step)

    def inputs(self, batch: Sample, training: bool = False) -> tuple[Tensor, ...]:
        """Return the images the network is given, (B, 1, Y, X) each."""
        if self.name == "filling":
            return batch["unfolded"], batch["hidden"], batch["previous"], batch["following"]
        if self.name == "interpolation":
            return batch["previous"], batch["following"]
        with torch.no_grad(), self.context():
            reference = batch.get("reference")
            if reference is None:
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
        if self.is_paired:
            # The unfolding network needs to see far; fusion does not.
            return middle(unfolded), middle(reference)
        return unfolded, reference

    def loss(self, network: nn.Module, inputs: tuple[Tensor, ...], batch: Sample) -> Tensor:
        """Return the L1 distance to the clean slice, or to the flow (the paper, section 3.3)."""
        return self.learned(self.output(network, inputs), batch)

    def output(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return what a network makes of its inputs."""
        options = {"reduced": True} if self.step > 1 else {}
        with self.context():
            out: Tensor = network(*inputs, **options)
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
            return (out.float() - self._judged(batch, "clean")).abs().mean()
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
        clean = self._judged(batch, "clean")
        scores["psnr"] = psnr(out.clamp(0, 1), clean)
        if "previous" in batch:
            mean = (batch["previous"] + batch["following"]) / 2
            scores["psnr_mean_of_neighbours"] = psnr(mean, clean)
        if self.name == "fusion":
            hidden = self._judged(batch, "hidden")
            scores["psnr_hidden"] = psnr(out.clamp(0, 1), clean, hidden)
            scores["psnr_interpolated"] = psnr(inputs[1], clean)
            scores["psnr_damaged"] = psnr(self._judged(batch, "damaged"), clean)
        return scores

    def _judged(self, batch: Sample, name: str) -> Tensor:
        """Return an image of a batch where the network's output lies."""
        image = batch[name]
        return middle(image) if self.name == "fusion" and self.is_paired else image

    def picture(self, out: Tensor, inputs: tuple[Tensor, ...], batch: Sample) -> list[Tensor]:
        """Return images (1, Y, X) in [0, 1] of the first sample, to be shown side by side."""
        if self.name == "interpolation":
            shown = [batch["previous"], batch["following"], out, batch["clean"]]
        elif self.name == "filling":
            shown = filling_picture(out, batch)
        elif self.name == "unfolding":
            flows = [_flow_picture(flow) for flow in (out.float(), batch["flow"])]
            unfolded = warp(batch["damaged"], out.float() / self.step)
            shown = [batch["damaged"], unfolded, batch["clean"], *flows]
        else:
            ends = [self._judged(batch, name) for name in ("damaged", "clean")]
            shown = [ends[0], *inputs, out, ends[1]]
        return [image[0].float().clamp(0, 1) for image in shown]


def middle(image: Tensor) -> Tensor:
    """Return the middle of images (B, C, Y, X): half their height and width."""
    height, width = image.shape[-2:]
    top, left = height // 4, width // 4
    return image[..., top : top + height // 2, left : left + width // 2]


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
