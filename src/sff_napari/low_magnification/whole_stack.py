"""Enlarge the slices of a stack that is all at low magnification."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from sff_napari.devices import all_threads, choose_device, describe_device, steady_torch
from sff_napari.errors import InputError
from sff_napari.low_magnification.aligned import align
from sff_napari.low_magnification.enlarged import Enlarged
from sff_napari.low_magnification.frame import Frame, in_place
from sff_napari.low_magnification.methods import METHODS, Method, make
from sff_napari.low_magnification.one_slice import composed, read_inputs
from sff_napari.low_magnification.resampling import back_project, enlarge_cubic
from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter

REACH = 2
"""Slices on each side that the network sees."""


class LowStack(Protocol):
    """What a stack has to offer."""

    def __len__(self) -> int:
        """Return the number of slices."""

    def __getitem__(self, z: int) -> ArrayLike:
        """Return slice z, (y, x)."""


def enlarge_stack(
    stack: LowStack,
    *,
    factor: int = 8,
    slices: Sequence[int] | None = None,
    method: Method = "default",
    weights: str | Path | None = None,
    device: str = "auto",
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> Iterator[Enlarged]:
    """Yield the slices of a stack at low magnification, each enlarged.

    Parameters
    ----------
    stack : sequence of array-like, (Z, y, x)
        Slices at low magnification, aligned to each other; read when they are needed.
    factor : int
        By how much they are enlarged, 2 to 32.
    slices : sequence of int, optional
        Which; all where not given.
    method, weights, device, progress, cancelled
        As in `sff_napari.enlarge`.

    Yields
    ------
    Enlarged
        Slices (y factor, x factor) in the order of `slices`.

    Raises
    ------
    InputError
        If a slice or a choice cannot be used.
    WeightsError
        If the weights cannot be used.
    Cancelled
        If it was cancelled.

    See Also
    --------
    sff_napari.enlarge : One slice between full-resolution neighbours.

    Examples
    --------
    >>> import numpy as np
    >>> from sff_napari.low_magnification import enlarge_stack
    >>> low = np.random.default_rng(1).random((3, 16, 16))
    >>> [one.restored.shape for one in enlarge_stack(low, factor=4, method="back-projected")]
    [(64, 64), (64, 64), (64, 64)]
    """
    if method not in METHODS:
        raise InputError(f"There is no method {method!r}: use one of {', '.join(METHODS)}.")
    numbers = list(range(len(stack)) if slices is None else slices)
    reporter = Reporter(progress, cancelled)
    compute = choose_device(device)
    for done, z in enumerate(numbers):
        part = reporter.part(done / len(numbers), (done + 1) / len(numbers))
        part(0.0, f"slice {z}")
        yield _enlarged(stack, z, factor, method, weights, compute, part)


def _enlarged(
    stack: LowStack,
    z: int,
    factor: int,
    method: Method,
    weights: str | Path | None,
    device: torch.device,
    reporter: Reporter,
) -> Enlarged:
    began = time.monotonic()
    around = {
        k: np.asarray(stack[z + k])
        for k in range(-REACH, REACH + 1)
        if k and 0 <= z + k < len(stack)
    }
    given = read_inputs(stack[z], list(around.values()), factor, all_low=True)
    shape = (given.low.shape[0], given.low.shape[1])
    frame = Frame(shape, given.factor, given.stack_shape, in_place(given.stack_shape))
    with steady_torch(), all_threads():
        neighbours = [_wide(one, given.factor) for one in given.neighbours]
        aligned = align(given.low, neighbours, given.factor)
        # Beyond the ends of the stack lies what lies as far off on the other side.
        found = dict(zip(around, aligned.neighbours, strict=False))
        offsets = [k for k in range(-REACH, REACH + 1) if k]
        complete = tuple(found.get(k, found.get(-k, aligned.base)) for k in offsets)
        aligned = replace(aligned, neighbours=complete)
        made = make(method, aligned, weights, device, reporter.part(0.3, 1.0))
        report: dict[str, Any] = {
            "method": method,
            "mode": "stack",
            "slice": z,
            "factor": given.factor,
            "neighbours": len(around),
            "placement_found": False,
            "weights": made.weights,
            "device": describe_device(device),
            "notes": given.notes,
        }
        return composed(given, frame, aligned, made, report, began)


def _wide(low: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    small = torch.from_numpy(np.ascontiguousarray(low))[None, None]
    return back_project(enlarge_cubic(small, factor), small, factor)[0, 0].numpy()
