"""Unfold with the paper's network, which estimates the flow pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sff_napari.devices import autocast
from sff_napari.folds import Fold
from sff_napari.networks import UnfoldingNetwork
from sff_napari.progress import Reporter
from sff_napari.restoration.interpolation.weighted import Interpolator
from sff_napari.restoration.unfolding.fitted_fold import covered
from sff_napari.tiling import grown, tiles
from sff_napari.warp import sample

_HALO = 128
_REDUCED_HALO = 64
"""Pixels around a tile that the network sees besides: of the slice; of the reduced one at least."""


class NetworkUnfolding:
    """Flow of a whole slice from the paper's unfolding network.

    Parameters
    ----------
    network : UnfoldingNetwork
        In evaluation mode, on the slice's device.
    folds : sequence of Fold
        Their lines are covered in black, as the network was trained (paper, section 5.5).
    damaged : Tensor, (Y, X)
        In [0, 1], NaN-free.
    reference : Interpolator
        What the slice should look like.
    cover : float
        Pixels beside the dark line that count as part of it.
    tile : int
        Side of the tiles, px.
    reporter : Reporter
        Told of progress, asked for cancellation.
    """

    def __init__(
        self,
        network: UnfoldingNetwork,
        folds: Sequence[Fold],
        damaged: Tensor,
        reference: Interpolator,
        cover: float,
        tile: int,
        reporter: Reporter,
    ) -> None:
        shape = (damaged.shape[0], damaged.shape[1])
        device = damaged.device
        dark = torch.zeros(shape, dtype=torch.bool, device=device)
        parts = list(tiles(shape, tile))
        for rows, columns in parts:
            size = (rows.stop - rows.start, columns.stop - columns.start)
            origin = (float(rows.start), float(columns.start))
            for fold in folds:
                dark[rows, columns] |= covered(fold, size, cover, device, origin)
        black = damaged.masked_fill(dark, 0.0)
        self.flow = torch.empty((2, *shape), device=device)
        self.hidden = torch.empty(shape, dtype=torch.bool, device=device)
        self.drifts = None
        for number, (rows, columns) in enumerate(parts):
            reporter(number / len(parts), "Estimating the flow")
            halo = max(_HALO, _REDUCED_HALO * network.scale)
            outer, inner = grown(rows, columns, shape, halo, network.multiple)
            guide = reference.on_tile(*outer)
            with torch.inference_mode(), autocast(device):
                out = network(black[outer][None, None], guide[None, None])[0].float()
            self.flow[:, rows, columns] = out[:, inner[0], inner[1]]
        for rows, columns in parts:
            y = (
                torch.arange(rows.start, rows.stop, device=device)[:, None]
                + self.flow[0, rows, columns]
            )
            x = (
                torch.arange(columns.start, columns.stop, device=device)
                + self.flow[1, rows, columns]
            )
            source = dark[None, None].to(torch.float32)
            self.hidden[rows, columns] = sample(source, y[None], x[None], "bilinear")[0, 0] > 0.01

    def on_grid(
        self,
        shape: tuple[int, int],
        origin: tuple[float, float] = (0.0, 0.0),
        step: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return the flow (2, height, width) in px and the hidden pixels on a grid."""
        rows = (torch.arange(shape[0], device=self.flow.device) * step + origin[0]).long()
        columns = (torch.arange(shape[1], device=self.flow.device) * step + origin[1]).long()
        return self.flow[:, rows[:, None], columns], self.hidden[rows[:, None], columns]


class NoUnfolding:
    """The slice as it is, with only the dark line hidden: what inpainting works on."""

    drifts = None

    def __init__(self, folds: Sequence[Fold], cover: float, device: torch.device) -> None:
        self.folds = list(folds)
        self.cover = cover
        self.device = device

    def on_grid(
        self,
        shape: tuple[int, int],
        origin: tuple[float, float] = (0.0, 0.0),
        step: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return a flow (2, height, width) of zero and the covered dark line on a grid."""
        hidden = torch.zeros(shape, dtype=torch.bool, device=self.device)
        for fold in self.folds:
            hidden |= covered(fold, shape, self.cover, self.device, origin, step)
        return torch.zeros((2, *shape), device=self.device), hidden
