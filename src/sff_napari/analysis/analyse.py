"""Measure the folds of a stack."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sff_napari.analysis.block_matching import BLOCK, OVERLAP, RANGE, Matches, match_blocks
from sff_napari.analysis.law_fit import LawFit
from sff_napari.analysis.measured_ranges import ranges_of
from sff_napari.analysis.statistics import (
    FoldStatistics,
    blocks_of,
    describe_fold,
    parts_and_dark,
)
from sff_napari.arrays import as_slice
from sff_napari.errors import InputError
from sff_napari.folds import Fold
from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter
from sff_napari.restoration import restore
from sff_napari.sessions import choose_neighbours
from sff_napari.simulation import RealisticRanges, ranges_to_dict

Reference = Literal["neighbours", "interpolated"]
_ROUNDS = 3
"""How often folds that share a slice are fitted in turn."""
_TOO_SHORT = 0.15
"""Share of blocks found at the end of the range from which on it is too short."""


@dataclass(frozen=True)
class Analysis:
    """The folds of a stack, measured.

    Parameters
    ----------
    folds : tuple of FoldStatistics
        In the order of the slices.
    ranges : RealisticRanges
        What folds like these are drawn from.
    usual : tuple of str
        Which of the ranges could not be measured and are the usual ones.
    settings : dict
        Block, overlap and range in px, and what was compared with.
    notes : tuple of str
        What a reader should know.
    """

    folds: tuple[FoldStatistics, ...]
    ranges: RealisticRanges
    usual: tuple[str, ...]
    settings: dict[str, Any]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything in plain JSON types; NaN and infinity become None."""
        return {
            "settings": self.settings,
            "folds": [_plain(asdict(fold)) for fold in self.folds],
            "ranges": ranges_to_dict(self.ranges),
            "not_measured": list(self.usual),
            "notes": list(self.notes),
        }


def analyse(
    stack: Any,
    folds: Mapping[int, Sequence[Fold]],
    *,
    slices: Sequence[int] | None = None,
    reference: Reference = "neighbours",
    block: int = BLOCK,
    overlap: int = OVERLAP,
    reach: int = RANGE,
    device: str = "auto",
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> Analysis:
    """Measure what folds did to their slices (paper, section 3.1).

    Parameters
    ----------
    stack : Stack or array_like, (Z, Y, X)
        A stack with folds; only the slices with folds and their neighbours are read.
    folds : mapping of int to sequence of Fold
        The folds of each slice that has some.
    slices : sequence of int, optional
        Slices to measure; all with folds if not given.
    reference : {"neighbours", "interpolated"}
        What blocks are looked for in: both neighbours, or the slice interpolated
        from them, as the paper does.
    block, overlap, reach : int
        Of the block matching, px.
    device : str
        Where the slice is interpolated.
    progress, cancelled : callable, optional
        See `restore`.

    Returns
    -------
    Analysis
        With statistics of each fold and ranges that cover them.

    Raises
    ------
    InputError
        If there is no fold, a slice has no neighbour without folds, or a number
        makes no sense.
    Cancelled
        If `cancelled` returned True.
    """
    if reference not in get_args(Reference):
        raise InputError(f"There is no reference {reference!r}: use neighbours or interpolated.")
    wanted = sorted(folds) if slices is None else sorted(set(slices))
    without = [z for z in wanted if not folds.get(z)]
    if without:
        raise InputError(f"There is no fold on slice {without[0]}: choose slices that have some.")
    if not wanted:
        raise InputError("There is no fold to measure: detect or draw some first.")
    reporter = Reporter(progress, cancelled)
    found: list[FoldStatistics] = []
    for number, z in enumerate(wanted):
        part = reporter.part(number / len(wanted), (number + 1) / len(wanted))
        damaged = as_slice(np.asarray(stack[z]), f"slice {z}")
        beside = _neighbours(stack, z, folds)
        if reference == "interpolated":
            beside = [_interpolated(damaged, beside, folds[z], device)]
        shape = (damaged.shape[0], damaged.shape[1])
        parts, dark = parts_and_dark(folds[z], shape)
        matches = match_blocks(
            damaged,
            [one for one in beside if one is not None],
            dark,
            parts,
            block=block,
            overlap=overlap,
            reach=reach,
            reporter=part,
        )
        found.extend(_fitted_in_turn(z, folds[z], matches, shape))
    reporter(1.0, "Done")
    ranges, usual = ranges_of(found)
    settings = {"block": block, "overlap": overlap, "range": reach, "reference": reference}
    return Analysis(tuple(found), ranges, usual, settings, tuple(_notes(found, reach)))


def _neighbours(
    stack: Any, z: int, folds: Mapping[int, Sequence[Fold]]
) -> list[NDArray[Any] | None]:
    """Return the nearest slices without folds before and after slice `z`; None where none is."""
    damaged = {(other,) for other, lines in folds.items() if lines}
    chosen = choose_neighbours((z,), 0, len(stack), damaged)
    beside = [
        None if index is None else as_slice(np.asarray(stack[index[0]]), f"slice {index[0]}")
        for index in (chosen.previous, chosen.following)
    ]
    if all(one is None for one in beside):
        raise InputError(
            f"Slice {z} has no undamaged slice near it to be compared with: "
            "remove folds that are not real from the folds file."
        )
    return beside


def _interpolated(
    damaged: NDArray[Any],
    beside: Sequence[NDArray[Any] | None],
    folds: Sequence[Fold],
    device: str,
) -> NDArray[Any]:
    made = restore(
        beside[0], damaged, beside[1], folds, unfolding="none", fusion="stitch", device=device
    )
    return made.reference


def _fitted_in_turn(
    z: int, folds: Sequence[Fold], matches: Matches, shape: tuple[int, int]
) -> list[FoldStatistics]:
    """Return the statistics of all folds of a slice, each less what the others did."""
    pushes = [np.zeros_like(matches.offsets) for _ in folds]
    found: list[FoldStatistics] = []
    for _ in range(_ROUNDS if len(folds) > 1 else 1):
        found = []
        for number, fold in enumerate(folds):
            others = np.sum([p for i, p in enumerate(pushes) if i != number], axis=0)
            own = replace(matches, offsets=matches.offsets - others)
            statistics, fit = describe_fold(z, number, fold, own, shape)
            pushes[number] = _push(fold, fit, own, shape)
            found.append(statistics)
    return found


def _push(
    fold: Fold, fit: LawFit | None, matches: Matches, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return what a fitted fold does to all blocks of its slice, (N, 2) px."""
    blocks, _ = blocks_of(fold, matches, shape)
    if fit is None:
        return np.zeros_like(blocks.offsets)
    beside = (blocks.along >= 0) & (blocks.along <= fit.knots[-1])
    return np.where(beside[:, None], fit.displacement(blocks)[:, None] * blocks.away, 0.0)


def _notes(folds: Sequence[FoldStatistics], reach: int) -> list[str]:
    notes = []
    for fold in folds:
        where = f"Slice {fold.z}, fold {fold.number}"
        if fold.at_limit > _TOO_SHORT:
            notes.append(
                f"{where}: {100 * fold.at_limit:.0f} % of the blocks beside the line were found at "
                f"the end of the range of {reach} px; use a longer one."
            )
        if not all(side.is_perpendicular for side in fold.sides):
            notes.append(
                f"{where}: on a side the tissue did not move across the line, so it was not this "
                "fold that moved it; its law is not used for the ranges."
            )
        if not all(side.is_known for side in fold.sides):
            notes.append(
                f"{where}: too few blocks beside the line were found again to measure its law."
            )
    return notes


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value
