"""Measure how the tissue moves from slice to slice, as smooth drift fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sff_napari.alignment.features import Features
from sff_napari.alignment.window_scores import (
    STRIDE,
    WINDOW,
    blurred,
    shift_scores,
    smoothed_scores,
)
from sff_napari.folds.curve import grid_points
from sff_napari.warp import sample

_CLOSE = 8.0
"""Shift, px, within which two slices count as lying on each other."""
LARGEST_SHIFT = 64.0
"""Largest shift of a whole slice that is looked for, px."""


def global_shift(
    fixed: Features, moving: Features, least_overlap: float = 0.3, largest: float = LARGEST_SHIFT
) -> tuple[Tensor, float]:
    """Return the translation between two slices and how well they agree at it.

    Parameters
    ----------
    fixed, moving : Features
        On the same grid.
    least_overlap : float
        Share of the slice that must be compared for a shift to count.
    largest : float
        Largest shift in each direction, px.

    Returns
    -------
    shift : Tensor, (2,)
        (dy, dx) in px: `fixed` at x looks like `moving` at x + shift.
    score : float
        Correlation at that shift.
    """
    height, width = fixed.values.shape
    size = (2 * height, 2 * width)
    a, b = fixed.values * fixed.known, moving.values * moving.known

    def correlate(left: Tensor, right: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(left, s=size).conj() * torch.fft.rfft2(right, s=size)
        return torch.fft.irfft2(spectrum, s=size)

    norm = correlate(a.square(), moving.known) * correlate(fixed.known, b.square())
    overlap = correlate(fixed.known, moving.known)
    score = correlate(a, b) / norm.clamp_min(1e-3).sqrt()
    score = torch.where(
        overlap > least_overlap * height * width, score, torch.full_like(score, -1.0)
    )
    # In a small slice chance peaks at far shifts, where little is compared, stand as high.
    reach = int(min(largest / fixed.pool, height / 7, width / 7))
    rows = torch.arange(-reach, reach + 1, device=a.device)
    near = score[rows % size[0]][:, rows % size[1]]
    best = int(near.argmax())
    # A far peak must stand out against what is found close by: with little to compare, chance
    # peaks lie anywhere.
    close = near.clone()
    apart = rows.to(torch.float32)
    close[(apart[:, None].square() + apart.square()) * fixed.pool**2 > _CLOSE**2] = -1.0
    if float(close.max()) > 0.8 * float(near.max()) - 0.01:
        best = int(close.argmax())
    y, x = divmod(best, near.shape[1])
    shift = torch.tensor(
        [peak(near[:, x], y) - reach, peak(near[y], x) - reach], dtype=torch.float32
    )
    return shift * fixed.pool, float(near[y, x])


def peak(values: Tensor, index: int) -> float:
    """Return the place of a maximum between samples, by a parabola through three of them."""
    if not 0 < index < len(values) - 1:
        return float(index)
    a, b, c = (float(v) for v in values[index - 1 : index + 2])
    bend = a - 2 * b + c
    return index + (0.5 * (a - c) / bend if bend < 0 else 0.0)


@dataclass(frozen=True)
class DriftField:
    """A smooth displacement between two slices, kept on a coarse grid.

    Parameters
    ----------
    values : Tensor, (2, rows, columns)
        (dy, dx) in px.
    first, step : float
        Pixel coordinate of the first grid point, in y and x, and the spacing.
    """

    values: Tensor
    first: float
    step: float

    @classmethod
    def still(cls, device: torch.device | str = "cpu") -> DriftField:
        """Return the field of no displacement."""
        return cls(torch.zeros((2, 1, 1), device=device), 0.0, 1.0)

    def on_grid(
        self, shape: tuple[int, int], origin: tuple[float, float] = (0.0, 0.0), step: float = 1.0
    ) -> Tensor:
        """Return the field (2, height, width), in px, on a grid of the slice."""
        if self.values.shape[1:] == (1, 1):
            return self.values.expand(2, *shape)
        points = grid_points(shape, origin, step, self.values.device, self.values.dtype)
        places = (points - self.first) / self.step
        return sample(self.values[None], places[0][None], places[1][None], "bilinear", "border")[0]


def drift_field(fixed: Features, moving: Features, reach: float = 16.0) -> DriftField:
    """Return the smooth displacement between two slices.

    Windows are compared over small shifts; the scores, not the shifts, are
    smoothed, so that a window without texture follows those around it.

    Parameters
    ----------
    fixed, moving : Features
        On the same grid; what is not known does not count.
    reach : float
        Largest displacement in each direction, px.

    Returns
    -------
    DriftField
        `fixed` at x shows what `moving` shows at ``x + field(x)``.
    """
    shifts = window_shifts(fixed, [moving], reach)
    if shifts is None:
        return DriftField.still(fixed.values.device)
    return DriftField(blurred(shifts.values), shifts.first, shifts.step)


@dataclass(frozen=True)
class WindowShifts:
    """How far each window of a slice lies off others.

    Parameters
    ----------
    values : Tensor, (2, rows, columns)
        (dy, dx) in px.
    weight : Tensor, (rows, columns)
        Share of the window that could be compared.
    first, step : float
        Pixel coordinate of the centre of the first window, in y and x, and the spacing.
    """

    values: Tensor
    weight: Tensor
    first: float
    step: float


def window_shifts(fixed: Features, others: Sequence[Features], reach: float) -> WindowShifts | None:
    """Return where the windows of a slice are found in others, None if it is too small.

    Parameters
    ----------
    fixed : Features
        The slice; what is not known does not count.
    others : sequence of Features
        On the same grid; their mean score counts.
    reach : float
        Largest shift in each direction, px.
    """
    pool = fixed.pool
    window, stride = max(WINDOW // pool, 2), max(STRIDE // pool, 1)
    if min(fixed.values.shape) < 2 * window:
        return None
    steps = max(1, round(reach / pool))
    compared = [
        shift_scores(fixed.values, fixed.known, one, steps, window, stride) for one in others
    ]
    weight = compared[0][1]
    smooth = smoothed_scores(torch.stack([one for one, _ in compared]).mean(0), weight)
    side = 2 * steps + 1
    # A soft maximum: the mean shift under scores raised to a high power.
    share = torch.softmax(40 * smooth, dim=0)
    offsets = torch.arange(-steps, steps + 1, device=smooth.device, dtype=smooth.dtype) * pool
    dy = (share * offsets.repeat_interleave(side)[:, None, None]).sum(0)
    dx = (share * offsets.repeat(side)[:, None, None]).sum(0)
    first = (window - 1) / 2 * pool + (pool - 1) / 2
    return WindowShifts(torch.stack([dy, dx]), weight, first, float(stride * pool))


def met_half_way(pair: Sequence[Features], mutual: DriftField) -> list[Features]:
    """Return the features of two neighbours, each moved half way towards the other."""
    moved = []
    for one, sign in zip(pair, (-0.5, 0.5), strict=True):
        grid, first = (one.values.shape[0], one.values.shape[1]), (one.pool - 1) / 2
        moved.append(one.moved(sign * mutual.on_grid(grid, (first, first), float(one.pool))))
    return moved
