"""What the picture shows where a fold line was put: a score, and whether there is a dark line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from sff_napari.sessions.records import FoldRecord
from sff_napari.sessions.simplify import sampled

USUAL = 30.0
"""A fold is darker than this percentile of the tissue beside it."""


@dataclass(frozen=True)
class LineCheck:
    """What the picture shows along a line.

    Parameters
    ----------
    score : float
        How much it looks like a fold, in [0, 1], as the detection rates lines.
    is_dark : bool
        Whether it is darker than the tissue beside it.
    """

    score: float
    is_dark: bool


def check_line(image: NDArray[Any], record: FoldRecord) -> LineCheck:
    """Return what a slice (Y, X) shows along a line; a line that was found keeps its score."""
    score = _score(image, record) if record.score is None else record.score
    return LineCheck(score, shows_dark_line(image, record))


def _score(image: NDArray[Any], record: FoldRecord) -> float:
    """Rate a line as the detection would, had it found it."""
    from sff_napari.arrays import as_slice
    from sff_napari.detection.binarise import measure_darkness
    from sff_napari.detection.classification import score_of, traits_of, trimmed
    from sff_napari.detection.measure import Slice, at_full_scale, measure
    from sff_napari.detection.ridge import follow
    from sff_napari.no_data import fill_no_data, find_no_data

    array = np.ascontiguousarray(as_slice(image))
    mask = find_no_data(array)
    array = fill_no_data(array, mask)
    darkness = measure_darkness(array, no_data=mask)
    factor = darkness.factor
    points = (sampled(record.vertices) + 0.5) / factor - 0.5
    reach = max(record.half_width / factor, 3.0)
    ridge = follow(darkness.values, points, reach=reach, extend=False)
    if ridge is None:
        return 0.0
    view = Slice(array, darkness)
    line = measure(view, at_full_scale(ridge.points, factor), ridge.half_widths * factor)
    line = None if line is None else trimmed(line)
    return 0.0 if line is None else float(score_of(traits_of(line), min(view.shape)))


def shows_dark_line(image: NDArray[Any], record: FoldRecord) -> bool:
    """Tell whether a slice is darker along a line than beside it.

    Parameters
    ----------
    image : ndarray, (Y, X)
        The slice.
    record : FoldRecord
        The line.

    Returns
    -------
    bool
        True also where too little of the line lies in the slice to tell.
    """
    points = sampled(record.vertices)
    inside = ((points >= 0) & (points <= np.asarray(image.shape) - 1)).all(axis=1)
    if inside.sum() < 8:
        return True
    along = np.gradient(points, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    points = points[inside]
    across = np.stack([-along[inside, 1], along[inside, 0]], axis=1)

    values = image.astype(np.float64)

    def grey(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
        places = points[:, None] + across[:, None] * offsets[None, :, None]
        return np.asarray(map_coordinates(values, np.moveaxis(places, -1, 0), order=1, cval=np.nan))

    width = max(record.half_width, 1.0)
    beside = np.linspace(2.5, 6.0, 8) * width
    middle = grey(np.linspace(-0.5, 0.5, 3) * width)
    outside = grey(np.concatenate([-beside, beside]))
    if not np.isfinite(outside).any() or not np.isfinite(middle).any():
        return True
    return bool(np.nanmedian(middle) <= np.nanpercentile(outside, USUAL))
