"""Recognise slices that are missing: black, of one value, NaN, or practically empty."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter
from sff_napari.stacks import Stack
from sff_napari.stacks.parts import Part, parts_of, read_parts

MOST_CONTENT = 1e-3
"""Share of pixels that may differ from the background of a missing slice: labels, hot pixels."""
_TOLERANCE = 0.02
"""How far a pixel of the background may lie from its value, as a share of the stack's contrast."""
_SIDE = 1024
_COARSE = 1024
"""A level of the pyramid is fine enough if the longer side of its slices is at least this, px."""
_SAMPLES = 9


def find_missing(
    stack: Stack,
    slices: Iterable[int] | None = None,
    *,
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> list[int]:
    """Return the slices of a stack that hold no image.

    A slice is missing if all but a thousandth of its pixels are NaN or have
    one value, give or take 2 % of the stack's contrast.  Slices with an image
    are known after a few parts of a coarse level; only missing ones are read
    whole, part by part.

    Parameters
    ----------
    stack : Stack
        The volume.
    slices : iterable of int, optional
        Which to look at; all where not given.
    progress, cancelled : callable, optional
        See `sff_napari.progress`.

    Returns
    -------
    list of int
        In order.

    Raises
    ------
    StackError
        If a slice cannot be read.
    Cancelled
        If `cancelled` returned True.
    """
    chosen = sorted(set(range(len(stack)) if slices is None else slices))
    report = Reporter(progress, cancelled)
    look = _coarse(stack)
    parts = _from_the_middle(look)
    tolerance = _TOLERANCE * _contrast(look, parts)
    missing = []
    for number, z in enumerate(chosen):
        report(number / len(chosen), f"slice {z}")
        if _is_empty(look, z, parts, tolerance):
            missing.append(z)
    report(1.0, "done")
    return missing


def _coarse(stack: Stack) -> Stack:
    """Return the coarsest level that still shows whether there is an image."""
    fine_enough = [level.stack for level in stack.levels if max(level.stack.shape[1:]) >= _COARSE]
    return fine_enough[-1] if fine_enough else stack


def _from_the_middle(stack: Stack) -> list[Part]:
    """Return the parts of a slice, those in the middle first: images begin there."""
    centre = np.array(stack.shape[1:]) / 2
    return sorted(
        parts_of(stack, _SIDE),
        key=lambda part: float(
            np.abs(np.array([(p.start + p.stop) / 2 for p in part]) - centre).max()
        ),
    )


def _contrast(stack: Stack, parts: list[Part]) -> float:
    """Return how far apart dark and bright pixels of the stack usually are."""
    spreads = []
    for z in np.unique(np.linspace(0, len(stack) - 1, _SAMPLES).astype(int)):
        _, image = next(read_parts(stack, int(z), parts[:1]))
        finite = image[np.isfinite(image)].astype(np.float64)
        if finite.size:
            low, high = np.percentile(finite, (1, 99))
            spreads.append(high - low)
    known = [spread for spread in spreads if spread > 0]
    return float(np.median(known)) if known else 0.0


def _is_empty(stack: Stack, z: int, parts: list[Part], tolerance: float) -> bool:
    allowed = MOST_CONTENT * stack.shape[1] * stack.shape[2]
    background: float | None = None
    content = 0
    for _, image in read_parts(stack, z, parts):
        values = _finite(image)
        if values.size == 0:
            continue
        if background is None:
            background = float(np.median(values))
        content += int(np.count_nonzero(np.abs(values - background) > tolerance))
        if content > allowed:
            return False
    return True


def _finite(image: NDArray[Any]) -> NDArray[np.float32] | NDArray[np.float64]:
    values = image.astype(np.float64 if image.dtype == np.float64 else np.float32)
    return values[np.isfinite(values)]
