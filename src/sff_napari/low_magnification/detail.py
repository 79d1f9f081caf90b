"""Let a network add the detail that a low-magnification slice lacks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sff_napari.devices import autocast
from sff_napari.low_magnification.aligned import Aligned
from sff_napari.low_magnification.resampling import back_project, enlarge_cubic
from sff_napari.networks import EnlargingNetwork, StackEnlargingNetwork
from sff_napari.progress import Reporter
from sff_napari.tiling import grown, tiles

_TILE = 768
_HALO = 96


def images_for(aligned: Aligned, network: EnlargingNetwork) -> Tensor:
    """Return what the network takes, (1, images, Y, X)."""
    if isinstance(network, StackEnlargingNetwork):
        half = len(aligned.neighbours) // 2
        before, after = aligned.neighbours[:half], aligned.neighbours[half:]
        return torch.cat([*before, aligned.base, *after], dim=1)
    apart = F.interpolate(aligned.disagreement(), scale_factor=aligned.factor, mode="nearest")
    return torch.cat([aligned.base, aligned.mean_with_low(), *aligned.neighbours, apart], dim=1)


def add_detail(
    aligned: Aligned,
    network: EnlargingNetwork,
    device: torch.device,
    reporter: Reporter,
) -> tuple[Tensor, Tensor]:
    """Return a slice with the detail a network expects, and the variance of its error.

    Parameters
    ----------
    aligned : Aligned
        The slice and its neighbours.
    network : EnlargingNetwork
        On `device`, in evaluation mode.
    device : torch.device
        Where it computes.
    reporter : Reporter
        Told of progress.

    Returns
    -------
    image, variance : Tensor, (1, 1, Y, X)
        On the processor, in working values; `image` reduces to the low slice.
    """
    if aligned.factor not in network.factors:
        known = at_factor(aligned, nearest_factor(aligned.factor, network.factors))
        image, variance = add_detail(known, network, device, reporter)
        size = aligned.base.shape[-2:]
        image = back_project(resized(image, size), aligned.low, aligned.factor)
        return image, resized(variance, size).clamp_min(0)
    images = images_for(aligned, network)
    height, width = images.shape[-2:]
    made = torch.zeros((2, height, width))
    parts = list(tiles((height, width), _TILE))
    halo = -(-_HALO // network.multiple) * network.multiple
    for done, (rows, columns) in enumerate(parts):
        reporter(done / len(parts), "adding detail")
        outer, inner = grown(rows, columns, (height, width), halo, network.multiple)
        found = _run(network, images[..., outer[0], outer[1]], aligned.factor, device)
        made[:, rows, columns] = found[0, :, inner[0], inner[1]]
    detail, variance = made[None, :1], made[None, 1:]
    return back_project(aligned.base + detail, aligned.low, aligned.factor), variance


def nearest_factor(factor: int, known: Sequence[int]) -> int:
    """Return which of the factors that a network knows is nearest to one that it does not."""
    return min(known, key=lambda one: abs(math.log(one / factor)))


def at_factor(aligned: Aligned, factor: int) -> Aligned:
    """Return the same slice and neighbours in a frame of another factor."""
    size = (aligned.low.shape[-2] * factor, aligned.low.shape[-1] * factor)
    base = back_project(enlarge_cubic(aligned.low, factor), aligned.low, factor)
    neighbours = tuple(resized(one, size) for one in aligned.neighbours)
    return replace(aligned, factor=factor, base=base, neighbours=neighbours)


def resized(image: Tensor, size: Sequence[int]) -> Tensor:
    """Return an image (1, 1, Y, X) at another size, by area if smaller, else by cubics."""
    if size[0] < image.shape[-2]:
        return F.interpolate(image, size=tuple(size), mode="area")
    return F.interpolate(image, size=tuple(size), mode="bicubic", align_corners=False)


def _run(network: EnlargingNetwork, images: Tensor, factor: int, device: torch.device) -> Tensor:
    """Return the detail and the variance of its error, (1, 2, Y, X), of images of any size."""
    height, width = images.shape[-2:]
    below, right = -height % network.multiple, -width % network.multiple
    padded = F.pad(images, (0, right, 0, below), mode="replicate").to(device)
    padded = padded.contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), autocast(device):
        found = network(padded, factor)
    detail, doubt = found.float().cpu()[..., :height, :width].split(1, dim=1)
    return torch.cat([detail, doubt.exp()], dim=1)
