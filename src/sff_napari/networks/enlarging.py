"""Add to an enlarged slice the detail that its low magnification cannot show."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from sff_napari.errors import InputError
from sff_napari.networks.blocks import (
    Residual,
    channels,
    checked_width,
    conv,
    initialise,
    soften_residuals,
)

_BLOCKS = (1, 2, 2)
_UNSHUFFLE = 4


class EnlargingNetwork(nn.Module):
    """A residual U-Net on a quarter of the resolution, for one slice among its neighbours.

    The last convolution gives the pixels of a block as channels; nothing narrower, and
    no rectifier, lies before it.

    Parameters
    ----------
    width : float
        Multiplies the channel counts.

    Raises
    ------
    InputError
        If the width is not in (0, 8].
    """

    kind = "enlarging"
    multiple = 16
    factors = (4, 8)
    """By how much it enlarges: each has a first and a last layer of its own."""
    levels: tuple[int, ...] = (72, 104, 112)
    """Channels at a quarter, an eighth and a sixteenth of the resolution."""
    images = 5
    """Images it takes: the enlarged low slice, the mean of the neighbours with its low band
    replaced, the two neighbours, and how far they lie from the low slice."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.width = checked_width(width)
        counts = [channels(count, self.width) for count in self.levels]
        block = _UNSHUFFLE**2
        self.first = nn.ModuleList(conv(self.images * block, counts[0]) for _ in self.factors)
        self.before = nn.ModuleList(
            _residuals(count, number) for count, number in zip(counts, _BLOCKS, strict=True)
        )
        self.down = nn.ModuleList(
            nn.Conv2d(source, target, kernel_size=2, stride=2)
            for source, target in pairwise(counts)
        )
        self.up = nn.ModuleList(
            nn.Conv2d(source, target, kernel_size=1) for target, source in pairwise(counts)
        )
        self.after = nn.ModuleList(
            _residuals(count, number)
            for count, number in zip(counts[:-1], _BLOCKS[:-1], strict=True)
        )
        self.last = nn.ModuleList(conv(counts[0], 2 * block) for _ in self.factors)
        initialise(self)
        soften_residuals(self)
        with torch.no_grad():
            for layer in self.last.children():
                assert isinstance(layer, nn.Conv2d)
                layer.weight.mul_(0.05)

    def forward(self, images: Tensor, factor: int) -> Tensor:
        """Return what to add to the enlarged slice, and how sure that is.

        Parameters
        ----------
        images : Tensor, (B, images, Y, X)
            Grey values of mean about 0 and spread about 1; sides are multiples of 16.
        factor : int
            By how much the slices are enlarged, one of `factors`.

        Returns
        -------
        Tensor, (B, 2, Y, X)
            float32: the detail, and the natural logarithm of the variance of its error.

        Raises
        ------
        InputError
            If the factor, the number of images or their sides do not fit.
        """
        height, width = images.shape[-2:]
        if factor not in self.factors:
            raise InputError(
                f"The enlarging network knows the factors {self.factors}, not {factor}."
            )
        if images.shape[1] != self.images or height % self.multiple or width % self.multiple:
            raise InputError(
                f"The enlarging network needs {self.images} images with sides that are multiples "
                f"of {self.multiple}, not {tuple(images.shape[1:])}."
            )
        end = self.factors.index(factor)
        x = self.first[end](functional.pixel_unshuffle(images, _UNSHUFFLE))
        kept: list[Tensor] = []
        for index, block in enumerate(self.before):
            x = block(x if index == 0 else self.down[index - 1](x))
            kept.append(x)
        for smaller, block, skip in zip(
            reversed(self.up), reversed(self.after), kept[-2::-1], strict=True
        ):
            x = functional.interpolate(smaller(x), scale_factor=2.0, mode="nearest")
            x = block(x + skip)
        detail, doubt = functional.pixel_shuffle(self.last[end](x), _UNSHUFFLE).float().split(1, 1)
        return torch.cat([detail, doubt.clamp(-6, 3)], dim=1)


class StackEnlargingNetwork(EnlargingNetwork):
    """The same for a slice of a stack that is all at low magnification.

    It takes the slice and two before and after it, each enlarged, in their order.
    """

    kind = "enlarging_stack"
    levels = (32, 48, 80)


def _residuals(count: int, number: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(count) for _ in range(number)))
