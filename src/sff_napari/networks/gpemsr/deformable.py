"""Convolve features at displaced places, in plain PyTorch, and align slices by it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sff_napari.networks.blocks import conv
from sff_napari.warp import sample

_TAPS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
LEVELS = 3


class DeformableConv(nn.Module):
    """A 3 x 3 convolution whose taps are displaced, each group of channels by itself.

    Parameters
    ----------
    count : int
        Channels, in and out.
    groups : int
        Groups of channels that are displaced alike.
    """

    def __init__(self, count: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.mix = nn.Conv2d(len(_TAPS) * count, count, kernel_size=1)

    @property
    def offsets(self) -> int:
        """Channels of the displacements: (dy, dx) of each tap of each group."""
        return 2 * len(_TAPS) * self.groups

    def forward(self, features: Tensor, offsets: Tensor) -> Tensor:
        """Return features (B, C, Y, X) convolved at displaced places.

        Parameters
        ----------
        features : Tensor, (B, C, Y, X)
            What is read.
        offsets : Tensor, (B, offsets, Y, X)
            In px: (dy, dx) of each tap, of each group.
        """
        batch, count, height, width = features.shape
        grouped = features.reshape(batch * self.groups, count // self.groups, height, width)
        moves = offsets.reshape(batch * self.groups, len(_TAPS), 2, height, width)
        y = torch.arange(height, device=features.device, dtype=moves.dtype)[:, None]
        x = torch.arange(width, device=features.device, dtype=moves.dtype)[None]
        read = [
            sample(grouped, y + dy + moves[:, tap, 0], x + dx + moves[:, tap, 1], padding="zeros")
            for tap, (dy, dx) in enumerate(_TAPS)
        ]
        taps = [part.reshape(batch, count, height, width) for part in read]
        out: Tensor = self.mix(torch.cat(taps, dim=1))
        return out


class PyramidAlignment(nn.Module):
    """Brings the features of a slice onto those of the middle one, coarse to fine.

    Parameters
    ----------
    features, groups : int
        Channels, and groups of them that are displaced alike.
    """

    def __init__(self, features: int, groups: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(DeformableConv(features, groups) for _ in range(LEVELS))
        offsets = 2 * len(_TAPS) * groups
        self._repeats = offsets // 2
        # Images and features of both slices, and the flows there and back.
        self.look = nn.ModuleList(conv(2 + 2 * features + 4, features) for _ in range(LEVELS))
        self.offsets = nn.ModuleList(
            conv(features + (offsets if level < LEVELS - 1 else 0), offsets)
            for level in range(LEVELS)
        )
        self.fuse = nn.ModuleList(conv(2 * features, features) for _ in range(LEVELS - 1))
        self.last_offsets = conv(2 * features, offsets)
        self.last = DeformableConv(features, groups)
        for layer in (*self.offsets, self.last_offsets):
            assert isinstance(layer, nn.Conv2d)
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(
        self, images: tuple[Tensor, Tensor], features: tuple[Tensor, Tensor], flows: Tensor
    ) -> Tensor:
        """Return the features of a slice, brought onto the middle one.

        Parameters
        ----------
        images, features : tuple of Tensor, (B, 1, y, x) and (B, C, y, x)
            Of the slice and of the middle one; sides are multiples of 4.
        flows : Tensor, (B, 4, y, x)
            Where the middle one is found in the slice, and the other way; (dy, dx) in px.
        """
        coarser: Tensor | None = None
        moves: Tensor | None = None
        for level in reversed(range(LEVELS)):
            by = 2**level
            parts = [functional.avg_pool2d(part, by) for part in (*images, *features)]
            parts.append(functional.avg_pool2d(flows, by) / by)
            seen = functional.relu(self.look[level](torch.cat(parts, dim=1)))
            if moves is not None:
                seen = torch.cat([seen, 2 * _doubled(moves)], dim=1)
            moves = self.offsets[level](seen)
            # The flow is where to begin; what is learned is added to it.
            start = parts[-1][:, :2].repeat(1, self._repeats, 1, 1)
            moved = self.convs[level](parts[2], moves + start)
            if coarser is not None:
                moved = self.fuse[level](torch.cat([moved, _doubled(coarser)], dim=1))
            coarser = functional.relu(moved)
        assert coarser is not None
        refine = self.last_offsets(torch.cat([coarser, features[1]], dim=1))
        out: Tensor = self.last(coarser, refine)
        return out


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
