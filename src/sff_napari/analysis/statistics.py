"""Measure what a fold did to its slice (paper, section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sff_napari.analysis.block_matching import STANDS_OUT, Matches
from sff_napari.analysis.law_fit import Blocks, LawFit, fit_law
from sff_napari.folds import Curve, Fold

LEAST_BLOCKS = 12
"""Fewer reliable matches than this on a side do not tell its law."""
BIN = 20.0
"""Width of the bins of distance, px."""
FARTHEST = 600.0
"""Distance from the dark line up to which blocks count, px."""
_END = 150.0
"""Length of the line, px, over which a fold fades out towards an end inside the slice."""
_MARGIN = 3.0
"""Pixels around the dark line that are neither line nor tissue."""
_NEAR = 150.0
"""Distance from the dark line, px, up to which the direction of the flow is measured."""
_OBLIQUE = 30.0
"""Angle off the perpendicular, in degrees, from which on it was not the fold that was measured."""
_ANGLE = 10.0
"""Width of the bins of the histogram of directions, in degrees."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LineStatistics:
    """The fold line itself.

    Parameters
    ----------
    length : float
        Px.
    slope : float
        dy / dx of its chord; infinite for a vertical line.
    half_width : float
        Median half width of the dark line, px.
    half_width_range : (low, high)
        5th and 95th percentile along it.
    half_width_variation : float
        Standard deviation of the logarithm of the half width along it.
    bow : float
        Largest departure from the chord, as a share of the chord.
    wiggle : float
        How much it sways about its bow, in the unit of `RealisticRanges`.
    ends_inside : int
        How many of its ends lie inside the slice.
    """

    length: float
    slope: float
    half_width: float
    half_width_range: tuple[float, float]
    half_width_variation: float
    bow: float
    wiggle: float
    ends_inside: int


@dataclass(frozen=True)
class SideStatistics:
    """One side of a fold.

    Parameters
    ----------
    blocks, reliable : int
        How many blocks were matched, and how many matches count.
    slope : float
        Main slope dy / dx of the flow near the line: the middle of the highest
        bin of the histogram of its directions; NaN if there is too little.
    slope_product : float
        Times the slope of the line; -1 if they are perpendicular.
    off_perpendicular : float
        Angle between the main direction of the flow and the normal of the line
        at each block, in degrees, in [-90, 90].
    displacement, displacement_error : float
        At the edge of the dark line, px: mean along the line, and its standard
        error; NaN if unknown.
    displacement_range : (low, high)
        Smallest and largest along the line.
    decay, decay_error : float
        Loss of displacement a pixel of distance, and its standard error.
    tail : float
        Shape of the fall, 0 linear, 1 exponential.
    """

    blocks: int
    reliable: int
    slope: float
    slope_product: float
    off_perpendicular: float
    displacement: float
    displacement_error: float
    displacement_range: tuple[float, float]
    decay: float
    decay_error: float
    tail: float

    @property
    def is_known(self) -> bool:
        """Whether its law could be measured."""
        return math.isfinite(self.displacement)

    @property
    def is_perpendicular(self) -> bool:
        """Whether the tissue moved across the line, as folds move it, or nobody can tell."""
        return not abs(self.off_perpendicular) > _OBLIQUE


@dataclass(frozen=True)
class FoldStatistics:
    """One fold, measured.

    Parameters
    ----------
    z : int
        Its slice.
    number : int
        Which of the folds of the slice.
    line : LineStatistics
        The line.
    sides : (SideStatistics, SideStatistics)
        Where the signed distance from the line is negative, and positive.
    common : (dy, dx)
        Offset of the whole slice against its neighbours, px.
    residual : float
        Median distance between measured and fitted offsets, px.
    at_limit : float
        Share of the blocks near the line that were found at the end of the range, of
        those that stood out.
    profile : ndarray, (2, B, 4)
        For each side and bin of distance: distance from the edge of the dark
        line, px; mean amplitude of the flow, px; its standard deviation; number
        of blocks.  NaN where there is none.
    fitted : ndarray, (2, B)
        The fitted law at the same distances, px.
    """

    z: int
    number: int
    line: LineStatistics
    sides: tuple[SideStatistics, SideStatistics]
    common: tuple[float, float]
    residual: float
    at_limit: float
    profile: Floats
    fitted: Floats


