"""Find where a whole slice lies against its neighbours, with what a fold did to it.

A shift along the line is told apart from the fold at once: a fold moves tissue
across its line only.  A shift across the line is told apart as far as the fold's
displacement falls with distance.  So the slice is unfolded, each side by itself,
by every one of some laws, and compared with the neighbours at all shifts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sff_napari.alignment.drift_fields import peak
from sff_napari.alignment.features import Features
from sff_napari.folds import Curve, Fold, LineCoordinates
from sff_napari.warp import sample

_GAPS = (0.0, 8.0, 16.0, 24.0, 32.0, 42.0, 52.0, 64.0, 78.0, 94.0)
"""Displacements at the line that are tried, px."""
_DECAYS = (0.002, 0.02, 0.04, 0.06, 0.09)
"""Losses of displacement that are tried, px a px."""
_FARTHEST = 40.0
"""Largest shift that is looked for, px."""
_COST = 0.001
"""Correlation that a pixel of shift must gain: laws and shifts across the line stand in for each
other, and less shift is likelier."""

_EVEN = 0.25
"""Weight of the score of folds whose sides are alike: real ones differ, but seldom by much."""


@dataclass(frozen=True)
class ShiftScores:
    """How well a slice agrees with its neighbours at shifts, unfolded as well as may be.

    Parameters
    ----------
    values : Tensor, (K, K)
        Mean correlation if the neighbours are read at a shift of (dy, dx).
    alike : Tensor, (K, K)
        The same if both sides follow the same law.
    reach : int
        Largest shift, in pixels of the features' grid.
    pool : int
        Pixels a side of that grid.
    """

    values: Tensor
    alike: Tensor
    reach: int
    pool: int

    def at(self, shift: tuple[float, float], within: float = 0.0) -> float:
        """Return the best score (-1 outside) at a shift (dy, dx), px, or so many px around."""
        spans = []
        side = self.values.shape[0]
        for value in shift:
            first = round((value - within) / self.pool) + self.reach
            last = round((value + within) / self.pool) + self.reach
            if last < 0 or first >= side:
                return -1.0
            spans.append(slice(max(first, 0), last + 1))
        return float(self.values[spans[0], spans[1]].max())

    def best(self) -> tuple[tuple[float, float], float]:
        """Return the likeliest shift (dy, dx), px, and its score."""
        place = (torch.arange(self.values.shape[0]) - self.reach).to(self.values) * self.pool
        far = torch.hypot(place[:, None], place)
        likely = self.values + _EVEN * self.alike - _COST * far
        row, column = divmod(int(likely.argmax()), len(place))
        shift = (
            (peak(likely[:, column], row) - self.reach) * self.pool,
            (peak(likely[row], column) - self.reach) * self.pool,
        )
        return shift, float(self.values[row, column])


def shift_of_slice(damaged: Features, neighbours: Sequence[Features], fold: Fold) -> ShiftScores:
    """Compare a folded slice with its neighbours at all shifts of the whole.

    Parameters
    ----------
    damaged : Features
        The damaged slice.
    neighbours : sequence of Features
        One or two neighbours on the same grid, brought together.
    fold : Fold
        The line that divides the slice.
    """
    pool, shape = damaged.pool, (damaged.values.shape[0], damaged.values.shape[1])
    reach = int(_FARTHEST / pool)
    size = (shape[0] + 2 * reach, shape[1] + 2 * reach)
    values = torch.stack([one.values * one.known for one in neighbours]).sum(0)
    spectrum = torch.fft.rfft2(values, s=size)
    first = (pool - 1) / 2
    at = Curve.of(fold, damaged.values.device).on_grid(shape, (first, first), float(pool))
    rows = torch.arange(-reach, reach + 1, device=damaged.values.device)
    area = shape[0] * shape[1] * len(neighbours)
    sides = []
    for side in (at.distance > 0, at.distance <= 0):
        found = []
        for image in _unfolded(damaged, at, side, fold.half_width):
            product = torch.fft.rfft2(image, s=size).conj() * spectrum
            found.append(torch.fft.irfft2(product, s=size)[rows % size[0]][:, rows % size[1]])
        sides.append(torch.stack(found) / area)
    free = sides[0].amax(0) + sides[1].amax(0)
    return ShiftScores(free, (sides[0] + sides[1]).amax(0), reach, pool)


def _unfolded(
    damaged: Features, at: LineCoordinates, side: Tensor, half_width: float
) -> Iterator[Tensor]:
    """Yield the features (Y, X) of one side, unfolded by each law; zero where nothing is known."""
    shape = damaged.values.shape
    y = torch.arange(shape[0], device=side.device, dtype=torch.float32)[:, None]
    x = torch.arange(shape[1], device=side.device, dtype=torch.float32)
    values = (damaged.values * damaged.known)[None, None]
    away = at.distance.abs() - half_width
    towards = torch.where(at.distance > 0, -1.0, 1.0) * at.normal / damaged.pool
    for gap in _GAPS:
        for decay in _DECAYS if gap else _DECAYS[:1]:
            beyond = (away - gap).clamp_min(0) / (1 - decay)
            moved = (gap - decay * beyond).clamp_min(0) * towards
            read = sample(values, (y + moved[0])[None], (x + moved[1])[None], "bilinear", "zeros")
            yield read[0, 0] * (side & (away > gap))
