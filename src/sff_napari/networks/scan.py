"""Restore single scanned images: the default network, and the two of the literature."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sff_napari.networks.blocks import Residual, channels, checked_width, conv, initialise

_LEAST_SPREAD = 0.1
"""Smallest standard deviation, white being 1, that an image is divided by (CGRDN)."""


class ScanNetwork(nn.Module):
    """U-Net on pixels taken four together, which keeps or replaces each pixel.

    Input and output are images (B, 1, Y, X) on any scale of grey values: each is
    standardised by its mean and standard deviation, and the result is mapped back.

    Parameters
    ----------
    width : float
        Factor on all channel counts.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.width = checked_width(width)
        counts = [channels(count, self.width) for count in (32, 64, 128, 96)]
        self.first = conv(4, counts[0])
        self.down = nn.ModuleList(
            nn.Conv2d(before, after, 2, stride=2) for before, after in pairwise(counts)
        )
        self.encode = nn.ModuleList(
            nn.Sequential(*(Residual(count) for _ in range(number)))
            for count, number in zip(counts, (1, 1, 2, 2), strict=True)
        )
        self.up = nn.ModuleList(nn.Conv2d(after, before, 1) for before, after in pairwise(counts))
        self.decode = nn.ModuleList(
            nn.Sequential(*(Residual(count) for _ in range(number)))
            for count, number in zip(counts[:-1], (2, 2, 2), strict=True)
        )
        self.last = conv(counts[0], 8)
        initialise(self)
        for module in self.modules():
            if isinstance(module, Residual):
                nn.init.zeros_(module.second.weight)
        nn.init.zeros_(self.last.weight)

    def forward(self, image: Tensor) -> Tensor:
        """Return the restored image, (B, 1, Y, X)."""
        mean = image.mean(dim=(1, 2, 3), keepdim=True)
        spread = image.std(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)
        return self.standardised((image - mean) / spread) * spread + mean

    def standardised(self, image: Tensor) -> Tensor:
        """Return the restored image of one of mean 0 and standard deviation 1."""
        height, width = image.shape[-2:]
        below, right = -height % 16, -width % 16
        mode = "reflect" if below < height and right < width else "replicate"
        padded = F.pad(image, (0, right, 0, below), mode=mode) if below or right else image
        hidden = self.first(F.pixel_unshuffle(padded, 2))
        seen = []
        for encode, down in zip(self.encode, self.down, strict=False):
            hidden = encode(hidden)
            seen.append(hidden)
            hidden = down(hidden)
        hidden = self.encode[-1](hidden)
        for number in reversed(range(len(self.up))):
            larger = F.interpolate(self.up[number](hidden), scale_factor=2.0, mode="nearest")
            hidden = self.decode[number](seen[number] + larger)
        out = F.pixel_shuffle(self.last(hidden).float(), 2)
        kept = torch.sigmoid(out[:, :1])
        return (kept * padded + out[:, 1:])[..., :height, :width]


class Plain12(nn.Module):
    """Twelve 5 x 5 convolutions of 64 filters, each followed by ReLU (Lobato et al., 2020).

    Images lie in [0, 1]; 1,027,905 parameters at width 1.

    Parameters
    ----------
    width : float
        Factor on the number of filters.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.width = checked_width(width)
        count = channels(64, self.width)
        layers: list[nn.Module] = []
        for source, target in zip([1, *[count] * 11], [*[count] * 11, 1], strict=True):
            layers += [nn.Conv2d(source, target, 5, padding=2), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        initialise(self)
        last = layers[-2]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        # A last ReLU that starts below 0 everywhere would never learn.
        nn.init.constant_(last.bias, 0.5)
        with torch.no_grad():
            last.weight.mul_(0.1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the restored image, (B, 1, Y, X)."""
        return self.layers(image).float()


class Cgrdn(nn.Module):
    """Concatenated grouped residual dense network (Lobato et al., 2024).

    Standardised input, half resolution, four groups of four residual dense blocks of
    eight layers; 7.03 M parameters at width 1.

    Parameters
    ----------
    width : float
        Factor on all channel counts.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.width = checked_width(width)
        count, growth = channels(64, self.width), channels(32, self.width)
        self.first = conv(1, count)
        self.down = nn.Conv2d(count, count, 4, stride=2, padding=1)
        self.groups = nn.ModuleList(
            _Concatenated([_DenseBlock(count, growth) for _ in range(4)], count) for _ in range(4)
        )
        self.merge = nn.Conv2d(4 * count, count, 1)
        self.up = nn.ConvTranspose2d(count, count, 4, stride=2, padding=1)
        self.last = conv(count, 1)
        initialise(self)
        nn.init.zeros_(self.last.weight)

    def forward(self, image: Tensor) -> Tensor:
        """Return the restored image, (B, 1, Y, X)."""
        mean = image.mean(dim=(1, 2, 3), keepdim=True)
        spread = image.std(dim=(1, 2, 3), keepdim=True).clamp_min(_LEAST_SPREAD)
        height, width = image.shape[-2:]
        padded = F.pad((image - mean) / spread, (0, width % 2, 0, height % 2), mode="replicate")
        start = self.down(self.first(padded))
        hidden, outputs = start, []
        for group in self.groups:
            hidden = group(hidden)
            outputs.append(hidden)
        hidden = self.up(start + self.merge(torch.cat(outputs, dim=1)))
        restored = (padded + self.last(hidden).float())[..., :height, :width]
        return restored * spread + mean


class _Concatenated(nn.Module):
    """Parts in series whose outputs are concatenated and mixed, beside a way around them."""

    def __init__(self, parts: list[nn.Module], count: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.merge = nn.Conv2d(len(parts) * count, count, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        start, outputs = hidden, []
        for part in self.parts:
            hidden = part(hidden)
            outputs.append(hidden)
        return start + self.merge(torch.cat(outputs, dim=1))


class _DenseBlock(nn.Module):
    """Eight convolutions that each see all before them."""

    def __init__(self, count: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(conv(count + number * growth, growth) for number in range(8))
        self.merge = nn.Conv2d(count + 8 * growth, count, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        seen = [hidden]
        for layer in self.layers:
            seen.append(F.relu(layer(torch.cat(seen, dim=1))))
        return hidden + self.merge(torch.cat(seen, dim=1))
