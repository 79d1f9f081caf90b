"""Predict the flow that takes a fold apart: the unfolding network (the paper, section 3.3)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from sff_napari.errors import InputError
from sff_napari.networks.blocks import as_pair, channels, checked_width, conv, initialise

_LEVELS = (32, 64, 128, 256, 512)
_DEPTH = 2 ** (len(_LEVELS) - 1)
"""How many times the bridge is smaller than what the network works on."""
FLOW_UNIT = 16.0
"""Pixels that a value of 1 in the last layer stands for.

It changes nothing in what the network can say; it lets a learning rate made for
values near 1 also serve displacements of tens of pixels.
"""
SCALES = (1, 2, 4, 8)
"""How many times the slices can be reduced that the network works on."""


class _Unit(nn.Sequential):
    """A 3 x 3 convolution, batch norm and, unless it is left out, an activation."""

    def __init__(self, source: int, target: int, slope: float | None) -> None:
        layers: list[nn.Module] = [conv(source, target), nn.BatchNorm2d(target)]
        if slope is not None:
            layers.append(nn.LeakyReLU(slope) if slope else nn.ReLU())
        super().__init__(*layers)


class _Level(nn.Module):
    """Conv + Res + Conv of Table 2: the residual block holds three convolutions."""

    def __init__(self, source: int, target: int, slope: float) -> None:
        super().__init__()
        self.first = _Unit(source, target, slope)
        self.residual = nn.Sequential(
            _Unit(target, target, slope), _Unit(target, target, slope), _Unit(target, target, None)
        )
        self.last = _Unit(target, target, slope)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return cast(Tensor, self.last(x + self.residual(x)))


class _Up(nn.Sequential):
    """A transposed convolution that doubles the image size."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__(
            nn.ConvTranspose2d(source, target, 3, stride=2, padding=1, output_padding=1),
            nn.BatchNorm2d(target),
            nn.ReLU(),
        )


class UnfoldingNetwork(nn.Module):
    """Residual U-Net of the paper's supplement, Table 2.

    Levels of 32, 64, 128 and 256 channels, a bridge of 512; max pooling down,
    transposed convolutions up, a skip is the mean of the two; batch norm, and
    LeakyReLU 0.2 on the way down.  One grey channel an image.

    Parameters
    ----------
    width : float
        Factor on all channel counts; 1 is the paper's.
    scale : {1, 2, 4, 8}
        How many times the slices are reduced that the network works on; 1 is the
        paper's.  A fold's flow is smooth: at 4 a displacement of 80 px is one of 20,
        and sixteen times as much tissue fits into the same work.

    Raises
    ------
    InputError
        If a setting is none of these.
    """

    kind = "unfolding"

    def __init__(self, width: float = 1.0, scale: int = 1) -> None:
        super().__init__()
        self.width = checked_width(width)
        self.scale = checked_scale(scale)
        self.multiple = _DEPTH * self.scale
        counts = [channels(count, self.width) for count in _LEVELS]
        self.down = nn.ModuleList(
            _Level(source, target, 0.2)
            for source, target in zip([2, *counts[:3]], counts[:4], strict=True)
        )
        self.bridge = _Level(counts[3], counts[4], 0.2)
        pairs = list(zip(counts[:0:-1], counts[-2::-1], strict=True))
        self.up = nn.ModuleList(_Up(source, target) for source, target in pairs)
        self.after_up = nn.ModuleList(_Level(target, target, 0.0) for _, target in pairs)
        self.last = conv(counts[0], 2)
        initialise(self)
        nn.init.normal_(self.last.weight, std=1e-3)

    def forward(self, damaged: Tensor, reference: Tensor, reduced: bool = False) -> Tensor:
        """Return the flow that unfolds a damaged slice.

        Parameters
        ----------
        damaged : Tensor, (B, 1, Y, X)
            Grey values in [0, 1], the fold line covered in black; any Y, X.
        reference : Tensor, (B, 1, Y, X)
            The slice interpolated from the neighbours, in [0, 1].
        reduced : bool
            Whether the images are reduced `scale` times already, as in training.
            The flow then has their shape; it is in pixels of the full slice all the same.

        Returns
        -------
        Tensor, (B, 2, Y, X)
            float32, (dy, dx) in pixels: ``unfolded(x) = damaged(x + flow(x))``.
        """
        height, width = damaged.shape[-2:]
        scale = 1 if reduced else self.scale
        x = as_pair(damaged, reference, _DEPTH * scale)
        if scale > 1:
            x = functional.avg_pool2d(x, scale)
        kept: list[Tensor] = []
        for level in self.down:
            x = level(x)
            kept.append(x)
            x = functional.max_pool2d(x, 2)
        x = self.bridge(x)
        for up, level, skip in zip(self.up, self.after_up, reversed(kept), strict=True):
            x = level((up(x) + skip) / 2)
        # Half precision would round tens of pixels to a quarter of one.
        with torch.autocast(x.device.type, enabled=False):
            flow: Tensor = self.last(x.to(self.last.weight.dtype))
        if scale > 1:
            flow = functional.interpolate(flow, scale_factor=float(scale), mode="bilinear")
        return flow[..., :height, :width] * FLOW_UNIT


def checked_scale(scale: int) -> int:
    """Return a scale the unfolding network can work at.

    Raises
    ------
    InputError
        If it is none of `SCALES`.
    """
    if scale not in SCALES:
        raise InputError(
            f"The scale of the unfolding network is {scale}: use one of "
            f"{', '.join(map(str, SCALES))}; 1 is the paper's."
        )
    return int(scale)
