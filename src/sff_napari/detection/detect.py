"""Find the folds of a slice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sff_napari.arrays import as_slice
from sff_napari.detection.binarise import averaged, checked_threshold, measure_darkness
from sff_napari.detection.border_extension import taken_to_border
from sff_napari.detection.branches import branches_of
from sff_napari.detection.classification import (
    LEAST_SCORE,
    is_seam,
    lies_on,
    may_be_fold,
    score_of,
    traits_of,
    trimmed,
)
from sff_napari.detection.continuation import carried_on
from sff_napari.detection.measure import Measured, Slice, at_full_scale, finished, measure
from sff_napari.detection.ridge import Ridge, follow
from sff_napari.detection.search import SIDE, Seed, find_seeds
from sff_napari.detection.vertices import to_fold
from sff_napari.devices import choose_device
from sff_napari.errors import InputError
from sff_napari.folds import Fold
from sff_napari.no_data import fill_no_data, find_no_data
from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter

_COARSE = 4
"""Reduction at which wide folds are looked for."""
_LEAST_COARSE_SIDE = 96
_WIDE = 22.0
"""Half width, px, from which a fold found at the reduced scale counts."""
_WIDE_LENGTH = 0.4
"""Shortest wide fold, as a share of the slice's shorter side: shorter ones may be myelin."""
_OVERLAP = 0.25
"""Of two lines that share more than this of the weaker one, only the stronger is a fold."""
_MOST_FOLLOWED = 12
"""Lines that are followed before the search is given up; clean slices offer a few."""


