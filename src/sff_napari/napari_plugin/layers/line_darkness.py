"""Whether the picture shows anything dark where a fold line was put."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from sff_napari.sessions.records import FoldRecord
from sff_napari.sessions.simplify import sampled

USUAL = 30.0
"""A fold is darker than this percentile of the tissue beside it."""


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
