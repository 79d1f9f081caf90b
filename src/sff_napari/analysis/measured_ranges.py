"""Turn measured folds into the ranges that folds like them are drawn from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sff_napari.analysis.statistics import FoldStatistics
from sff_napari.simulation import RealisticRanges

_SURE = 2.0
"""Standard errors by which a measured value is widened on both sides."""
_ROUGH_GAP = 10.0
_ROUGH_DECAY = 0.02
"""Standard errors of displacement, px, and decay, 1/px, above which they are hardly known."""
_MOST = 1.25
"""Largest factor by which a range is widened for what was not seen."""
_WORTH = 2.0
"""Folds that the usual share of ends inside counts for."""


def ranges_of(folds: Sequence[FoldStatistics]) -> tuple[RealisticRanges, tuple[str, ...]]:
    """Return the ranges that cover measured folds, and what of them was not measured.

    Each range reaches from the smallest to the largest value less and plus two
    standard errors, and is widened by its width over the number of values less
    one, by a fifth at most: the few folds that were measured are hardly the
    smallest and the largest there are.

    Parameters
    ----------
    folds : sequence of FoldStatistics
        At least one.

    Returns
    -------
    ranges : RealisticRanges
        Px of this stack; values that could not be measured are the usual ones.
    usual : tuple of str
        Their names.
    """
    default = RealisticRanges()
    lines = [fold.line for fold in folds]
    sides = [side for fold in folds for side in fold.sides if side.is_known]
    known = [side for side in sides if side.is_perpendicular and np.isfinite(side.decay_error)]
    values: dict[str, object] = {}
    widths = [line.half_width for line in lines]
    values["half_width"] = _covering(widths, [0.05 * w for w in widths], 0.0, 0.5, 1000.0)
    values["half_width_variation"] = float(
        np.clip(np.mean([line.half_width_variation for line in lines]), 0.0, 1.0)
    )
    if known:
        gaps = [side.displacement for side in known]
        errors = [side.displacement_error for side in known]
        values["gap"] = _covering(gaps, errors, _ROUGH_GAP, 0.0, 2000.0)
        decays = [side.decay for side in known]
        errors = [side.decay_error for side in known]
        values["decay"] = _covering(decays, errors, _ROUGH_DECAY, 1e-4, 0.9)
        spread = [_variation(*side.displacement_range) for side in known]
        values["gap_variation"] = float(np.clip(np.mean(spread), 0.05, 0.5))
    count = len(lines)
    wider = (count + 1) / count
    values["bow"] = min(max(line.bow for line in lines) * wider, 0.3)
    values["wiggle"] = min(float(np.sqrt(np.mean([line.wiggle**2 for line in lines]))), 0.05)
    # Of both ends one is cut off with this probability, the other with a third of it.
    inside = sum(line.ends_inside for line in lines)
    share = (0.75 * inside + default.inside_end * _WORTH) / (count + _WORTH)
    values["inside_end"] = min(share, 1.0)
    ranges = RealisticRanges(**values)  # type: ignore[arg-type]
    names = ("gap", "gap_variation", "decay", "knot_spacing")
    return ranges, tuple(name for name in names if name not in values)


def _covering(
    values: Sequence[float], errors: Sequence[float], rough: float, least: float, most: float
) -> tuple[float, float]:
    """Return a range of values; those with errors above `rough` count only if all are so."""
    own, error = np.asarray(values), np.asarray(errors)
    # A value that is hardly known must not stretch the range of those that are.
    known = (error <= rough) | (error <= 0.25 * own)
    if known.any():
        own, error = own[known], error[known]
    low, high = float((own - _SURE * error).min()), float((own + _SURE * error).max())
    low, high = max(low, 0.3 * float(own.min()), least), max(high, least)
    more = min((high / low) ** (1 / max(len(own) - 1, 1)), _MOST) if low > 0 else 1.0
    return float(np.clip(low / more, least, most)), float(np.clip(high * more, least, most))


def _variation(low: float, high: float) -> float:
    """Return the spread of the logarithm of a value that runs from `low` to `high`."""
    # About two standard deviations lie between the ends of a handful of values.
    return float(np.log(max(high, 1.0) / max(low, 0.3 * high, 1.0)) / 2)
