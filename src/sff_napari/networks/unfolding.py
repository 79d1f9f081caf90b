"""The unfolding network: the flow that takes a fold apart (the paper, section 3.3)."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from sff_napari.networks.blocks import as_pair, channels, checked_width, conv, initialise

_LEVELS = (32, 64, 128, 256, 512)
FLOW_UNIT = 16.0
"""Pixels that a value of 1 in the last layer stands for.

It changes nothing in what the network can say; it lets a learning rate made for
values near 1 also serve displacements of tens of pixels.
"""


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
    """

    kind = "unfolding"
    multiple = 16

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.width = checked_width(width)
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

    def forward(self, damaged: Tensor, reference: Tensor) -> Tensor:
        """Return the flow that unfolds a damaged slice.

        Parameters
        ----------
        damaged : Tensor, (B, 1, Y, X)
            Grey values in [0, 1], the fold line covered in black; any Y, X.
        reference : Tensor, (B, 1, Y, X)
            The slice interpolated from the neighbours, in [0, 1].

        Returns
        -------
        Tensor, (B, 2, Y, X)
            float32, (dy, dx) in pixels: ``unfolded(x) = damaged(x + flow(x))``.
        """
        height, width = damaged.shape[-2:]
        x = as_pair(damaged, reference, self.multiple)
        kept: list[Tensor] = []
        for level in self.down:
            x = level(x)
            kept.append(x)
            x = functional.max_pool2d(x, 2)
        x = self.bridge(x)
        for up, level, skip in zip(self.up, self.after_up, reversed(kept), strict=True):
            x = level((up(x) + skip) / 2)
        flow: Tensor = self.last(x)
        flow = flow[..., :height, :width]
        return (flow if flow.dtype.itemsize > 4 else flow.float()) * FLOW_UNIT
