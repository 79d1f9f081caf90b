"""Stage II: read the codes of tissue from a low slice."""

from __future__ import annotations

import math

from torch import Tensor, nn

from sff_napari.errors import InputError
from sff_napari.networks.blocks import conv
from sff_napari.networks.gpemsr.codebook import (
    SMALL,
    GpemsrSize,
    NormResidual,
    SelfAttention,
)


class CodeIndexer(nn.Module):
    """From a low slice, the likelihood of each code in each cell.

    Parameters
    ----------
    factor : int
        By how much the slice was reduced, a power of two up to the size of a cell.
    size : GpemsrSize
        As of the `TissueCodes`.

    Raises
    ------
    InputError
        If the factor does not fit.
    """

    def __init__(self, factor: int, size: GpemsrSize = SMALL) -> None:
        super().__init__()
        halvings = math.log2(size.cell / factor) if factor > 0 else -1.0
        if halvings < 0 or not halvings.is_integer():
            raise InputError(
                f"Codes of {size.cell} px are not read from slices reduced {factor} times: "
                f"use a power of two up to {size.cell}."
            )
        layers: list[nn.Module] = [conv(1, size.widths[0])]
        before = size.widths[0]
        for number, width in enumerate(size.widths[1:]):
            layers += [NormResidual(before), conv(before, width)]
            if number < halvings:
                layers.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
            before = width
        layers += [SelfAttention(before), *(NormResidual(before) for _ in range(3))]
        layers += [nn.Conv2d(before, size.code_width, kernel_size=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(size.code_width, size.codes, kernel_size=1))

    def forward(self, low: Tensor) -> Tensor:
        """Return logits (B, codes, y', x') of a low slice (B, 1, y, x)."""
        out: Tensor = self.layers(low)
        return out
