"""Measured folds as tables of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sff_napari.analysis.analyse import Analysis
from sff_napari.analysis.statistics import FoldStatistics
from sff_napari.simulation import ranges_to_dict

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
                law = (
                    f"{side.displacement:>7.1f} ±{side.displacement_error:>4.1f}{reach:>10}"
                    f"{side.decay:>9.4f} ±{side.decay_error:>6.4f}{_shape(side.tail):>13}"
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
    lines = [f"{'px from the dark line':<22}{'mean amplitude':>15}{'spread':>8}{'blocks':>8}"]
    for distance, mean, spread, count in amplitude_against_distance(folds):
        if distance > _FARTHEST or count == 0:
            continue
        lines.append(f"{distance:<22.0f}{mean:>15.1f}{spread:>8.1f}{count:>8.0f}")
    return "\n".join(lines)


def amplitude_against_distance(
    folds: Sequence[FoldStatistics],
) -> list[tuple[float, float, float, float]]:
    """Return distance, mean amplitude, its spread and number of blocks a bin, over all folds.

    The spread is that of all blocks, within folds and between them; NaN in bins
    without blocks.
    """
    table = np.concatenate([fold.profile for fold in folds])
    rows = []
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


def _shape(tail: float) -> str:
    return {0.0: "linear", 1.0: "exponential"}.get(tail, "in between")


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"
