"""Judge a restored slice when nobody knows the truth.

A slice resembles its neighbours.  Where the fold displaced the tissue the
resemblance is lost, and a good restoration brings it back to about what clean
slices of the same stack have.  Pixels that were synthesised from the
neighbours resemble them by construction, so they are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sff_napari.no_data import fill_no_data, find_no_data

LEAST_GAIN = 0.01
"""Smallest gain in correlation that counts as better."""
LEAST_PIXELS = 500
"""Fewer observed pixels than this say nothing about a correlation."""
ACTS = 1.0
"""Displacement in pixels from which on a place counts as near the fold."""


@dataclass(frozen=True)
class NeighbourScores:
    """Correlation of a slice with its neighbours, averaged over those it has; NaN if unknown.

    Parameters
    ----------
    near_before, near_after : float
        Where the fold displaced tissue, for the damaged and the restored slice.
    away_before, away_after : float
        Elsewhere.
    clean : float
        What clean slices of the stack have among each other.
    observed : float
        Share of the restored slice that was observed, not synthesised.
    """

    near_before: float
    near_after: float
    away_before: float
    away_after: float
    clean: float
    observed: float

    @property
    def better(self) -> bool | None:
        """Whether the slice resembles its neighbours more than before; None if unknown."""
        if math.isnan(self.near_before) or math.isnan(self.near_after):
            return None
        return self.near_after >= self.near_before + LEAST_GAIN

    def to_dict(self) -> dict[str, float | None]:
        """Return the scores as plain JSON types; NaN becomes None."""
        return {k: None if math.isnan(v) else round(v, 4) for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> NeighbourScores:
        """Return the scores that `to_dict` described."""
        names = cls.__dataclass_fields__
        return cls(**{k: math.nan if record.get(k) is None else float(record[k]) for k in names})


def correlation(
    first: NDArray[Any], second: NDArray[Any], mask: NDArray[np.bool_] | None = None
) -> float:
    """Return the normalised cross correlation of two smoothed slices (Y, X) where `mask` is True.

    NaN when too few pixels remain or one side is constant.
    """
    known = np.isfinite(first) & np.isfinite(second)
    if mask is not None:
        known &= mask
    if int(known.sum()) < LEAST_PIXELS:
        return math.nan
    a = first[known].astype(np.float64)
    b = second[known].astype(np.float64)
    a -= a.mean()
    b -= b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0 else math.nan


def smooth(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return a slice (Y, X) after a Gaussian of 1 px, as float32."""
    out: NDArray[np.float32] = ndimage.gaussian_filter(np.asarray(image, dtype=np.float32), 1.0)
    return out


def smooth_and_known(image: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return a slice (Y, X) smoothed by `smooth`, and where it holds data."""
    mask = find_no_data(image)
    if mask is None:
        return smooth(image), np.ones(image.shape, np.bool_)
    return smooth(fill_no_data(image, mask)), ~mask


def score_without_truth(
    damaged: NDArray[Any],
    restored: NDArray[Any],
    synthesised: NDArray[np.floating],
    flow: NDArray[np.floating],
    neighbours: Sequence[NDArray[Any]],
    clean_pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]] = (),
) -> NeighbourScores:
    """Compare a slice with its neighbours before and after restoring.

    Parameters
    ----------
    damaged, restored : ndarray, (Y, X)
        The slice before and after.
    synthesised : ndarray, (Y, X)
        Share of each pixel that was not observed, in [0, 1].
    flow : ndarray, (2, Y, X)
        Sampling offset (dy, dx) in pixels; NaN where there is no source.
    neighbours : sequence of ndarray, (Y, X)
        The clean slices beside it; at least one.  Where a slice holds no data
        (see `sff_napari.no_data`) nothing is compared.
    clean_pairs : sequence of pairs of ndarray, (Y, X)
        Neighbouring clean slices of the same stack, for comparison.
    """
    observed = np.asarray(synthesised) < 0.5
    moved = np.hypot(np.nan_to_num(flow[0]), np.nan_to_num(flow[1])) >= ACTS
    before, known_before = smooth_and_known(damaged)
    after, known_after = smooth_and_known(restored)
    observed &= known_before & known_after
    near, away = observed & moved, observed & ~moved
    rows = []
    for neighbour in neighbours:
        beside, known = smooth_and_known(neighbour)
        rows.append(
            [
                correlation(image, beside, mask & known)
                for mask in (near, away)
                for image in (before, after)
            ]
        )
    clean = []
    for pair in clean_pairs:
        (first, known_first), (second, known_second) = (smooth_and_known(one) for one in pair)
        clean.append(correlation(first, second, known_first & known_second))
    near_before, near_after, away_before, away_after = (
        _mean([row[i] for row in rows]) for i in range(4)
    )
    return NeighbourScores(
        near_before, near_after, away_before, away_after, _mean(clean), float(observed.mean())
    )


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan
