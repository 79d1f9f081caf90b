"""Take a fold line on to where its dark line really ends.

A drawn or detected line may stop a few pixels short inside the slice; the stub
that is left would be taken for tissue.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from sff_napari.folds import Fold

_LOOK_BACK = 40
"""Length of line, px, from whose grey value the line's own is known."""
_FARTHEST = 60
"""Most a line is prolonged at an end, px."""


def prolonged(image: NDArray[Any], fold: Fold) -> Fold:
    """Return the fold with its ends inside the slice moved on while the line stays dark.

    Parameters
    ----------
    image : ndarray, (Y, X)
        The damaged slice.
    fold : Fold
        The line in it.

    Returns
    -------
    Fold
        With the same vertices but for the two ends.
    """
    vertices = [np.asarray(v, dtype=np.float64) for v in fold.vertices]
    tissue = float(np.nanmedian(image[::4, ::4]))
    moved = False
    for end, before in ((0, 1), (-1, -2)):
        way = vertices[end] - vertices[before]
        length = float(np.hypot(*way))
        way = way / length
        extra = _dark_ahead(image, vertices[end], way, min(length, _LOOK_BACK), tissue)
        if extra > 0:
            vertices[end] = vertices[end] + extra * way
            moved = True
    if not moved:
        return fold
    return fold.with_changes(vertices=[(float(y), float(x)) for y, x in vertices])


def _dark_ahead(
    image: NDArray[Any],
    end: NDArray[np.float64],
    way: NDArray[np.float64],
    back: float,
    tissue: float,
) -> float:
    """Return for how many pixels beyond its end the line goes on as dark as it is before it."""
    height, width = image.shape
    margin = min(end[0], end[1], height - 1 - end[0], width - 1 - end[1])
    if margin <= 0:
        return 0.0
    across = np.array([way[1], -way[0]])
    behind = np.nanmedian(_means(image, end, way, across, -np.arange(2, max(back, 4.0))))
    if not math.isfinite(behind) or behind >= tissue:
        return 0.0
    ahead = _means(image, end, way, across, np.arange(1, _FARTHEST + 1))
    dark = ahead < behind + 0.4 * (tissue - behind)
    count = int(np.argmin(dark)) if not dark.all() else 0
    # Dark tissue that goes on and on is not the line's own stub.
    return float(count)


def _means(
    image: NDArray[Any],
    end: NDArray[np.float64],
    way: NDArray[np.float64],
    across: NDArray[np.float64],
    steps: NDArray[Any],
) -> NDArray[np.float64]:
    """Return grey values averaged over three pixels across the line, at steps from its end."""
    offsets = np.array([-1.0, 0.0, 1.0])
    places = (
        end[:, None, None]
        + way[:, None, None] * steps[None, :, None]
        + across[:, None, None] * offsets[None, None, :]
    )
    # Only the part around the end is converted: a slice can be large.
    low = np.clip(np.floor(places.min(axis=(1, 2))) - 1, 0, np.array(image.shape) - 1).astype(int)
    high = np.clip(np.ceil(places.max(axis=(1, 2))) + 2, low + 1, image.shape).astype(int)
    part = image[low[0] : high[0], low[1] : high[1]].astype(np.float32)
    values = map_coordinates(part, places - low[:, None, None], order=1, mode="nearest")
    return np.asarray(values.mean(axis=-1), dtype=np.float64)
