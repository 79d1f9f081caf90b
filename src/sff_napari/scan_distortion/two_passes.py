"""Restore a scan by a network twice: as it was measured, then with its rows put in place."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from sff_napari.progress import Reporter
from sff_napari.scan_distortion.displacement import (
    Restore,
    RowShifts,
    estimate_row_shifts,
    inverse_displacement,
)
from sff_napari.scan_distortion.simulation import sample

Image = NDArray[np.float32]
_COLUMNS = 1024
"""Columns that rows are compared in: all of a row were displaced alike."""


def restore_twice(
    run: Callable[[Image, Reporter], tuple[Image, Image]],
    image: Image,
    known: NDArray[np.bool_],
    reporter: Reporter,
) -> tuple[Image, Image, RowShifts]:
    """Return the restored image, how unsure it is, and the displacement of rows.

    The displacement is measured against the image as the network restores it, and against
    the image restored at half its size, where jitter that is too strong for the
    network is half as strong; the one that makes the scan more likely counts.  Where it is
    significant, rows are moved back and the network restores the image again.

    Parameters
    ----------
    run : callable
        Returns a restored image and its unsureness; see `run_network`.
    image : ndarray, (Y, X)
        Scanned along rows, in [0, 1].
    known : ndarray, (Y, X) bool
        Where there is an image.
    reporter : Reporter
        Told of progress.
    """
    clean, difference = run(image, reporter.part(0.0, 0.3))
    shifts = best_row_shifts(lambda part: run(part, Reporter())[0], image, clean, known, reporter)
    if not shifts.shifts.any():
        return clean, difference, shifts
    placed = sample(image, inverse_displacement(shifts.field(image.shape[1])))
    clean, difference = run(placed, reporter.part(0.7, 1.0))
    return clean, difference, shifts


def best_row_shifts(
    restore: Restore,
    image: Image,
    clean: Image,
    known: NDArray[np.bool_],
    reporter: Reporter,
) -> RowShifts:
    """Return the displacement of rows, measured at full or at half size; see `restore_twice`."""
    start = max(0, (image.shape[1] - _COLUMNS) // 2)
    middle = (slice(None), slice(start, start + _COLUMNS))
    part = np.ascontiguousarray(image[middle])
    reporter(0.35, "measuring the displacement of rows")
    found = [estimate_row_shifts(part, clean[middle], known[middle], restore)]
    reporter(0.5, "measuring the displacement of rows")
    at_half = partial(_at_half_size, restore)
    found.append(estimate_row_shifts(part, at_half(part), known[middle], at_half))
    return max(found, key=lambda one: (bool(one.shifts.any()), one.gain))


def _at_half_size(restore: Restore, image: Image) -> Image:
    height, width = image.shape
    half = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(
        cv2.resize(restore(half), (width, height), interpolation=cv2.INTER_CUBIC), np.float32
    )
