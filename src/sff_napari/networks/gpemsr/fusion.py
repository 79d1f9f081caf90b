"""Stage III: five low slices and the tissue that their codes stand for become a full slice."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from sff_napari.errors import InputError
from sff_napari.networks.blocks import Residual, conv, soften_residuals
from sff_napari.networks.gpemsr.codebook import SMALL, GpemsrSize, TissueCodes
from sff_napari.networks.gpemsr.deformable import PyramidAlignment
from sff_napari.networks.gpemsr.indexer import CodeIndexer

SLICES = 5


class PriorFusion(nn.Module):
    """Joins the features of a low slice with those of the decoder, as far as it is believed."""

    def __init__(self, factor: int, size: GpemsrSize) -> None:
        super().__init__()
        count = size.features
        levels = round(math.log2(factor))
        widths = size.widths[: levels + 1]
        self.believe = nn.Sequential(
            conv(3, 16), nn.ReLU(), conv(16, 16), nn.ReLU(), conv(16, 1), nn.Sigmoid()
        )
        self.lift = nn.ModuleList(
            nn.ConvTranspose2d(count, count, 4, stride=2, padding=1) for _ in range(levels)
        )
        # From fine to coarse; at the finest level nothing finer joins in.
        self.join = nn.ModuleList(
            conv(count + width + (count if number else 0), count)
            for number, width in enumerate(widths)
        )
        self.blocks = nn.ModuleList(Residual(count) for _ in widths)
        self.down = nn.ModuleList(
            nn.Conv2d(count, count, 3, stride=2, padding=1) for _ in range(levels)
        )
        self.out = nn.Conv2d(2 * count, count, kernel_size=1)

    def forward(
        self, low: Tensor, features: Tensor, reference: Tensor, prior: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return fused features (B, C, y, x), and how far the prior is believed (B, 1, y, x).

        Parameters
        ----------
        low, features : Tensor, (B, 1, y, x) and (B, C, y, x)
            The low slice.
        reference : Tensor, (B, 1, Y, X)
            The image of its codes.
        prior : list of Tensor
            Features of the decoder, the finest first, down to the grid of the low slice.
        """
        reduced = functional.adaptive_avg_pool2d(reference, (low.shape[-2], low.shape[-1]))
        mask = self.believe(torch.cat([low, reduced, (low - reduced).abs()], dim=1))
        lifted = [features]
        for lift in self.lift:
            lifted.insert(0, functional.relu(lift(lifted[0])))
        finer: Tensor | None = None
        for level, (own, given) in enumerate(zip(lifted, prior, strict=True)):
            parts = [own, given] if finer is None else [own, given, finer]
            x = self.blocks[level](self.join[level](torch.cat(parts, dim=1)))
            x = x * functional.interpolate(mask, size=x.shape[-2:], mode="bilinear")
            finer = self.down[level](x) if level < len(self.down) else x
        assert finer is not None
        return self.out(torch.cat([features, finer], dim=1)), mask