def describe_line(fold: Fold, shape: tuple[int, int]) -> LineStatistics:
    """Return the statistics of a fold line on a slice of a shape (Y, X)."""
    curve = Curve.of(fold, dtype=torch.float64)
    along = torch.linspace(0, curve.length, 201, dtype=torch.float64)
    points = curve.at(along)[0].T.numpy()
    chord = points[-1] - points[0]
    span = max(float(np.linalg.norm(chord)), 1e-9)
    across = (points - points[0]) @ np.array([chord[1], -chord[0]]) / span
    share = (points - points[0]) @ chord / span**2
    # The shape that folds are simulated with: a parabola and two sines.
    waves = [np.sin(np.pi * n * share) for n in (2, 3)]
    basis = np.stack([4 * share * (1 - share), *waves], axis=1)
    weights = np.linalg.lstsq(basis, across, rcond=None)[0] if not curve.is_straight else [0, 0, 0]
    sway = math.hypot(weights[1] * 4, weights[2] * 9) / math.sqrt(2)
    widths = np.array([fold.half_width] if fold.half_widths is None else fold.half_widths)
    if len(widths) > 1:
        widths = np.interp(along.numpy(), curve.vertices_along, widths)
    low, high = np.percentile(widths, (5, 95))
    return LineStatistics(
        curve.length,
        float(chord[0] / chord[1]) if abs(chord[1]) > 1e-9 else math.inf,
        float(np.median(widths)),
        (float(low), float(high)),
        float(np.log(widths).std()),
        float(abs(weights[0]) / span),
        float(sway / span),
        sum(_ends_inside(fold, shape)),
    )


def _ends_inside(fold: Fold, shape: tuple[int, int]) -> tuple[bool, bool]:
    """Tell which ends of the line lie inside a slice (Y, X), clear of its border."""
    found = []
    for y, x in (fold.vertices[0], fold.vertices[-1]):
        margin = min(y, x, shape[0] - 1 - y, shape[1] - 1 - x)
        found.append(margin > max(2 * fold.half_width, 8.0))
    return found[0], found[1]