def detect_folds(
    image: Any,
    *,
    threshold: float | None = None,
    device: str = "auto",
    max_folds: int = 8,
    no_data: NDArray[np.bool_] | None = None,
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> list[Fold]:
    """Find the support film folds of one slice.

    The slice is binarised by its darkness against the tissue around, straight
    dark pieces are found by the Hough transform of overlapping tiles, and the
    dark ridge is followed from each of them, measured and judged.

    Parameters
    ----------
    image : array_like, (Y, X)
        uint8, uint16 or float in any range.
    threshold : float, optional
        Darkness above which a pixel may be fold, in (0, 1): 0 as bright as the
        tissue around, 1 as dark as the darkest of the slice.  The default
        works uncalibrated; see `calibrate`.
    device : str
        Where the Hough transform runs; see `sff_napari.devices.choose_device`.
    max_folds : int
        Most folds returned.
    no_data : ndarray, (Y, X) bool, optional
        Where there is no image besides what `sff_napari.no_data.find_no_data`
        finds: NaN, constant borders, gaps between tiles.
    progress, cancelled : callable, optional
        See `sff_napari.progress`.

    Returns
    -------
    list of Fold
        Best first, with ``score`` in [0, 1] and ``source`` "detected"; empty
        on a clean slice.

    Raises
    ------
    InputError
        If an argument cannot be used.
    Cancelled
        If `cancelled` returned True.

    See Also
    --------
    sff_napari.restore : Restores the slice.
    sff_napari.detection.calibrate : Chooses the threshold on clean slices.

    Examples
    --------
    >>> import sff_napari as sff
    >>> from sff_napari.simulation import neuropil
    >>> clean = neuropil((1, 320, 320), seed=1)[0]
    >>> line = sff.Fold([(0, 150), (319, 170)], half_width=6)
    >>> folds = sff.detect_folds(sff.simulate_fold(clean, line).damaged)
    >>> len(folds), folds[0].source
    (1, 'detected')
    >>> sff.detect_folds(clean)
    []
    """
    level = checked_threshold(threshold)
    if isinstance(max_folds, bool) or int(max_folds) < 1:
        raise InputError(f"max_folds is {max_folds}: it must be a whole number of at least 1.")
    report = Reporter(progress, cancelled)
    place = choose_device(device)
    array = np.ascontiguousarray(as_slice(image))
    report(0.0, "binarising the slice")
    mask = _all_no_data(array, no_data)
    # Without the edges of gaps, at full scale as well.
    array = fill_no_data(array, mask)
    view = Slice(array, measure_darkness(array, no_data=mask))
    found = _search(view, level, place, report.part(0.0, 0.8))
    if min(array.shape) >= _COARSE * _LEAST_COARSE_SIDE:
        # Film folded more than once is wide and shows texture, which averaging removes.
        small = averaged(array, _COARSE, mask)
        gone = ~np.isfinite(small)
        small = fill_no_data(small, gone)
        reduced = Slice(small, measure_darkness(small, no_data=gone))
        for score, line in _search(reduced, level, place, report.part(0.8, 1.0), SIDE // 2):
            wide = _COARSE * float(np.median(line.half_widths)) > _WIDE
            if wide and line.length >= _WIDE_LENGTH * min(small.shape):
                found.append((score, _enlarged(line, _COARSE)))
    found = _without_duplicates(found)
    found = _without_duplicates([(score, carried_on(view, line)) for score, line in found])
    found = sorted(found + _branches(view, found), key=lambda pair: -pair[0])
    report(1.0, "done")
    shape = (array.shape[0], array.shape[1])
    return [
        to_fold(line.points, line.half_widths, shape, score=score, source="detected")
        for score, line in found[: int(max_folds)]
    ]


def _all_no_data(array: NDArray[Any], no_data: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    if no_data is not None and no_data.shape != array.shape:
        raise InputError(
            f"The mask of no data has shape {no_data.shape}, but the slice has {array.shape}."
        )
    mask = find_no_data(array)
    found = np.zeros(array.shape, np.bool_) if mask is None else mask
    return found if no_data is None else found | no_data


def _branches(view: Slice, stems: list[tuple[float, Measured]]) -> list[tuple[float, Measured]]:
    """Return the branches of folds, each as sure as its fold at most."""
    found: list[tuple[float, Measured]] = []
    known = [line for _, line in stems]
    for sure, stem in stems:
        others = [line for line in known if line is not stem]
        for score, line in branches_of(view, stem, others):
            found.append((min(score, sure), line))
            known.append(line)
    return found


def _search(
    view: Slice,
    level: float,
    place: torch.device,
    report: Reporter,
    side: int = SIDE,
) -> list[tuple[float, Measured]]:
    """Return the folds of a slice with their scores, duplicates among them."""
    report(0.2, "searching for lines")
    seeds = find_seeds(view.darkness, level, place, side)
    return [
        (score, taken_to_border(view, finished(view, line)))
        for score, line in _lines(view, seeds, report.part(0.4, 1.0))
        if score >= LEAST_SCORE and not is_seam(line, view.shape)
    ]


def _enlarged(line: Measured, factor: int) -> Measured:
    """Return a line of a reduced slice in the pixels of the slice."""
    return replace(
        line,
        points=at_full_scale(line.points, factor),
        half_widths=line.half_widths * factor,
        offsets=line.offsets * factor,
    )


def _lines(view: Slice, seeds: list[Seed], report: Reporter) -> list[tuple[float, Measured]]:
    """Return the lines that the seeds lie on, with their scores."""
    factor = view.darkness.factor
    followed: list[Ridge] = []
    lines: list[tuple[float, Measured]] = []
    for number in range(_MOST_FOLLOWED):
        report(number / _MOST_FOLLOWED, "following lines")
        while seeds and any(_explains(ridge, seeds[0]) for ridge in followed):
            seeds = seeds[1:]
        if not seeds:
            break
        seed, seeds = seeds[0], seeds[1:]
        ridge = follow(view.darkness.values, np.array([seed.start, seed.stop]))
        if ridge is None:
            continue
        followed.append(ridge)
        if not may_be_fold(ridge.points, factor, view.shape):
            continue
        line = measure(view, at_full_scale(ridge.points, factor), ridge.half_widths * factor)
        line = None if line is None else trimmed(line)
        if line is None:
            continue
        lines.append((score_of(traits_of(line), min(view.shape)), line))
    return lines


def _explains(ridge: Ridge, seed: Seed) -> bool:
    """Tell whether a ridge has been followed along this seed already."""
    share = np.linspace(0, 1, 9)[:, None]
    points = np.asarray(seed.start) + share * (np.asarray(seed.stop) - np.asarray(seed.start))
    return lies_on(points, ridge.points, ridge.half_widths + 3.0) > 0.6


def _without_duplicates(found: list[tuple[float, Measured]]) -> list[tuple[float, Measured]]:
    """Return the lines best first without those that lie on a better one."""
    kept: list[tuple[float, Measured]] = []
    for score, line in sorted(found, key=lambda pair: -pair[0] * pair[1].length):
        if all(
            lies_on(line.points[::8], other.points[::4], other.half_widths[::4] + 4.0) < _OVERLAP
            for _, other in kept
        ):
            kept.append((score, line))
    return sorted(kept, key=lambda pair: -pair[0])
