"""Show measured folds as tables of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sff_napari.analysis.analyse import Analysis
from sff_napari.analysis.statistics import FoldStatistics
from sff_napari.simulation import ranges_to_dict

_FLAT = 1e-3
"""Decay, 1/px, below which nothing can be said about the shape of the fall."""
_FARTHEST = 400.0
"""Distance, px, up to which amplitudes are listed."""


def report(found: Analysis) -> str:
    """Return an analysis as text: the folds, amplitude against distance, and the ranges."""
    s = found.settings
    against = "the neighbours" if s["reference"] == "neighbours" else "the interpolated slice"
    parts = [
        f"{len(found.folds)} fold{'s' * (len(found.folds) != 1)} against {against}: blocks of "
        f"{s['block']} px, overlap {s['overlap']} px, range {s['range']} px",
        _folds_table(found.folds),
        _perpendicular(found.folds),
        _amplitude_table(found.folds),
        _ranges_table(found),
    ]
    if found.notes:
        parts.append("\n".join(found.notes))
    return "\n\n".join(parts)


def _folds_table(folds: Sequence[FoldStatistics]) -> str:
    head = (
        f"{'slice':>5}{'fold':>5}{'length':>8}{'dark line px':>16}{'side':>6}{'found':>10}"
        f"{'slopes':>8}{'angle':>7}{'at line px':>13}{'along it':>10}{'decay /px':>17}{'shape':>13}"
    )
    lines = [head]
    for fold in folds:
        line = fold.line
        low, high = (2 * width for width in line.half_width_range)
        for number, side in enumerate(fold.sides):
            first = f"{fold.z:>5}{fold.number:>5}{line.length:>8.0f}" if number == 0 else " " * 18
            width = f"{2 * line.half_width:.0f} ({low:.0f}-{high:.0f})" if number == 0 else ""
            law = f"{'-':>13}{'-':>10}{'-':>17}{'-':>13}"
            if side.is_known:
                reach = "{:.0f}-{:.0f}".format(*side.displacement_range)
                shape = _shape(side.tail, side.decay)
                law = (
                    f"{side.displacement:>7.1f} ±{_number(side.displacement_error, 1):>4}"
                    f"{reach:>10}{side.decay:>9.4f} ±{_number(side.decay_error, 4):>6}{shape:>13}"
                )
            lines.append(
                f"{first}{width:>16}{'-+'[number]:>6}{f'{side.reliable}/{side.blocks}':>10}"
                f"{_number(side.slope_product, 2):>8}{_number(side.off_perpendicular, 0):>7}{law}"
            )
    lines.append(
        "found: blocks found again; slopes: product of the slopes of line and flow, -1 if they are "
        "perpendicular; angle: of the flow off the normal, degrees; ±: standard error"
    )
    return "\n".join(lines)


def _perpendicular(folds: Sequence[FoldStatistics]) -> str:
    angles = [s.off_perpendicular for fold in folds for s in fold.sides]
    angles = [abs(angle) for angle in angles if math.isfinite(angle)]
    if not angles:
        return "The direction of the flow could not be measured."
    return (
        f"Off the perpendicular: {np.median(angles):.1f} degrees (median of {len(angles)} sides), "
        f"{max(angles):.1f} at most."
    )


def _amplitude_table(folds: Sequence[FoldStatistics]) -> str:
    pair = f"{'amplitude':>12}{'spread':>8}{'blocks':>8}"
    lines = [
        f"{'px from the':<14}{'side that moved less':>28}{'side that moved more':>28}",
        f"{'dark line':<14}{pair}{pair}",
    ]
    less, more = amplitude_against_distance(folds)
    for rows in zip(less, more, strict=True):
        if rows[0][0] > _FARTHEST or not any(row[3] for row in rows):
            continue
        line = f"{rows[0][0]:<14.0f}"
        for _, mean, spread, count in rows:
            line += f"{_number(mean, 1):>12}{_number(spread, 1):>8}{count:>8.0f}"
        lines.append(line)
    return "\n".join(lines)


Amplitudes = list[tuple[float, float, float, float]]


def amplitude_against_distance(folds: Sequence[FoldStatistics]) -> tuple[Amplitudes, Amplitudes]:
    """Return amplitude against distance, over all folds.

    Parameters
    ----------
    folds : sequence of FoldStatistics
        At least one.

    Returns
    -------
    less, more : list of (distance, mean, spread, count)
        For the side of each fold that moved less, and the one that moved more:
        px from the dark line, mean amplitude and its spread over all blocks,
        within folds and between them, px; NaN in bins without blocks.
    """
    sides: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]] = ([], [])
    for fold in folds:
        means = [np.nan_to_num(profile[:, 1]) @ profile[:, 3] for profile in fold.profile]
        counts = [max(float(profile[:, 3].sum()), 1.0) for profile in fold.profile]
        swapped = means[0] / counts[0] > means[1] / counts[1]
        sides[0].append(fold.profile[int(swapped)])
        sides[1].append(fold.profile[1 - int(swapped)])
    return _pooled(np.stack(sides[0])), _pooled(np.stack(sides[1]))


def _pooled(table: NDArray[np.float64]) -> Amplitudes:
    rows: Amplitudes = []
    for column in range(table.shape[1]):
        own = table[:, column]
        distance = float(own[0, 0])
        own = own[own[:, 3] > 0]
        count = float(own[:, 3].sum())
        if count == 0:
            rows.append((distance, math.nan, math.nan, 0.0))
            continue
        mean = float(np.average(own[:, 1], weights=own[:, 3]))
        square = np.average(own[:, 2] ** 2 + (own[:, 1] - mean) ** 2, weights=own[:, 3])
        rows.append((distance, mean, float(np.sqrt(square)), count))
    return rows


def _ranges_table(found: Analysis) -> str:
    lines = ["Ranges to simulate folds like these (px):"]
    for name, value in ranges_to_dict(found.ranges).items():
        text = f"{value[0]:.4g} to {value[1]:.4g}" if isinstance(value, list) else f"{value:.4g}"
        usual = "  (usual value, not measured)" if name in found.usual else ""
        lines.append(f"  {name:<22}{text}{usual}")
    return "\n".join(lines)


def _shape(tail: float, decay: float) -> str:
    if decay < _FLAT:
        return "flat"
    return {0.0: "linear", 1.0: "exponential"}.get(tail, "in between")


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"
