"""Fit the fold's law to matched blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

Floats = NDArray[np.float64]

TAILS = (0.0, 0.5, 1.0)
"""Shapes of the fall that are tried: linear to zero, in between, exponential."""
_ERROR = 2.0
"""Error of a match from which on it counts less, px; tissue drifts by as much between slices."""
_COMMON = 2.5
"""How far the whole slice may lie off its neighbours, px."""
_UNEVEN = 10.0
"""How much the displacement usually differs between two knots, px."""
_RESAMPLES = 30
_LEAST_CELLS = 3
"""Stretches of the line below which nothing can be said about errors."""
_CELL = 120.0
"""Length, px, along the line over which errors of matches belong together."""


@dataclass(frozen=True)
class Blocks:
    """Matched blocks in the coordinates of one fold line.

    Parameters
    ----------
    along : ndarray, (N,)
        Arc length of the nearest point of the line, px.
    beyond : ndarray, (N,)
        Distance from the edge of the dark line, px.
    side : ndarray, (N,) int
        0 where the distance from the line is negative, 1 where it is positive.
    away : ndarray, (N, 2)
        Unit vectors (y, x) away from the line.
    offsets : ndarray, (N, 2)
        What was measured, px.
    """

    along: Floats
    beyond: Floats
    side: NDArray[np.int64]
    away: Floats
    offsets: Floats

    def where(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Blocks:
        """Return some of the blocks."""
        return Blocks(
            self.along[which],
            self.beyond[which],
            self.side[which],
            self.away[which],
            self.offsets[which],
        )

    def __len__(self) -> int:
        return len(self.along)


@dataclass(frozen=True)
class LawFit:
    """The law of one fold, and how well it is known.

    Parameters
    ----------
    knots : ndarray, (K,)
        Arc lengths, px.
    gap : ndarray, (2, K)
        Displacement at the edge of the dark line, px, a side and knot.
    decay : ndarray, (2,)
        Loss of displacement a pixel of distance, a side.
    tail : ndarray, (2,)
        Shape of the fall; see `sff_napari.folds.FoldLaw`.
    common : ndarray, (2,)
        (dy, dx) by which the whole slice lies off its neighbours, px.
    gap_error, decay_error : ndarray, (2,)
        Standard errors of the mean displacement and of the decay, a side.
    residual : float
        Median distance between measured and fitted offsets, px.
    """

    knots: Floats
    gap: Floats
    decay: Floats
    tail: Floats
    common: Floats
    gap_error: Floats
    decay_error: Floats
    residual: float

    def displacement(self, blocks: Blocks) -> Floats:
        """Return the fitted displacement away from the line at blocks, (N,) px."""
        return _displacement(blocks, self.knots, self.gap, self.decay, self.tail)


def fit_law(blocks: Blocks, length: float, spacing: float = 220.0) -> LawFit:
    """Fit the law of a fold to matched blocks, robustly.

    ``offset = common + u_s(along, beyond) * away`` with the law of
    `sff_napari.folds.FoldLaw`: the displacement at the dark line is linear
    between knots along the line, the decay one number a side.

    Parameters
    ----------
    blocks : Blocks
        On both sides, or on one; what is then returned for the other means nothing.
    length : float
        Of the line, px.
    spacing : float
        Distance of the knots, px.

    Returns
    -------
    LawFit
        With standard errors from a bootstrap over stretches of 120 px of the
        line, a fixed seed.
    """
    count = int(np.clip(round(length / spacing), 1, 8)) + 1
    knots = np.linspace(0.0, length, count)
    best, tails = None, (0.0, 0.0)
    start = _start(blocks, count)
    # The two sides hardly depend on each other: their shapes are chosen one after the other.
    for side in (0, 1):
        for tail in TAILS:
            tried = (tail, tails[1]) if side == 0 else (tails[0], tail)
            if best is not None and tried == tails:
                continue
            solved = _solve(blocks, knots, np.array(tried), start)
            if best is None or solved[1] < best[1]:
                best, tails = solved, tried
    assert best is not None
    values, shape = best[0], np.array(tails)
    common, gap, decay = _unpack(values, count)
    rng = np.random.default_rng(0)
    cell = (blocks.along // _CELL).astype(int) * 2 + blocks.side
    cells, present = np.unique(cell), np.unique(blocks.side)
    members = {int(c): np.nonzero(cell == c)[0] for c in cells}
    gaps, decays = [], []
    few = np.array([np.unique(cell[blocks.side == side]).size < _LEAST_CELLS for side in (0, 1)])
    for _ in range(_RESAMPLES):
        drawn = np.concatenate([members[int(c)] for c in rng.choice(cells, cells.size)])
        sample = blocks.where(drawn)
        if any((sample.side == side).sum() < 5 for side in present):
            continue
        _, one_gap, one_decay = _unpack(_solve(sample, knots, shape, values, 10)[0], count)
        gaps.append(one_gap.mean(axis=1))
        decays.append(one_decay)
    unknown = np.full(2, np.inf)
    fitted = _displacement(blocks, knots, gap, decay, shape)[:, None] * blocks.away + common
    return LawFit(
        knots,
        gap,
        decay,
        shape,
        common,
        np.where(few, np.inf, np.std(gaps, axis=0, ddof=1)) if len(gaps) > 4 else unknown,
        np.where(few, np.inf, np.std(decays, axis=0, ddof=1)) if len(decays) > 4 else unknown,
        float(np.median(np.linalg.norm(blocks.offsets - fitted, axis=1))),
    )


def _start(blocks: Blocks, count: int) -> Floats:
    outward = (blocks.offsets * blocks.away).sum(axis=1)
    gap, decay = [], []
    for side in (0, 1):
        own = outward[blocks.side == side]
        decay.append(0.03)
        if not len(own):
            gap.append(2.0)
            continue
        near = np.argsort(blocks.beyond[blocks.side == side])[: max(8, len(own) // 4)]
        gap.append(max(float(np.median(own[near])), 2.0))
    return np.concatenate([[0.0, 0.0], np.repeat(gap, count), decay])


def _unpack(values: Floats, count: int) -> tuple[Floats, Floats, Floats]:
    return values[:2], values[2 : 2 + 2 * count].reshape(2, count), values[2 + 2 * count :]


def _solve(
    blocks: Blocks, knots: Floats, tail: Floats, start: Floats, rounds: int = 60
) -> tuple[Floats, float]:
    """Return the best parameters and their cost, after so many rounds at most."""
    count = len(knots)

    def residuals(values: Floats) -> Floats:
        common, gap, decay = _unpack(values, count)
        u = _displacement(blocks, knots, gap, decay, tail)
        miss = (blocks.offsets - common - u[:, None] * blocks.away).ravel() / _ERROR
        # Robust for the matches, plain for what is known beforehand.
        robust = np.sign(miss) * np.sqrt(2 * (np.sqrt(1 + np.square(miss)) - 1))
        uneven = np.diff(gap, axis=1).ravel() / _UNEVEN
        return np.concatenate([robust, uneven, common / _COMMON])

    low = np.concatenate([[-50.0, -50.0], np.zeros(2 * count), [1e-5, 1e-5]])
    high = np.concatenate([[50.0, 50.0], np.full(2 * count, 2000.0), [0.5, 0.5]])
    found = least_squares(
        residuals, np.clip(start, low + 1e-6, high - 1e-6), bounds=(low, high), x_scale="jac",
        max_nfev=rounds,
    )  # fmt: skip
    return found.x, float(found.cost)


def _displacement(
    blocks: Blocks, knots: Floats, gap: Floats, decay: Floats, tail: Floats
) -> Floats:
    out = np.zeros(len(blocks))
    for side in (0, 1):
        own = blocks.side == side
        g = np.interp(blocks.along[own], knots, gap[side])
        x = decay[side] * np.maximum(blocks.beyond[own], 0) / np.maximum(g, 1e-6)
        if tail[side] >= 0.999:
            fall = np.exp(-x)
        else:
            q = 1 - tail[side]
            fall = np.maximum(1 - q * x, 0) ** (1 / q)
        out[own] = g * fall
    return out
