"""Find dark pixels beside a fold line that belong to it: jagged rims, spurs, debris.

The dark line is given as a centre line and a width that changes slowly.  Where it is
wider for a few pixels, black specks would stay beside the filled band.  What is as
dark as the line and joined to it is taken for part of it; dark tissue is not: it is
lighter than the line, or not joined to it.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

_REACH = 24.0
"""Distance from the measured rim, px, up to which dark pixels belong to the line."""
_FAR = 60.0
"""Distance from the rim, px, beyond which grey values are those of tissue."""
_LEAST_CONTRAST = 0.03
"""How much darker than nearly all tissue a line must be for its pixels to be told apart."""
_SHARE = 0.5
"""Share of the way from the line's grey value to that of the darkest tissue up to which pixels
count as dark."""
_DARKEST_TISSUE = 0.02
_RIM = 1
"""Pixels around a speck that are neither line nor tissue."""


def dark_rims(image: Tensor, clearance: Tensor, known: Tensor, cover: float) -> Tensor | None:
    """Return which pixels beside the dark lines belong to them, None if there are none.

    Parameters
    ----------
    image : Tensor, (Y, X)
        The damaged slice, in [0, 1].
    clearance : Tensor, (Y, X)
        Distance of each pixel from the measured rim of the nearest line, px; <= 0 on it.
    known : Tensor, (Y, X) bool
        Where the slice holds data.
    cover : float
        Pixels beside the measured rim that are covered anyway.

    Returns
    -------
    Tensor, (Y, X) bool, or None
        Pixels farther than `cover` from the measured rim.
    """
    near = (clearance <= _REACH) & known
    inside = image[(clearance <= -1.0) & known]
    tissue = image[::4, ::4][((clearance > _FAR) & known)[::4, ::4]]
    if len(inside) < 8 or len(tissue) < 100:
        return None
    line = float(inside[:: max(1, len(inside) // 4096)].median())
    darkest = float(tissue[:: max(1, len(tissue) // 65536)].quantile(_DARKEST_TISSUE))
    if darkest - line < _LEAST_CONTRAST:
        return None
    rows = torch.nonzero(near.any(1))[[0, -1], 0].tolist()
    columns = torch.nonzero(near.any(0))[[0, -1], 0].tolist()
    part = slice(rows[0], rows[1] + 1), slice(columns[0], columns[1] + 1)
    seed = (clearance <= cover)[part].cpu().numpy()
    dark = near[part] & (image[part] < line + _SHARE * (darkest - line))
    both = dark.cpu().numpy() | seed
    count, labels = cv2.connectedComponents(both.astype(np.uint8), connectivity=4)
    joined = np.zeros(count, dtype=bool)
    joined[np.unique(labels[seed])] = True
    joined[0] = False
    specks = joined[labels] & ~seed
    if not specks.any():
        return None
    kernel = np.ones((2 * _RIM + 1, 2 * _RIM + 1), np.uint8)
    grown = cv2.dilate(specks.astype(np.uint8), kernel).astype(bool) & ~seed
    found = torch.zeros_like(near)
    found[part] = torch.from_numpy(grown).to(near.device)
    return found & known