class SliceAttention(nn.Module):
    """Weighs five slices by their likeness to the middle one, and places by their features."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.embed = nn.ModuleList(conv(count, count) for _ in range(2))
        self.mix = nn.ModuleList(nn.Conv3d(SLICES, SLICES, kernel_size=1) for _ in range(2))
        self.join = nn.ModuleList(nn.Conv2d(SLICES * count, count, kernel_size=1) for _ in range(3))
        self.near = nn.Conv2d(2 * count, count, kernel_size=1)
        self.far = nn.Conv2d(2 * count, count, kernel_size=1)
        self.shift = conv(count, count)

    def forward(self, features: Tensor) -> Tensor:
        """Return features (B, C, y, x) of five slices (B, 5, C, y, x), the middle one third."""
        batch, slices, count, height, width = features.shape
        flat = features.reshape(batch * slices, count, height, width)
        seen = self.embed[0](flat).reshape(features.shape)
        middle = self.embed[1](features[:, slices // 2])[:, None]
        weighed = features * torch.sigmoid((seen * middle).sum(dim=2, keepdim=True))
        own = functional.relu(self.join[0](weighed.flatten(1, 2)))
        across = [
            join(mix(weighed).flatten(1, 2))
            for mix, join in zip(self.mix, list(self.join)[1:], strict=True)
        ]
        attention = functional.relu(self.near(_pooled(own)))
        coarse = functional.relu(self.far(_pooled(attention)))
        size = (height, width)
        attention = attention + functional.interpolate(coarse, size=attention.shape[-2:])
        attention = functional.interpolate(attention, size=size, mode="bilinear")
        out: Tensor = (
            own * torch.sigmoid(attention) * 2 + self.shift(attention) + across[0] + across[1]
        )
        return out


class GpemsrNetwork(nn.Module):
    """Stage III, on top of stages I and II, which it does not train.

    Parameters
    ----------
    factor : int
        4, 8 or 16: by how much slices are enlarged; a power of two up to the size of a cell.
    size : GpemsrSize
        How large the networks are.

    Raises
    ------
    InputError
        If the factor does not fit the size.
    """

    def __init__(self, factor: int, size: GpemsrSize = SMALL) -> None:
        super().__init__()
        if factor < 2:
            raise InputError(f"The factor is {factor}: it must be a power of two from 2 on.")
        self.factor, self.size = factor, size
        self.codes = TissueCodes(size)
        self.indexer = CodeIndexer(factor, size)
        for part in (self.codes, self.indexer):
            part.requires_grad_(False)
        count = size.features
        self.shallow = nn.Sequential(
            conv(1, count), *(Residual(count) for _ in range(size.shallow))
        )
        self.prior = PriorFusion(factor, size)
        self.align = PyramidAlignment(count, size.groups)
        self.attention = SliceAttention(count)
        self.deep = nn.Sequential(*(Residual(count) for _ in range(size.deep)))
        steps = round(math.log2(factor))
        self.enlarge = nn.Sequential(
            *(nn.Sequential(conv(count, 4 * count), nn.PixelShuffle(2)) for _ in range(steps)),
            conv(count, 1),
        )
        soften_residuals(self)

    def forward(self, low: Tensor, flows: Tensor) -> Tensor:
        """Return the middle slice enlarged, (B, 1, Y, X).

        Parameters
        ----------
        low : Tensor, (B, 5, y, x)
            Five slices in their order, of mean about 0 and spread about 1; sides are
            multiples of 4 and of a cell.
        flows : Tensor, (B, 5, 4, y, x)
            For each slice where the middle one is found in it, and the other way, px.
        """
        batch, slices, height, width = low.shape
        features = self.shallow(low.reshape(-1, 1, height, width))
        features = features.reshape(batch, slices, -1, height, width)
        middle = slices // 2
        centre = low[:, middle : middle + 1]
        with torch.no_grad():
            reference, decoded = self.codes.decode(self.indexer(centre).argmax(dim=1))
        steps = round(math.log2(self.factor))
        fused, _ = self.prior(centre, features[:, middle], reference, decoded[::-1][: steps + 1])
        aligned = [
            fused
            if z == middle
            else self.align(
                (low[:, z : z + 1], centre), (features[:, z], features[:, middle]), flows[:, z]
            )
            for z in range(slices)
        ]
        x = self.enlarge(self.deep(self.attention(torch.stack(aligned, dim=1))))
        base = functional.interpolate(centre, scale_factor=float(self.factor), mode="bilinear")
        out: Tensor = base + x
        return out


def _pooled(x: Tensor) -> Tensor:
    """Return maxima and means of 3 x 3 pixels, every second one, one after the other."""
    peak = functional.max_pool2d(x, 3, stride=2, padding=1)
    mean = functional.avg_pool2d(x, 3, stride=2, padding=1)
    return torch.cat([peak, mean], dim=1)
