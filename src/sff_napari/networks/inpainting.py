"""Fill what a fold swallowed, from the slice around it and both neighbours.

Not part of the paper, whose fusion network sees one interpolated slice.  Seeing both
neighbours apart and the tissue on both sides of the hidden band, it can continue
membranes into the band and follow what moved from slice to slice.
"""

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

_LEVELS = (32, 64, 96, 128)
"""Channels at a half, a quarter, an eighth and a sixteenth of the resolution."""


class FillingNetwork(nn.Module):
    """A residual U-Net on half the resolution that predicts hidden tissue.

    It starts, untrained, as the mean of the two neighbours.

    Parameters
    ----------
    width : float
        Multiplies the channel counts.

    Raises
    ------
    InputError
        If the width is not in (0, 8].
    """

    kind = "filling"
    multiple = 16

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.width = checked_width(width)
        counts = [channels(count, self.width) for count in _LEVELS]
        self.first = conv(16, counts[0])
        self.down = nn.ModuleList(
            nn.Conv2d(source, target, kernel_size=2, stride=2)
            for source, target in pairwise(counts)
        )
        self.before = nn.ModuleList(Residual(count) for count in counts)
        self.deepest = Residual(counts[-1])
        self.up = nn.ModuleList(
            nn.Conv2d(source, target, kernel_size=1)
            for source, target in zip(counts[:0:-1], counts[-2::-1], strict=True)
        )
        self.after = nn.ModuleList(Residual(count) for count in counts[-2::-1])
        self.last = conv(counts[0], 12)
        initialise(self)
        with torch.no_grad():
            self.last.weight.mul_(0.01)
        soften_residuals(self)

    def forward(
        self, unfolded: Tensor, hidden: Tensor, previous: Tensor, following: Tensor
    ) -> Tensor:
        """Return what to expect where tissue is hidden.

        Parameters
        ----------
        unfolded : Tensor, (B, 1, Y, X)
            The unfolded slice; what stands in hidden places does not count.
        hidden : Tensor, (B, 1, Y, X)
            True or 1 where there is no source.
        previous, following : Tensor, (B, 1, Y, X)
            The neighbours, moved to where the slice lies; the same image twice if
            there is one.  All in grey values of mean about 0 and spread about 1.

        Returns
        -------
        Tensor, (B, 3, Y, X)
            float32, in the same grey values: what is expected on average, which is as
            blurred as the tissue is uncertain; the same with the fine detail that
            tissue has; the natural logarithm of the variance of the first.

        Raises
        ------
        InputError
            If the sides are not multiples of 16 or the shapes differ.
        """
        shapes = {tuple(image.shape) for image in (unfolded, hidden, previous, following)}
        height, width = unfolded.shape[-2:]
        if len(shapes) > 1 or height % self.multiple or width % self.multiple:
            raise InputError(
                "The filling network needs images of one shape with sides that are multiples of "
                f"{self.multiple}, not {' and '.join(map(str, sorted(shapes)))}."
            )
        mask = hidden.to(unfolded.dtype)
        seen = torch.where(hidden.bool(), torch.zeros_like(unfolded), unfolded)
        x = torch.cat([previous, following, seen, mask], dim=1)
        x = self.first(functional.pixel_unshuffle(x, 2))
        kept: list[Tensor] = []
        for index, block in enumerate(self.before):
            x = block(x if index == 0 else self.down[index - 1](x))
            kept.append(x)
        x = self.deepest(x)
        for smaller, block, skip in zip(self.up, self.after, kept[-2::-1], strict=True):
            x = functional.interpolate(smaller(x), scale_factor=2.0, mode="nearest")
            x = block(x + skip)
        change, detail, doubt = functional.pixel_shuffle(self.last(x), 2).float().split(1, dim=1)
        expected = (previous + following).float() / 2 + change
        # Detail must not pull what is expected towards it.
        return torch.cat([expected, expected.detach() + detail, doubt.clamp(-6, 3)], dim=1)
