"""Guess a slice from its two neighbours: the interpolation network (the paper, section 3.3)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from sff_napari.networks.blocks import (
    as_pair,
    channels,
    checked_width,
    conv,
    conv_stack,
    initialise,
)
from sff_napari.networks.local_convolution import TAPS, local_convolution

_LEVELS = (32, 64, 128, 256, 512)
_START_SIGMA = 1.5
"""Width, in pixels, of the kernels before training."""


class InterpolationNetwork(nn.Module):
    """Kernel prediction network of the paper's supplement, Table 1.

    Five levels of three convolutions and average pooling (32 to 512 channels);
    back up three convolutions, bilinear upsampling, one convolution, and the
    sum with what the level held before its pooling; four heads of 51 channels:
    a vertical and a horizontal kernel a pixel for each neighbour.  ReLU after
    every convolution but the last of each head, whose values are kernel taps
    and may be negative.  One grey channel an image.

    Parameters
    ----------
    width : float
        Factor on all channel counts; 1 is the paper's.
    """

    kind = "interpolation"
    multiple = 32

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.width = checked_width(width)
        counts = [channels(count, self.width) for count in _LEVELS]
        hidden = channels(TAPS, self.width)
        self.down = nn.ModuleList(
            conv_stack([source, target, target, target])
            for source, target in zip([2, *counts[:-1]], counts, strict=True)
        )
        sources = [counts[4], *counts[:1:-1]]
        targets = counts[:0:-1]
        self.up = nn.ModuleList(
            conv_stack([source, target, target, target])
            for source, target in zip(sources, targets, strict=True)
        )
        self.after_up = nn.ModuleList(conv_stack([target, target]) for target in targets)
        self.heads = nn.ModuleList(
            conv_stack([counts[1], counts[1], counts[1], hidden]) for _ in range(4)
        )
        self.taps = nn.ModuleList(conv(hidden, TAPS) for _ in range(4))
        initialise(self)
        self._start_near_the_mean()

    def _start_near_the_mean(self) -> None:
        """Make the kernels start as half a narrow Gaussian for each neighbour."""
        place = torch.arange(TAPS, dtype=torch.float64) - TAPS // 2
        start = torch.exp(-(place**2) / (2 * _START_SIGMA**2))
        start = start / start.sum() * 0.5**0.5
        with torch.no_grad():
            for layer in self.taps:
                assert isinstance(layer, nn.Conv2d)
                assert layer.bias is not None
                layer.bias.copy_(start)
                layer.weight.mul_(0.01)

    def _features(self, pair: Tensor) -> Tensor:
        """Return features (B, C, Y / 2, X / 2) of a padded pair (B, 2, Y, X)."""
        kept: list[Tensor] = []
        x = pair
        for block in self.down:
            x = block(x)
            kept.append(x)
            x = functional.avg_pool2d(x, 2)
        for block, after, skip in zip(self.up, self.after_up, kept[:0:-1], strict=True):
            x = after(_twice(block(x))) + skip
        return x

    def _kernels(self, head: int, features: Tensor) -> Tensor:
        """Return the kernels (B, 51, Y, X) of one head, the taps of a pixel side by side."""
        # The local convolution wants a pixel's taps together; made so, they need no reordering.
        hidden = _twice(self.heads[head](features)).contiguous(memory_format=torch.channels_last)
        return cast(Tensor, self.taps[head](hidden))

    def forward(self, previous: Tensor, following: Tensor) -> Tensor:
        """Return the slice between two slices.

        Parameters
        ----------
        previous, following : Tensor, (B, 1, Y, X)
            Grey values in [0, 1]; any Y, X.

        Returns
        -------
        Tensor, (B, 1, Y, X)
            float32, not clipped.
        """
        height, width = previous.shape[-2:]
        features = self._features(as_pair(previous, following, self.multiple))
        out: Tensor | None = None
        # One neighbour after the other: its 102 values a pixel are what takes the memory.
        for image, first in ((previous, 0), (following, 2)):
            vertical, horizontal = (
                self._kernels(i, features)[..., :height, :width] for i in (first, first + 1)
            )
            part = local_convolution(image, vertical, horizontal)
            out = part if out is None else out + part
        assert out is not None
        return out


def _twice(x: Tensor) -> Tensor:
    """Return `x` bilinearly enlarged by two."""
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
