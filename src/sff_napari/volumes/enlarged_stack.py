"""Write a stack that was all at low magnification, enlarged."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import sff_napari
from sff_napari.errors import InputError
from sff_napari.io_atomic import atomic_folder
from sff_napari.low_magnification.frame import check_factor
from sff_napari.low_magnification.methods import Method
from sff_napari.low_magnification.whole_stack import enlarge_stack
from sff_napari.progress import CancelledCallback, ProgressCallback
from sff_napari.stacks import Stack, stack_identity
from sff_napari.stacks.ome import OmeWriter
from sff_napari.stacks.writing import as_bytes

_SIDES = {
    "synthesised": "Share of the local energy that the low slices cannot hold, in 1/255.",
    "confidence": "Chance of an error below half of the low slice's spread, in 1/255.",
}


def write_enlarged_stack(
    out: Path,
    stack: Stack,
    *,
    factor: float = 8,
    slices: Sequence[int] | None = None,
    method: Method = "default",
    weights: Path | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> dict[str, Any]:
    """Write the slices of a low-magnification stack enlarged; OUT appears when it is complete.

    Parameters
    ----------
    out : Path
        OME-Zarr to write.  Its group also holds the arrays ``synthesised`` and
        ``confidence`` (Z, Y, X), uint8 in 1/255, and the record in its attributes.
    stack : Stack
        The low stack, opened.
    factor : float
        By how much it is enlarged.
    slices : sequence of int, optional
        Which slices; all where not given.
    method, weights, device, progress, cancelled
        As in `sff_napari.enlarge`.
    overwrite : bool
        Whether what is there is replaced.

    Returns
    -------
    dict
        The record, plain JSON types.

    Raises
    ------
    InputError
        If the stack or a choice cannot be used.
    StackError
        If it cannot be written.
    """
    began = time.perf_counter()
    by = check_factor((stack.shape[1], stack.shape[2]), factor, None)
    numbers = list(range(len(stack)) if slices is None else slices)
    if not numbers:
        raise InputError("There is no slice to enlarge: name some with --slices.")
    shape = (len(numbers), stack.shape[1] * by, stack.shape[2] * by)
    size = stack.voxel_size
    voxel = None if size is None else (size[0], size[1] / by, size[2] / by)
    reports = []
    with atomic_folder(out, overwrite=overwrite) as folder:
        writer = OmeWriter(folder, shape, np.dtype(stack.dtype), voxel, out.stem)
        sides = {name: writer.add_sparse(name, (), "uint8", note) for name, note in _SIDES.items()}
        made = enlarge_stack(
            stack,
            factor=by,
            slices=numbers,
            method=method,
            weights=weights,
            device=device,
            progress=progress,
            cancelled=cancelled,
        )
        for place, one in enumerate(made):
            writer.write(place, one.restored)
            for name, array in sides.items():
                array[place] = as_bytes(getattr(one, name))
            reports.append(one.report)
        record = {
            "program": "sff-napari enlarge",
            "version": sff_napari.__version__,
            "mode": "stack",
            "stack": stack_identity(stack),
            "method": method,
            "factor": by,
            "slices": reports,
            "seconds": round(time.perf_counter() - began, 2),
        }
        writer.group.attrs["sff_napari"] = record
    return record
