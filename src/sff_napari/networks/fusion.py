"""Fill what unfolding cannot bring back: the fusion network (the paper, section 3.3)."""

from __future__ import annotations

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

_LEVELS = (32, 64, 128)


class FusionNetwork(nn.Module):
    """Small U-Net of the paper's supplement, Table 3.

    Levels of 32, 64 and 128 channels with two convolutions each and max pooling;
    transposed convolutions up, concatenating skips; the last two convolutions
    end in one grey channel.  ReLU after every convolution but the last.

    Parameters
    ----------
    width : float
        Factor on all channel counts; 1 is the paper's.
    """

    kind = "fusion"
    multiple = 8

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.width = checked_width(width)
        c1, c2, c3 = (channels(count, self.width) for count in _LEVELS)
        self.down = nn.ModuleList(
            conv_stack([source, target, target]) for source, target in ((2, c1), (c1, c2), (c2, c3))
        )
        self.up = nn.ModuleList(
            conv_stack([source, target, target])
            for source, target in ((c3, c3), (2 * c3, c3), (2 * c2, c2))
        )
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose2d(source, target, 2, stride=2)
            for source, target in ((c3, c3), (c3, c2), (c2, c1))
        )
        self.output = nn.Sequential(conv(2 * c1, c1), nn.ReLU(), conv(c1, 1))
        initialise(self)
        self._start_near_the_mean(c1)

    def _start_near_the_mean(self, skip: int) -> None:
        """Let two channels of the outer skip carry the two images, and average them.

        Only the starting weights: the layers are Table 3's.
        """
        first, second = (layer for layer in self.down[0].children() if isinstance(layer, nn.Conv2d))
        before_last, last = (layer for layer in self.output if isinstance(layer, nn.Conv2d))
        with torch.no_grad():
            for c in (0, 1):
                for layer, source in ((first, c), (second, c), (before_last, skip + c)):
                    layer.weight[c].zero_()
                    layer.weight[c, source, 1, 1] = 1
            last.weight.mul_(0.05)
            last.weight[0, :2, 1, 1] = 0.5

    def forward(self, unfolded: Tensor, reference: Tensor) -> Tensor:
        """Return the restored slice.

        Parameters
        ----------
        unfolded : Tensor, (B, 1, Y, X)
            Grey values in [0, 1], 0 where there is no source; any Y, X.
        reference : Tensor, (B, 1, Y, X)
            The slice interpolated from the neighbours, in [0, 1].

        Returns
        -------
        Tensor, (B, 1, Y, X)
            float32, not clipped.
        """
        height, width = unfolded.shape[-2:]
        x = as_pair(unfolded, reference, self.multiple)
        kept: list[Tensor] = []
        for block in self.down:
            x = block(x)
            kept.append(x)
            x = functional.max_pool2d(x, 2)
        for block, enlarge, skip in zip(self.up, self.enlarge, reversed(kept), strict=True):
            x = torch.cat([enlarge(block(x)), skip], dim=1)
        out: Tensor = self.output(x)
        out = out[..., :height, :width]
        return out if out.dtype.itemsize > 4 else out.float()
