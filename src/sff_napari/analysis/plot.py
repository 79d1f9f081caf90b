"""Draw measured folds: the two plots of figure 2 of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from sff_napari.analysis.report import amplitude_against_distance
from sff_napari.analysis.statistics import FoldStatistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STEEPEST = 5.0
_FARTHEST = 400.0
_GREY = "0.67"
_BLACK = "0.08"
_SIDES = ("#c83c28", "#1e5ac8")


def is_possible() -> bool:
    """Tell whether matplotlib, which is an extra of the package, is installed."""
    return find_spec("matplotlib") is not None


def plot(folds: Sequence[FoldStatistics]) -> Figure:
    """Return the slopes of line and flow, and the amplitude against distance, side by side.

    Left a dot a side of each fold, and the curve on which they lie if the flow
    is perpendicular to the line.  Right the mean amplitude over all folds with
    its spread, grey for the side that moved less and black for the one that
    moved more, and the law fitted to each side of each fold.

    Parameters
    ----------
    folds : sequence of FoldStatistics
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved in any format that matplotlib writes; no window is opened.

    Raises
    ------
    ImportError
        If matplotlib is not installed; see `is_possible`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.4, 4.2), layout="constrained")
    slopes, amplitudes = figure.subplots(1, 2)
    _slopes(slopes, folds)
    _amplitudes(amplitudes, folds)
    return figure


def _slopes(axes: Axes, folds: Sequence[FoldStatistics]) -> None:
    for sign in (-1, 1):
        x = sign * np.geomspace(0.1, _STEEPEST, 200)
        axes.plot(x, -1 / x, color=_GREY)
    for side, colour in enumerate(_SIDES):
        axes.plot(
            [fold.line.slope for fold in folds],
            [fold.sides[side].slope for fold in folds],
            "o",
            color=colour,
            markersize=4,
        )
    limits = (-_STEEPEST, _STEEPEST)
    axes.set(xlim=limits, ylim=limits)
    axes.set(xlabel="slope of the line (dy/dx)", ylabel="slope of the flow (dy/dx)")


def _amplitudes(axes: Axes, folds: Sequence[FoldStatistics]) -> None:
    for fold in folds:
        for side, colour in enumerate(_SIDES):
            axes.plot(fold.profile[side, :, 0], fold.fitted[side], color=colour, linewidth=0.7)
    for rows, colour in zip(amplitude_against_distance(folds), (_GREY, _BLACK), strict=True):
        seen = np.array([row[:3] for row in rows if row[3] > 0]).reshape(-1, 3)
        axes.errorbar(
            seen[:, 0], seen[:, 1], seen[:, 2], fmt="o", color=colour, ecolor=_GREY, markersize=4
        )
    axes.set(xlim=(0, _FARTHEST), xlabel="px from the dark line")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("amplitude of the flow, px")
