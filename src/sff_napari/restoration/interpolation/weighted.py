"""Average the neighbours, moved to where the slice lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from sff_napari.alignment.drift_fields import DriftField, drift_field
from sff_napari.alignment.drift_model import SliceDrift
from sff_napari.alignment.features import Features
from sff_napari.devices import autocast
from sff_napari.folds.curve import grid_points
from sff_napari.networks import InterpolationNetwork
from sff_napari.restoration.neighbours.neighbour import Neighbour
from sff_napari.tiling import grown
from sff_napari.warp import sample

Interpolation = Literal["motion", "mean", "network", "previous", "following"]
INTERPOLATIONS: tuple[str, ...] = get_args(Interpolation)

_HALO = 96
"""Pixels around a tile that the network also sees."""
_ALIGN = 32
"""Tiles of the network start at multiples of this: its five poolings then fall alike."""


class Interpolator(Protocol):
    """Anything that can give the reference for part of a slice."""

    def on_tile(self, rows: slice, columns: slice) -> Tensor:
        """Return the reference (Y, X) in [0, 1] for part of the slice."""

    def parts(self, rows: slice, columns: slice) -> list[Tensor]:
        """Return what the reference is made of: one or two slices (Y, X) in [0, 1]."""


class Weighted:
    """Weighted mean of the neighbours, each read at displaced places.

    Parameters
    ----------
    neighbours : sequence of Neighbour
        One or two.
    fields : sequence of DriftField, optional
        Where each is read, relative to the pixel; in place if not given.
    drift : SliceDrift, optional
        Where the damaged slice lies against them; added to the fields.
    """

    def __init__(
        self,
        neighbours: Sequence[Neighbour],
        fields: Sequence[DriftField] | None = None,
        drift: SliceDrift | None = None,
    ) -> None:
        self.neighbours = list(neighbours)
        self.fields = None if fields is None else list(fields)
        self.drift = drift

    def on_tile(self, rows: slice, columns: slice) -> Tensor:
        """Return the reference (Y, X) in [0, 1] for part of the slice."""
        total = weight = None
        for part, seen in self._both(rows, columns):
            share = seen.to(part.dtype) + 1e-6
            total = part * share if total is None else total + part * share
            weight = share if weight is None else weight + share
        assert total is not None
        assert weight is not None
        return total / weight

    def parts(self, rows: slice, columns: slice) -> list[Tensor]:
        """Return each neighbour (Y, X) for part of the slice; where one is not known, the other."""
        both = self._both(rows, columns)
        if len(both) == 1 or all(bool(seen.all()) for _, seen in both):
            return [part for part, _ in both]
        (first, first_seen), (second, second_seen) = both
        return [
            torch.where(first_seen | ~second_seen, first, second),
            torch.where(second_seen | ~first_seen, second, first),
        ]

    def _both(self, rows: slice, columns: slice) -> list[tuple[Tensor, Tensor]]:
        """Return each neighbour for part of the slice, and where it is known."""
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        origin = (float(rows.start), float(columns.start))
        if self.fields is None:
            return [(one.image[rows, columns], one.known[rows, columns]) for one in self.neighbours]
        return [self._read(index, shape, origin) for index in range(len(self.neighbours))]

    def _read(
        self, index: int, shape: tuple[int, int], origin: tuple[float, float]
    ) -> tuple[Tensor, Tensor]:
        assert self.fields is not None
        one = self.neighbours[index]
        device = one.image.device
        points = grid_points(shape, origin, 1.0, device)
        offset = self.fields[index].on_grid(shape, origin)
        if self.drift is not None:
            offset = offset + self.drift.on_grid(shape, origin)
        y, x = points + offset
        image = sample(one.image[None, None], y[None], x[None], "bicubic")[0, 0]
        if bool(one.known.all()):
            return image, torch.ones(shape, dtype=torch.bool, device=device)
        known = sample(one.known[None, None].to(image.dtype), y[None], x[None], "nearest", "zeros")
        return image, known[0, 0] > 0.5


def mutual_drift(neighbours: Sequence[Neighbour]) -> DriftField | None:
    """Return the smooth displacement from the first neighbour to the second, None without."""
    if len(neighbours) < 2:
        return None
    first, second = (Features.of(one.image, one.known, 4) for one in neighbours)
    return drift_field(first, second)


def motion(
    neighbours: Sequence[Neighbour], mutual: DriftField | None, drift: SliceDrift | None = None
) -> Weighted:
    """Return the mean of the neighbours, each moved half way along their mutual drift.

    Parameters
    ----------
    neighbours : sequence of Neighbour
        One or two.
    mutual : DriftField or None
        See `mutual_drift`.
    drift : SliceDrift, optional
        Where the damaged slice lies against the neighbours so moved.
    """
    if mutual is None:
        still = DriftField.still(neighbours[0].image.device)
        return Weighted(neighbours, [still] * len(neighbours), drift)
    halves = [
        DriftField(sign * 0.5 * mutual.values, mutual.first, mutual.step) for sign in (-1.0, 1.0)
    ]
    return Weighted(neighbours, halves, drift)


class NetworkInterpolation:
    """The paper's kernel prediction network, run tile by tile.

    Parameters
    ----------
    network : InterpolationNetwork
        In evaluation mode, on the neighbours' device.
    neighbours : sequence of Neighbour
        One (which then stands for both) or two.
    """

    def __init__(self, network: InterpolationNetwork, neighbours: Sequence[Neighbour]) -> None:
        self.network = network
        self.neighbours = list(neighbours)

    def on_tile(self, rows: slice, columns: slice) -> Tensor:
        """Return the reference (Y, X) in [0, 1] for part of the slice."""
        first, last = self.neighbours[0].image, self.neighbours[-1].image
        shape = (first.shape[0], first.shape[1])
        outer, inner = grown(rows, columns, shape, _HALO, _ALIGN)
        with torch.inference_mode(), autocast(first.device):
            out = self.network(first[outer][None, None], last[outer][None, None])
        return out[0, 0].float()[inner].clamp(0, 1)

    def parts(self, rows: slice, columns: slice) -> list[Tensor]:
        """Return the reference alone: the network has joined the neighbours already."""
        return [self.on_tile(rows, columns)]
