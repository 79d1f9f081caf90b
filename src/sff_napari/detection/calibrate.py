"""Choose the binarisation threshold on the user's own clean slices (paper, section 3.3).

Folds are simulated on clean slices, and every threshold is tried on the
damaged slices and on the clean ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from sff_napari.arrays import as_slice
from sff_napari.detection.detect import detect_folds
from sff_napari.detection.match import match
from sff_napari.errors import InputError
from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter
from sff_napari.simulation import Simulation, simulate_realistic, simulate_straight

CalibrationKind = Literal["straight", "realistic", "both"]
THRESHOLDS = (0.3, 0.4, 0.5, 0.55, 0.6, 0.7, 0.8)
"""Darkness thresholds tried if none are given."""


@dataclass(frozen=True)
class CalibrationRow:
    """How one threshold does.

    Parameters
    ----------
    threshold : float
        Darkness in (0, 1).
    precision : float
        Share of the lines found, on damaged and clean slices, that are true.
    recall : float
        Share of the simulated folds that were found.
    f1 : float
        Harmonic mean of the two.
    false_per_clean_slice : float
        Mean number of lines found on a clean slice.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    false_per_clean_slice: float


@dataclass(frozen=True)
class Calibration:
    """The sweep and its outcome.

    Parameters
    ----------
    rows : tuple of CalibrationRow
        One a threshold, in increasing order.
    best : float
        The threshold with the best F1; of several, the middle one.
    folds, slices : int
        How many simulated folds and clean slices were tried.
    """

    rows: tuple[CalibrationRow, ...]
    best: float
    folds: int
    slices: int


def calibrate(
    slices: Iterable[Any],
    thresholds: Sequence[float] | None = None,
    *,
    folds_per_slice: int = 2,
    kind: CalibrationKind = "both",
    seed: int = 0,
    device: str = "auto",
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> Calibration:
    """Sweep the binarisation threshold on folds simulated on clean slices.

    Parameters
    ----------
    slices : iterable of array_like, (Y, X)
        Slices without folds.
    thresholds : sequence of float, optional
        Darkness values in (0, 1) to try; `THRESHOLDS` if not given.
    folds_per_slice : int
        Damaged copies made of each slice, one fold each.
    kind : {"straight", "realistic", "both"}
        The folds to simulate; "both" takes turns.
    seed : int
        The same seed gives the same folds.
    device : str
        Where the Hough transform runs.
    progress, cancelled : callable, optional
        See `sff_napari.progress`.

    Returns
    -------
    Calibration
        A row a threshold, and the best threshold.

    Raises
    ------
    InputError
        If there is no slice, no threshold, or an argument makes no sense.
    Cancelled
        If `cancelled` returned True.
    """
    if kind not in get_args(CalibrationKind):
        raise InputError(f"There is no kind {kind!r}: use 'straight', 'realistic' or 'both'.")
    if folds_per_slice < 1:
        raise InputError(f"folds_per_slice is {folds_per_slice}: it must be at least 1.")
    levels = sorted({float(level) for level in (THRESHOLDS if thresholds is None else thresholds)})
    if not levels or not all(0 < level < 1 for level in levels):
        raise InputError("The thresholds must be one or more numbers between 0 and 1.")
    clean = [as_slice(image) for image in slices]
    if not clean:
        raise InputError("There is no slice to calibrate on: give at least one without folds.")
    report = Reporter(progress, cancelled)
    trials: list[Simulation] = []
    for index, image in enumerate(clean):
        for copy in range(folds_per_slice):
            report(0.3 * (index + copy / folds_per_slice) / len(clean), "simulating folds")
            rng = np.random.default_rng([seed, index, copy])
            straight = kind == "straight" or (kind == "both" and (index + copy) % 2 == 0)
            trials.append((simulate_straight if straight else simulate_realistic)(image, rng))
    rows = []
    for number, level in enumerate(levels):
        part = report.part(0.3 + 0.7 * number / len(levels), 0.3 + 0.7 * (number + 1) / len(levels))
        rows.append(_row(level, clean, trials, device, part))
    part.check()
    return Calibration(tuple(rows), _best(rows), len(trials), len(clean))


def _row(
    level: float,
    clean: Sequence[np.ndarray],
    trials: Sequence[Simulation],
    device: str,
    report: Reporter,
) -> CalibrationRow:
    true = found = folds = 0
    total = len(trials) + len(clean)
    text = f"threshold {level:g}"
    for number, trial in enumerate(trials):
        report(number / total, text)
        lines = detect_folds(trial.damaged, threshold=level, device=device)
        matching = match(lines, trial.folds, (trial.damaged.shape[0], trial.damaged.shape[1]))
        true += len(matching.pairs)
        found += matching.found
        folds += matching.true
    false = 0
    for number, image in enumerate(clean):
        report((len(trials) + number) / total, text)
        false += len(detect_folds(image, threshold=level, device=device))
    lines_found = found + false
    precision = true / lines_found if lines_found else 0.0
    recall = true / folds if folds else 0.0
    f1 = 2 * precision * recall / (precision + recall) if true else 0.0
    return CalibrationRow(level, precision, recall, f1, false / len(clean))


def _best(rows: Sequence[CalibrationRow]) -> float:
    """Return the threshold with the best F1; of neighbours that tie the middle one."""
    top = max(row.f1 for row in rows)
    ties = [row.threshold for row in rows if row.f1 >= top - 1e-9]
    return ties[len(ties) // 2]
