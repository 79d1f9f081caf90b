"""Stage I: a code book of tissue, learned by an autoencoder with quantised codes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from sff_napari.errors import InputError
from sff_napari.networks.blocks import conv

_GROUPS = 32


@dataclass(frozen=True)
class GpemsrSize:
    """How large the networks of the three stages are.

    Parameters
    ----------
    widths : tuple of int
        Channels at full resolution and after each halving; their number less one is the
        number of halvings, 4 in the paper.
    codes, code_width : int
        Number of codes and their channels.
    features : int
        Channels of the low slices' features.
    groups : int
        Groups of channels that are moved alike by deformable convolutions.
    shallow, deep : int
        Residual blocks before and after the slices are brought together.
    """

    widths: tuple[int, ...] = (64, 64, 128, 256, 512)
    codes: int = 1024
    code_width: int = 512
    features: int = 64
    groups: int = 8
    shallow: int = 5
    deep: int = 10

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or self.features % self.groups:
            raise InputError("There must be two widths or more, and whole groups of features.")

    @property
    def cell(self) -> int:
        """Pixels along the side of what one code stands for."""
        return int(2 ** (len(self.widths) - 1))


PAPER = GpemsrSize()
SMALL = GpemsrSize((16, 24, 32, 48), 256, 32, 24, 4, 2, 4)
"""For two processor cores: a code stands for 8 x 8 pixels."""


def size_of_width(width: float) -> GpemsrSize:
    """Return the size that a width multiplier means: the paper's from 4 on, else a small one.

    Examples
    --------
    >>> from sff_napari.networks.gpemsr.codebook import size_of_width
    >>> size_of_width(4).cell, size_of_width(1).cell
    (16, 8)
    """
    if width >= 4:
        return PAPER
    groups = SMALL.groups
    return replace(
        SMALL,
        widths=tuple(max(4, round(width * count)) for count in SMALL.widths),
        features=groups * max(1, round(width * SMALL.features / groups)),
    )


class NormResidual(nn.Module):
    """Two convolutions, each normalised by groups and rectified, added to their input."""

    def __init__(self, count: int) -> None:
        super().__init__()
        groups = max(k for k in range(1, min(_GROUPS, count) + 1) if count % k == 0)
        self.change = nn.Sequential(
            conv(count, count), nn.GroupNorm(groups, count), nn.ReLU(),
            conv(count, count), nn.GroupNorm(groups, count), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (B, C, Y, X) and what is added to it."""
        out: Tensor = x + self.change(x)
        return out


class SelfAttention(nn.Module):
    """Every place looks at every other, added to its input."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (
            nn.Conv2d(count, count, kernel_size=1) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (B, C, Y, X) and what is added to it."""
        query, key, value = (
            part(x).flatten(2).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        seen = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = x + self.out(seen.transpose(1, 2).reshape(x.shape))
        return out


class TissueCodes(nn.Module):
    """Encoder, code book and decoder of stage I.

    Parameters
    ----------
    size : GpemsrSize
        How large.
    """

    def __init__(self, size: GpemsrSize = SMALL) -> None:
        super().__init__()
        self.size = size
        last = size.widths[-1]
        self.encoder = nn.Sequential(
            conv(1, size.widths[0]),
            nn.ReLU(),
            *(
                nn.Sequential(NormResidual(a), nn.Conv2d(a, b, 3, stride=2, padding=1))
                for a, b in pairwise(size.widths)
            ),
            SelfAttention(last),
            *(NormResidual(last) for _ in range(3)),
            nn.Conv2d(last, size.code_width, kernel_size=1),
        )
        self.book = nn.Embedding(size.codes, size.code_width)
        nn.init.uniform_(self.book.weight, -1 / size.codes, 1 / size.codes)
        self.enter = nn.Sequential(
            nn.Conv2d(size.code_width, last, kernel_size=1),
            *(NormResidual(last) for _ in range(3)),
            SelfAttention(last),
        )
        self.levels = nn.ModuleList(
            nn.Sequential(NormResidual(b), nn.ConvTranspose2d(b, a, 4, stride=2, padding=1))
            for a, b in reversed(list(pairwise(size.widths)))
        )
        self.leave = conv(size.widths[0], 1)

    def nearest(self, encoded: Tensor) -> Tensor:
        """Return the number of the nearest code of each cell, (B, y, x)."""
        flat = encoded.permute(0, 2, 3, 1).reshape(-1, self.size.code_width)
        numbers = torch.cdist(flat[None], self.book.weight[None])[0].argmin(dim=1)
        return numbers.reshape(encoded.shape[0], *encoded.shape[2:])

    def decode(self, numbers: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the image (B, 1, Y, X) of codes (B, y, x), and the features of each level."""
        return self._decode(self.book(numbers).permute(0, 3, 1, 2))

    def _decode(self, codes: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = self.enter(codes)
        features = [x]
        for level in self.levels:
            x = level(x)
            features.append(x)
        return self.leave(x), features

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return an image (B, 1, Y, X) made again from its codes, and the loss of the codes."""
        encoded = self.encoder(image)
        codes = self.book(self.nearest(encoded)).permute(0, 3, 1, 2)
        loss = (encoded.detach() - codes).square().mean() + (
            encoded - codes.detach()
        ).square().mean()
        # Straight through: the decoder's gradient reaches the encoder as if nothing was chosen.
        made, _ = self._decode(encoded + (codes - encoded).detach())
        return made, loss


class PatchJudge(nn.Module):
    """Tells made images from true ones, patch by patch (stage I after its first part)."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.InstanceNorm2d(2 * width), nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 4, padding=1),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        """Return how true each patch of an image (B, 1, Y, X) looks."""
        out: Tensor = self.layers(image)
        return out
