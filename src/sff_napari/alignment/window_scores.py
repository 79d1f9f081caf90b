"""Score how well the windows of a slice agree with others at small shifts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sff_napari.alignment.features import Features

WINDOW, STRIDE = 64, 32
"""Side and spacing of the windows, px."""
_SHARPNESS = 40.0
"""Logarithm of the likelihood that a correlation of one stands for."""
_LEAST_WEIGHT = 0.5
"""Share of a window that must be compared."""
_LEAST_SEEN = 0.02
"""A window tells at least this share of what the clearest one tells."""


@dataclass(frozen=True)
class WindowScores:
    """How likely the shifts of windows are.

    Parameters
    ----------
    points : Tensor, (2, N)
        Centres of the windows, px.
    likelihood : Tensor, (N, K)
        Logarithm of the likelihood of each shift.
    shifts : Tensor, (2, K)
        (dy, dx) in px.
    """

    points: Tensor
    likelihood: Tensor
    shifts: Tensor

    def where(self, kept: Tensor) -> WindowScores:
        """Return some of the windows; `kept` is (N,) bool."""
        return WindowScores(self.points[:, kept], self.likelihood[kept], self.shifts)

    def sites(self, expected: Tensor, width: float) -> tuple[Tensor, Tensor]:
        """Return what each window says of its shift, near what is expected.

        The likelihood of a window, summed over shifts that are normally distributed
        about an expected one, is approximated by a normal distribution at the
        expected shift (Laplace): a clear maximum tells much, a flat one little.

        Parameters
        ----------
        expected : Tensor, (2, N) float64
            Shift that is expected, px.
        width : float
            Spread of shifts about that, px.

        Returns
        -------
        shift : Tensor, (2, N) float64
            Mean, px.
        precision : Tensor, (N,) float64
            Inverse of the variance, px^-2.
        """
        reach = float(self.shifts.abs().max())
        centre = expected.clamp(-reach, reach).to(self.likelihood.dtype)
        apart = self.shifts[:, None] - centre[:, :, None]
        square = apart.square()
        share = torch.softmax(self.likelihood - square.sum(0) / (2 * width**2), dim=1)
        mean = (share * apart).sum(2)
        spread = ((share * square).sum(2) - mean.square()).mean(0)
        # Shifts lie on a grid: no spread is smaller than its own.
        grid = float(self.shifts[1, 1] - self.shifts[1, 0]) ** 2 / 12
        share_seen = (1 - (spread + grid) / width**2).clamp(_LEAST_SEEN, 1.0)
        # A window cannot say more than that its shift lies at the edge of what was looked at.
        shift = centre + (mean / share_seen).clamp(-3 * width, 3 * width)
        return shift.double(), (share_seen / width**2).double()


def compare_windows(
    fixed: Features, others: Sequence[Features], reach: float, most: int, grid: float = 2.0
) -> WindowScores | None:
    """Compare the windows of a slice with others over small shifts; None if it is too small.

    Parameters
    ----------
    fixed : Features
        The slice; what is not known does not count.
    others : sequence of Features
        On the same grid; their mean correlation counts.
    reach : float
        Largest shift in each direction, px.
    most : int
        Windows that are kept at most, evenly over the slice.
    grid : float
        Distance of the shifts in the result, px; scores between the pixels of
        the features are interpolated.
    """
    pool = fixed.pool
    window, stride = max(WINDOW // pool, 2), max(STRIDE // pool, 1)
    if min(fixed.values.shape) < window or not others:
        return None
    steps = max(1, round(reach / pool))
    compared = [
        shift_scores(fixed.values, fixed.known, one, steps, window, stride) for one in others
    ]
    weight = compared[0][1]
    smooth = smoothed_scores(torch.stack([one for one, _ in compared]).mean(0), weight)
    rows, columns = torch.nonzero(weight > _LEAST_WEIGHT).T
    thin = max(1, -(-len(rows) // most))
    rows, columns = rows[::thin], columns[::thin]
    side = 2 * steps + 1
    chosen = smooth[:, rows, columns].T.reshape(-1, 1, side, side)
    finer = max(1, round(pool / grid))
    side = (side - 1) * finer + 1
    if finer > 1:
        chosen = F.interpolate(chosen, size=(side, side), mode="bicubic", align_corners=True)
    places = torch.arange(side, device=chosen.device, dtype=chosen.dtype)
    places = places * (pool / finer) - steps * pool
    centre = (window - 1) / 2 * pool + (pool - 1) / 2
    points = torch.stack([rows, columns]) * float(stride * pool) + centre
    shifts = torch.stack([places.repeat_interleave(side), places.repeat(side)])
    return WindowScores(points.to(chosen.dtype), _SHARPNESS * chosen.flatten(1), shifts)


def smoothed_scores(scores: Tensor, weight: Tensor) -> Tensor:
    """Return scores (rows, columns, K, K) blurred over neighbouring windows, (K * K, ...)."""
    flat = (scores * weight[..., None, None]).flatten(2).movedim(-1, 0)
    return blurred(flat) / blurred(weight[None]).clamp_min(1e-3)


def blurred(planes: Tensor) -> Tensor:
    """Return planes (N, rows, columns) blurred over three by three."""
    kernel = planes.new_tensor([1.0, 2.0, 1.0])
    kernel = (kernel[:, None] * kernel / 16)[None, None]
    return F.conv2d(F.pad(planes[:, None], (1, 1, 1, 1), mode="replicate"), kernel)[:, 0]


def shift_scores(
    fixed: Tensor, known: Tensor, neighbour: Features, reach: int, window: int, stride: int
) -> tuple[Tensor, Tensor]:
    """Compare windows of two images over small shifts in both directions.

    Parameters
    ----------
    fixed, known : Tensor, (H, W)
        Values and 0/1 weights on the neighbour's grid.
    neighbour : Features
        What to compare with.
    reach : int
        Largest shift, in pixels of the features' grid.
    window, stride : int
        Side and spacing of the windows, in pixels of the features' grid.

    Returns
    -------
    scores : Tensor, (Y, X, 2 * reach + 1, 2 * reach + 1)
        Correlation if the neighbour is read at a shift of (dy, dx).
    weight : Tensor, (Y, X)
        Share of the window that can be compared; 0 where too little is.
    """
    height, width = fixed.shape
    side = 2 * reach + 1
    margins = (reach, reach, reach, reach)
    other = neighbour.values * neighbour.known
    padded = F.pad(torch.stack([other, other * other, neighbour.known]), margins)
    # A view of all shifts along a row at once.
    views = padded.unfold(2, width, 1).movedim(2, 1)
    own = fixed * known
    square = own * own
    rows = []
    for dy in range(side):
        values, squares, seen = views[:, :, dy : dy + height]
        terms = torch.cat([values * own, seen * square, squares * known])
        product, first, second = window_means(terms, window, stride).split(side)
        rows.append(product / (first * second).clamp_min(1e-6).sqrt())
    scores = torch.stack(rows).movedim((0, 1), (2, 3))
    weight = window_means(known[None], window, stride)[0]
    weight = torch.where(weight > 0.4, weight, torch.zeros_like(weight))
    return scores, weight


def window_means(planes: Tensor, window: int, stride: int) -> Tensor:
    """Return the means (N, rows, columns) of planes (N, H, W) over overlapping windows."""
    if window == 2 * stride:
        # Halves first, then pairs of them: each pixel is read once instead of four times.
        return F.avg_pool2d(F.avg_pool2d(planes[None], stride), 2, stride=1)[0]
    return F.avg_pool2d(planes[None], window, stride=stride)[0]
