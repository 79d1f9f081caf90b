"""Move a roughly drawn line onto the dark ridge it means."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sff_napari.arrays import as_slice
from sff_napari.detection.binarise import measure_darkness
from sff_napari.detection.border_extension import taken_to_border
from sff_napari.detection.classification import trimmed
from sff_napari.detection.measure import Slice, at_full_scale, finished, measure
from sff_napari.detection.ridge import STEP, follow
from sff_napari.detection.vertices import to_fold
from sff_napari.errors import InputError
from sff_napari.folds import Curve, Fold
from sff_napari.no_data import fill_no_data, find_no_data

_LEAST_KEPT = 0.5
"""A snapped line shorter than this share of the drawn one has lost its way."""


def snap_fold(image: Any, fold: Fold, reach: float = 16.0) -> Fold:
    """Move a roughly drawn line onto the dark ridge nearby and measure its half widths.

    Parameters
    ----------
    image : array_like, (Y, X)
        The slice the fold was drawn in.
    fold : Fold
        The line as drawn; its half width is not used.
    reach : float
        How far the ridge may lie from the drawn line, px.

    Returns
    -------
    Fold
        The centre line of the dark band with measured half widths and the
        `source` and `score` of `fold`.  The ends are cut back to where the
        band ends, or put on the border if they nearly reach it.  `fold`
        itself, unchanged, if there is no dark band along it.

    Raises
    ------
    InputError
        If the slice cannot be used or `reach` is not positive.
    FoldError
        If the fold lies outside the slice.
    """
    if not (np.isfinite(reach) and reach > 0):
        raise InputError(f"The reach is {reach:g} px: it must be larger than 0.")
    array = np.ascontiguousarray(as_slice(image))
    fold.check_inside((array.shape[0], array.shape[1]))
    mask = find_no_data(array)
    array = fill_no_data(array, mask)
    darkness = measure_darkness(array, no_data=mask)
    factor = darkness.factor
    curve = Curve.of(fold, dtype=torch.float64)
    count = max(8, int(curve.length / (STEP * factor)) + 1)
    along = torch.linspace(0.0, curve.length, count, dtype=torch.float64)
    drawn = curve.at(along)[0].T.numpy()
    ridge = follow(
        darkness.values, (drawn + 0.5) / factor - 0.5, reach=max(reach / factor, 3.0), extend=False
    )
    if ridge is None:
        return fold
    view = Slice(array, darkness)
    line = measure(view, at_full_scale(ridge.points, factor), ridge.half_widths * factor)
    line = None if line is None else trimmed(line)
    if line is None or line.length < _LEAST_KEPT * min(curve.length, _longest_inside(drawn, array)):
        return fold
    line = taken_to_border(view, finished(view, line))
    return to_fold(line.points, line.half_widths, view.shape, score=fold.score, source=fold.source)


def _longest_inside(points: np.ndarray, array: np.ndarray) -> float:
    """Return the length of the part of a line that lies inside the slice, px."""
    inside = np.all((points >= 0) & (points <= np.asarray(array.shape) - 1), axis=1)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    return float(steps[inside[1:] & inside[:-1]].sum())
