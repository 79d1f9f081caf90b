"""Share among the networks channel counts, convolutions, padding to any slice size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from sff_napari.errors import InputError

MIN_CHANNELS = 4
"""Fewest channels of a hidden layer, however small the width multiplier."""


def channels(count: int, width: float) -> int:
    """Return the channel count of a layer that has `count` in the paper."""
    return count if width == 1.0 else max(MIN_CHANNELS, round(count * width))


def checked_width(width: float) -> float:
    """Return a width multiplier that can be used.

    Raises
    ------
    InputError
        If it is not a number in (0, 8].
    """
    if not 0 < float(width) <= 8:
        raise InputError(
            f"The width multiplier is {width}: choose a number above 0, 1 is the paper's."
        )
    return float(width)


def conv(source: int, target: int) -> nn.Conv2d:
    """Return a 3 x 3 convolution that keeps the image size."""
    return nn.Conv2d(source, target, kernel_size=3, padding=1)


def conv_stack(counts: Sequence[int], activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Return 3 x 3 convolutions through these channel counts, an activation after each."""
    layers: list[nn.Module] = []
    for source, target in pairwise(counts):
        layers += [conv(source, target), activation()]
    return nn.Sequential(*layers)


def initialise(network: nn.Module) -> None:
    """Draw the weights of every convolution after He et al., biases zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, a=0.1)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def as_pair(first: Tensor, second: Tensor, multiple: int) -> Tensor:
    """Return two images as channels of one, padded at the end to a multiple of a size.

    Parameters
    ----------
    first, second : Tensor, (B, 1, Y, X)
        Images of equal shape.
    multiple : int
        What the padded height and width are multiples of.

    Returns
    -------
    Tensor, (B, 2, Y', X')
        Padded by reflection, or with edge values where the image is too small for that.

    Raises
    ------
    InputError
        If the shapes differ or are not (B, 1, Y, X).
    """
    if first.shape != second.shape or first.dim() != 4 or first.shape[1] != 1:
        raise InputError(
            f"The network needs two images of the same shape (B, 1, Y, X), "
            f"not {tuple(first.shape)} and {tuple(second.shape)}."
        )
    pair = torch.cat([first, second], dim=1)
    height, width = first.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if not (below or right):
        return pair
    mode = "reflect" if below < height and right < width else "replicate"
    return functional.pad(pair, (0, right, 0, below), mode=mode)


class Residual(nn.Module):
    """Two convolutions whose result is added to their input.

    Parameters
    ----------
    count : int
        Channels.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.first = conv(count, count)
        self.second = conv(count, count)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (B, C, Y, X) and what is added to it."""
        change = self.second(functional.relu(self.first(functional.relu(x))))
        return cast(Tensor, x + change)


def soften_residuals(network: nn.Module, by: float = 0.1) -> None:
    """Let every `Residual` of a network start near the identity."""
    with torch.no_grad():
        for block in network.modules():
            if isinstance(block, Residual):
                block.second.weight.mul_(by)