def parts_and_dark(
    folds: Sequence[Fold], shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return on which side of each fold a pixel lies, and whether it is dark, both (Y, X)."""
    parts = np.zeros(shape, dtype=np.int64)
    dark = np.zeros(shape, dtype=bool)
    for number, fold in enumerate(folds):
        curve = Curve.of(fold)
        fold_coordinates = curve.on_grid(shape)
        distance, along = fold_coordinates.distance.numpy(), fold_coordinates.along.numpy()
        beside = (along >= 0) & (along <= curve.length)
        parts += ((distance > 0) & beside).astype(np.int64) << number
        dark |= (np.abs(distance) <= _half_width(fold, curve, along) + _MARGIN) & beside
    return parts, dark


def _half_width(fold: Fold, curve: Curve, along: NDArray[Any]) -> NDArray[Any]:
    if fold.half_widths is None:
        return np.full(along.shape, fold.half_width)
    return np.interp(along, curve.vertices_along, fold.half_widths)


def blocks_of(
    fold: Fold, matches: Matches, shape: tuple[int, int]
) -> tuple[Blocks, NDArray[np.bool_]]:
    """Return matches in the coordinates of a fold, and which of them tell its law.

    Left out are blocks beyond its ends, where it fades out, and far away.
    """
    curve = Curve.of(fold, dtype=torch.float64)
    fold_coordinates = curve.project(torch.from_numpy(matches.places.T.copy()))
    along, distance = fold_coordinates.along.numpy(), fold_coordinates.distance.numpy()
    away = np.sign(distance)[:, None] * fold_coordinates.normal.numpy().T
    beyond = np.abs(distance) - _half_width(fold, curve, along)
    fade = min(_END, curve.length / 3)
    first, last = (fade if inside else -BIN for inside in _ends_inside(fold, shape))
    use = (along >= first) & (along <= curve.length - last)
    use &= (beyond > 0) & (beyond <= FARTHEST)
    side = (distance > 0).astype(np.int64)
    return Blocks(along, beyond, side, away, matches.offsets), use


def describe_fold(
    z: int, number: int, fold: Fold, matches: Matches, shape: tuple[int, int]
) -> tuple[FoldStatistics, LawFit | None]:
    """Return the statistics of one fold, and the law that was fitted if there is enough.

    Parameters
    ----------
    z, number : int
        Its slice, and which of its folds it is.
    fold : Fold
        The line.
    matches : Matches
        Of the slice, less what other folds did.
    shape : (height, width)
        Of the slice.
    """
    line = describe_line(fold, shape)
    blocks, use = blocks_of(fold, matches, shape)
    good = use & matches.reliable
    counts = [
        [int((which & (blocks.side == side)).sum()) for side in (0, 1)] for which in (use, good)
    ]
    enough = [side for side in (0, 1) if counts[1][side] >= LEAST_BLOCKS]
    fit = None
    if enough:
        fit = fit_law(blocks.where(good & np.isin(blocks.side, enough)), line.length)
    common = np.zeros(2) if fit is None else fit.common
    chord = np.subtract(fold.vertices[-1], fold.vertices[0])
    sides = tuple(
        _side(
            blocks.where(good), side, common, chord, line.slope,
            fit if side in enough else None, counts[0][side],
        )
        for side in (0, 1)
    )  # fmt: skip
    near = use & (blocks.beyond < _NEAR) & (matches.prominence >= STANDS_OUT)
    at_limit = float(matches.at_limit[near].mean()) if near.sum() >= LEAST_BLOCKS else 0.0
    profile = _profile(blocks.where(good), common)
    fitted = np.full(profile.shape[:2], np.nan)
    if fit is not None:
        for side in enough:
            middle = np.array([profile[side, :, 0]]).T
            own = Blocks(
                np.full(len(middle), line.length / 2),
                middle[:, 0],
                np.full(len(middle), side),
                np.zeros((len(middle), 2)),
                np.zeros((len(middle), 2)),
            )
            level = fit.gap[side].mean(keepdims=True)
            mean = LawFit(
                np.zeros(1), np.stack([level, level]), fit.decay, fit.tail, fit.common,
                fit.gap_error, fit.decay_error, fit.residual,
            )  # fmt: skip
            fitted[side] = mean.displacement(own)
    return FoldStatistics(
        z,
        number,
        line,
        (sides[0], sides[1]),
        (float(common[0]), float(common[1])),
        float("nan") if fit is None else fit.residual,
        at_limit,
        profile,
        fitted,
    ), fit


def _side(
    blocks: Blocks,
    side: int,
    common: Floats,
    chord: Floats,
    line_slope: float,
    fit: LawFit | None,
    count: int,
) -> SideStatistics:
    nan = float("nan")
    own = blocks.where(blocks.side == side)
    near = own.where(own.beyond < _NEAR)
    slope = product = off = nan
    if len(near) >= LEAST_BLOCKS // 2:
        flow = near.offsets - common
        length = np.linalg.norm(flow, axis=1)
        angle = _main_direction(np.arctan2(flow[:, 0], flow[:, 1]), length)
        slope = math.tan(angle)
        along = math.atan2(chord[0], chord[1])
        # The product of slopes: -1 / tan of the same angle would be 0 * inf for upright lines.
        product = slope * line_slope if math.isfinite(line_slope) else nan
        if abs(math.sin(2 * along)) < 0.2:
            product = nan
        turned = np.arctan2(
            near.away[:, 1] * flow[:, 0] - near.away[:, 0] * flow[:, 1],
            (near.away * flow).sum(axis=1),
        )
        off = math.degrees(_main_direction(turned, length))
        off = (off + 90) % 180 - 90
    if fit is None:
        return SideStatistics(
            count, len(own), slope, product, off, nan, nan, (nan, nan), nan, nan, nan
        )
    gap = fit.gap[side]
    return SideStatistics(
        count,
        len(own),
        slope,
        product,
        off,
        float(gap.mean()),
        float(fit.gap_error[side]),
        (float(gap.min()), float(gap.max())),
        float(fit.decay[side]),
        float(fit.decay_error[side]),
        float(fit.tail[side]),
    )


def _main_direction(angles: Floats, weights: Floats) -> float:
    """Return the main direction of undirected angles, in radians.

    The highest bin of their histogram, weighted, and the mean within a bin's
    width of it (paper, section 3.1: "the major component in the orientation
    histogram").
    """
    half = np.degrees(angles) % 180
    count = int(180 / _ANGLE)
    bins = np.bincount((half / _ANGLE).astype(int) % count, weights, minlength=count)
    best = (float(np.argmax(bins)) + 0.5) * _ANGLE
    near = (half - best + 90) % 180 - 90
    close = np.abs(near) <= _ANGLE
    return math.radians(best + float(np.average(near[close], weights=weights[close] + 1e-9)))


def _profile(blocks: Blocks, common: Floats) -> Floats:
    """Return amplitude against distance, (2, B, 4); see `FoldStatistics`."""
    count = int(FARTHEST / BIN)
    out = np.full((2, count, 4), np.nan)
    amplitude = np.linalg.norm(blocks.offsets - common, axis=1)
    index = (blocks.beyond / BIN).astype(int)
    for side in (0, 1):
        for number in range(count):
            own = (blocks.side == side) & (index == number)
            out[side, number, 0] = (number + 0.5) * BIN
            out[side, number, 3] = own.sum()
            if own.any():
                out[side, number, 1] = amplitude[own].mean()
                out[side, number, 2] = amplitude[own].std()
    return out
