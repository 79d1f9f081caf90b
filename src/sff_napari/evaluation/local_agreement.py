"""Compare a slice with its neighbours place by place, beside what clean slices have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.evaluation.without_truth import ACTS, smooth_and_known

PLACES = 24
"""Places along the longer side of a slice."""
LEAST_SIDE = 24
"""Smallest side of a place, px: below it chance decides."""
LEAST_SHARE = 0.3
"""A place needs this share of pixels that can be compared."""
SPREAD = (10.0, 50.0, 90.0)
"""Percentiles that describe clean slices."""
LEAST_PLACES = 4
"""Fewer places near the fold say nothing."""


@dataclass(frozen=True)
class LocalAgreement:
    """Correlation with the neighbours in square places; NaN where nothing can be compared.

    Parameters
    ----------
    before, after : ndarray, (GY, GX)
        Of the damaged and of the restored slice; made-up pixels do not count in the latter.
    near : ndarray, (GY, GX) bool
        Where the fold displaced the tissue.
    clean : tuple of float
        Percentiles `SPREAD` of the same in clean slices near by; NaN if there are none.
    """

    before: NDArray[np.float64]
    after: NDArray[np.float64]
    near: NDArray[np.bool_]
    clean: tuple[float, float, float]

    def near_share(self, values: NDArray[np.float64]) -> float:
        """Return the share of the places near the fold that agree as nine of ten clean ones do."""
        chosen = values[self.near & np.isfinite(self.before) & np.isfinite(self.after)]
        if chosen.size < LEAST_PLACES or math.isnan(self.clean[0]):
            return math.nan
        return float((chosen >= self.clean[0]).mean())

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON types: hundredths, None for NaN."""
        return {
            "before": _to_lists(self.before),
            "after": _to_lists(self.after),
            "near": self.near.astype(int).tolist(),
            "clean": [None if math.isnan(v) else round(v, 4) for v in self.clean],
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any] | None) -> LocalAgreement | None:
        """Return what `to_dict` described, or None if there is nothing that can be read."""
        try:
            assert record is not None
            low, middle, high = (math.nan if v is None else float(v) for v in record["clean"])
            found = cls(
                _from_lists(record["before"]),
                _from_lists(record["after"]),
                np.asarray(record["near"], dtype=bool),
                (low, middle, high),
            )
        except (AssertionError, KeyError, TypeError, ValueError):
            return None
        same = found.before.shape == found.after.shape == found.near.shape
        return found if same and found.before.ndim == 2 else None


def local_agreement(
    damaged: NDArray[Any],
    restored: NDArray[Any],
    synthesised: NDArray[np.floating],
    flow: NDArray[np.floating],
    neighbours: Sequence[NDArray[Any]],
    clean_pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]] = (),
) -> LocalAgreement:
    """Compare a slice with its neighbours place by place; parameters as `score_without_truth`."""
    side = max(LEAST_SIDE, math.ceil(max(damaged.shape) / PLACES))
    before, known_before = smooth_and_known(damaged)
    after, known_after = smooth_and_known(restored)
    known_after &= np.asarray(synthesised) < 0.5
    rows: list[list[NDArray[np.float64]]] = [[], []]
    for neighbour in neighbours:
        beside, known = smooth_and_known(neighbour)
        rows[0].append(_places(before, beside, known & known_before, side))
        rows[1].append(_places(after, beside, known & known_after, side))
    clean: list[NDArray[np.float64]] = []
    for pair in clean_pairs:
        (first, known_first), (second, known_second) = (smooth_and_known(image) for image in pair)
        clean.append(_places(first, second, known_first & known_second, side).ravel())
    values = np.concatenate(clean) if clean else np.empty(0)
    values = values[np.isfinite(values)]
    low, middle, high = np.percentile(values, SPREAD) if values.size else [math.nan] * 3
    moved = np.hypot(np.nan_to_num(flow[0]), np.nan_to_num(flow[1])) >= ACTS
    return LocalAgreement(
        _mean(rows[0]),
        _mean(rows[1]),
        _sums(moved, side) >= 0.5 * _sums(np.ones_like(moved), side),
        (float(low), float(middle), float(high)),
    )


def _places(
    first: NDArray[np.float32], second: NDArray[np.float32], known: NDArray[np.bool_], side: int
) -> NDArray[np.float64]:
    """Return the normalised cross correlation of two slices (Y, X) in squares, (GY, GX)."""
    a = np.where(known, first, 0).astype(np.float64)
    b = np.where(known, second, 0).astype(np.float64)
    count = _sums(known, side)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_a, mean_b = _sums(a, side) / count, _sums(b, side) / count
        both = _sums(a * b, side) / count - mean_a * mean_b
        square = _sums(a * a, side) / count - mean_a**2
        square = square * (_sums(b * b, side) / count - mean_b**2)
        result = np.clip(both / np.sqrt(square), -1, 1)
    return np.where((count >= LEAST_SHARE * side * side) & (square > 1e-9), result, np.nan)


def _sums(values: NDArray[Any], side: int) -> NDArray[np.float64]:
    """Return the sums over squares of `side` pixels; the last ones may hold fewer."""
    height, width = values.shape
    rows, columns = -(-height // side), -(-width // side)
    whole = np.zeros((rows * side, columns * side))
    whole[:height, :width] = values
    return np.asarray(whole.reshape(rows, side, columns, side).sum(axis=(1, 3)))


def _mean(values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    every = np.stack(values)
    count = np.isfinite(every).sum(axis=0)
    total = np.nansum(every, axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _to_lists(values: NDArray[np.float64]) -> list[list[int | None]]:
    return [[None if math.isnan(v) else round(100 * v) for v in row] for row in values.tolist()]


def _from_lists(rows: Sequence[Sequence[int | None]]) -> NDArray[np.float64]:
    return np.array([[math.nan if v is None else v / 100 for v in row] for row in rows], float)
