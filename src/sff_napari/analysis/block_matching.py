"""Match blocks: find where the tissue of a damaged slice lies in its neighbours.

The paper (section 3.1, with the numbers of section 5.2) measures real folds
with blocks of 71 px that overlap by 41 px.  Its range of 21 px is too short for
the folds it describes, which move tissue by up to 80 px beside the line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sff_napari.arrays import GreyScale
from sff_napari.errors import InputError
from sff_napari.progress import Reporter

BLOCK = 71
"""Side of a block, px (paper, section 5.2)."""
OVERLAP = 41
"""How much of it neighbouring blocks share, px (paper, section 5.2)."""
RANGE = 84
"""How far a block is looked for, px: four times the range of the paper."""
STANDS_OUT = 0.08
"""How much higher the correlation is at the best place than at any other, for a match to count."""

_LEAST_SEEN = 0.5
"""Share of a block that is neither dark nor on another side of a fold."""
_PEAK = 12
"""Pixels around the best place that belong to its peak."""
_DETAIL = 1.5
_AROUND = 12.0


@dataclass(frozen=True)
class Matches:
    """Blocks of a damaged slice and where they were found.

    Parameters
    ----------
    places : ndarray, (N, 2)
        Centre (y, x) of what is seen of each block in the damaged slice, px.
    offsets : ndarray, (N, 2)
        (dy, dx) to where it lies in the reference, px: what the damaged slice
        shows at x the reference shows at ``x + offset``.
    scores : ndarray, (N,)
        Correlation at the best place.
    prominence : ndarray, (N,)
        How much higher that is than anywhere else.
    at_limit : ndarray, (N,) bool
        Where the best place lay at the end of the range.
    """

    places: NDArray[np.float64]
    offsets: NDArray[np.float64]
    scores: NDArray[np.float64]
    prominence: NDArray[np.float64]
    at_limit: NDArray[np.bool_]

    @property
    def reliable(self) -> NDArray[np.bool_]:
        """Which matches count, (N,)."""
        return (self.prominence >= STANDS_OUT) & ~self.at_limit

    def __len__(self) -> int:
        return len(self.scores)

    def where(self, which: NDArray[np.bool_]) -> Matches:
        """Return some of the matches."""
        return Matches(
            self.places[which],
            self.offsets[which],
            self.scores[which],
            self.prominence[which],
            self.at_limit[which],
        )


def match_blocks(
    damaged: NDArray[Any],
    references: Sequence[NDArray[Any]],
    dark: NDArray[np.bool_],
    parts: NDArray[np.integer[Any]],
    *,
    block: int = BLOCK,
    overlap: int = OVERLAP,
    reach: int = RANGE,
    reporter: Reporter | None = None,
) -> Matches:
    """Look for each block of a slice in its neighbours.

    Grey values are freed of slow changes first.  The correlations with several
    references are averaged before the best place is chosen.

    Parameters
    ----------
    damaged : ndarray, (Y, X)
        The damaged slice.
    references : sequence of ndarray, (Y, X)
        What it should look like: its neighbours, or a slice interpolated from them.
    dark : ndarray, (Y, X) bool
        Pixels that show no tissue.
    parts : ndarray, (Y, X) int
        On which side of the folds each pixel lies; a block ends where its part ends.
    block, overlap : int
        Side of the blocks and what neighbours share of it, px.
    reach : int
        Largest displacement in each direction, px.
    reporter : Reporter, optional
        Told of progress, asked for cancellation.

    Returns
    -------
    Matches
        One for each block of which enough is seen.

    Raises
    ------
    InputError
        If the blocks do not fit into the slice or a number makes no sense.
    """
    height, width = damaged.shape
    if not 8 <= block <= min(height, width):
        raise InputError(f"Blocks of {block} px cannot be used on slices of {height} x {width} px.")
    if not 0 <= overlap < block:
        raise InputError(f"An overlap of {overlap} px is not possible for blocks of {block} px.")
    if not 1 <= reach <= 1000:
        raise InputError(f"A range of {reach} px cannot be searched: use 1 to 1000.")
    image = _features(damaged, ~dark)
    everywhere = np.ones_like(dark)
    wide = [np.pad(_features(one, everywhere), reach) for one in references]
    found: list[tuple[float, ...]] = []
    tops = range(0, height - block + 1, block - overlap)
    for number, top in enumerate(tops):
        if reporter is not None:
            reporter(number / len(tops), "matching blocks")
        for left in range(0, width - block + 1, block - overlap):
            window = (slice(top, top + block), slice(left, left + block))
            middle = parts[top + block // 2, left + block // 2]
            seen = ~dark[window] & (parts[window] == middle)
            if seen.mean() < _LEAST_SEEN:
                continue
            template = np.where(seen, image[window], np.float32(0))
            if not template.any():
                continue
            surface = np.zeros((2 * reach + 1, 2 * reach + 1), dtype=np.float32)
            for one in wide:
                area = one[top : top + block + 2 * reach, left : left + block + 2 * reach]
                surface += cv2.matchTemplate(area, template, cv2.TM_CCORR_NORMED)
            offset, score, prominence, at_limit = _peak(surface / np.float32(len(wide)))
            y, x = (float(axis.mean()) for axis in np.nonzero(seen))
            found.append((top + y, left + x, *offset, score, prominence, at_limit))
    table = np.array(found, dtype=np.float64).reshape(-1, 7)
    return Matches(table[:, :2], table[:, 2:4], table[:, 4], table[:, 5], table[:, 6] > 0)


def _features(image: NDArray[Any], seen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return grey values (Y, X) without noise and slow changes, 0 where nothing is seen."""
    unit = GreyScale.of(image).to_unit(image)
    seen = seen & np.isfinite(unit)
    grey = np.where(seen, unit, np.float32(0))
    weight = seen.astype(np.float32)

    def smooth(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
        out: NDArray[np.float32] = ndimage.gaussian_filter(values, sigma)
        return out

    share = smooth(weight, _AROUND) + np.float32(1e-3)
    detail = np.where(seen, grey - smooth(grey, _AROUND) / share, np.float32(0))
    detail = smooth(detail.astype(np.float32), _DETAIL)
    share = smooth(weight, 2 * _AROUND) + np.float32(1e-3)
    spread = np.sqrt(smooth(detail**2, 2 * _AROUND) / share)
    floor = max(0.05 * float(spread.max()), 1e-6)
    return np.where(seen, detail / np.maximum(spread, floor), 0).astype(np.float32)


def _peak(surface: NDArray[np.floating[Any]]) -> tuple[tuple[float, float], float, float, bool]:
    """Return the best offset, its height and prominence, and whether it is at the end."""
    reach = surface.shape[0] // 2
    row, column = np.unravel_index(int(surface.argmax()), surface.shape)
    y, x = int(row), int(column)
    best = float(surface[y, x])
    others = surface.copy()
    others[max(0, y - _PEAK) : y + _PEAK + 1, max(0, x - _PEAK) : x + _PEAK + 1] = -1
    prominence = best - float(others.max())
    if min(y, x, 2 * reach - y, 2 * reach - x) == 0:
        return (float(y - reach), float(x - reach)), best, prominence, True
    dy = _top_of_parabola(*surface[y - 1 : y + 2, x])
    dx = _top_of_parabola(*surface[y, x - 1 : x + 2])
    return (y - reach + dy, x - reach + dx), best, prominence, False


def _top_of_parabola(before: float, centre: float, after: float) -> float:
    bend = float(before) - 2 * float(centre) + float(after)
    return 0.0 if bend >= 0 else 0.5 * (float(before) - float(after)) / bend
