"""Find, in one window of a large slice, what the folds in it did."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sff_napari.arrays import GreyScale, as_slice, is_constant
from sff_napari.devices import choose_device
from sff_napari.errors import InputError
from sff_napari.folds import Curve
from sff_napari.folds.law import interpolate
from sff_napari.progress import Reporter
from sff_napari.restoration.cascade import Cascade
from sff_napari.restoration.methods import Methods
from sff_napari.restoration.restore import snapped
from sff_napari.restoration.unfolding.fitted_fold import FittedFold, LawUnfolding
from sff_napari.volumes.plan.blocks import Block
from sff_napari.volumes.restore.block import INNER, device_here
from sff_napari.volumes.restore.block_confidence import line_errors
from sff_napari.volumes.run.cancellation import stopping
from sff_napari.volumes.run.folder import WORK
from sff_napari.volumes.run.restored_volume import RestoredVolume
from sff_napari.volumes.run.task import FitWindow

STEP = 32.0
"""Distance, px, of the places along a line at which its law is told."""


def fit_key(key: str) -> str:
    """Return the name of the stored laws of a window."""
    return f"{WORK}/fits/{key}.json"


def load_fit(volume: RestoredVolume, key: str) -> dict[str, Any]:
    """Return the stored laws of a window."""
    return dict(json.loads(volume.folder.get(fit_key(key)) or b"{}"))


def fit_window(volume: RestoredVolume, task: FitWindow) -> dict[str, Any]:
    """Find what the folds in a window of a slice did, and store it.

    Parameters
    ----------
    volume : RestoredVolume
        The volume.
    task : FitWindow
        What to do.

    Returns
    -------
    dict
        How many pixels were read.

    Raises
    ------
    SffError
        If a slice cannot be read or used.
    Stop
        If the result cannot be written.
    """
    block = task.block
    if volume.folder.has(fit_key(task.key)):
        return {"pixels": block.pixels}
    part = slice(*block.read_rows), slice(*block.read_columns)
    damaged = volume.read_before(task.z, *part)
    around = {
        name: as_slice(image, f"{name} slice")
        for name, image in volume.neighbours_before(task.neighbours, *part).items()
    }
    found: dict[str, Any] = {"piece": block.to_dict(), "lines": []}
    if not is_constant(damaged):
        if not around:
            raise InputError("No neighbouring slice shows tissue here: it cannot be restored.")
        found |= _fit(volume, as_slice(damaged, "damaged slice"), around, task, block)
    volume.folder.put(fit_key(task.key), json.dumps(found).encode())
    return {"pixels": block.pixels}


def _fit(
    volume: RestoredVolume,
    damaged: NDArray[Any],
    around: dict[str, NDArray[Any]],
    task: FitWindow,
    block: Block,
) -> dict[str, Any]:
    chosen = volume.plan["parameters"]
    torch.set_num_threads(1)
    folds = snapped(damaged, list(task.folds))
    methods = Methods.checked(chosen["interpolation"], "law", "stitch", None, chosen["cover"], None)
    if methods.interpolation == "network":
        # The reference is not needed yet.
        methods = Methods.checked("motion", "law", "stitch", None, chosen["cover"], None)
    cascade = Cascade(
        damaged,
        GreyScale.of(damaged),
        around,
        folds,
        methods,
        choose_device(device_here(task.device)),
        min(INNER, chosen["tile"]),
        Reporter(None, stopping.is_set),
    )
    unfolding = cascade.unfolding
    assert isinstance(unfolding, LawUnfolding)
    drift = unfolding.drift
    lines = [
        {"number": number, **_samples(one, block), **line_errors(one, _count(one))}
        for number, one in zip(task.numbers, unfolding.fitted, strict=True)
    ]
    return {
        "lines": lines,
        "drift": {"weights": drift.weights.cpu().tolist(), "finest": drift.finest},
        "neighbours": cascade.report()["neighbours"],
        "warnings": [
            f"{sentence} Seen in rows {block.read_rows[0]} to {block.read_rows[1]}, columns "
            f"{block.read_columns[0]} to {block.read_columns[1]}."
            for one in unfolding.fitted
            for sentence in _warnings(one)
        ],
    }


def _warnings(one: FittedFold) -> list[str]:
    """Return what a user should know about a fit in a window, in sentences."""
    sentences = replace(one, motions=(None, None)).warnings()
    if one.motions != (None, None):
        sentences.append(
            "Tissue beside a fold lies turned or shifted as a whole: in slices larger than the "
            "tile this is not undone; a larger --tile restores the slice in one piece."
        )
    return sentences


def _count(one: FittedFold) -> int:
    """Return at how many places along a line its law is told."""
    return max(3, int(Curve.of(one.fold, "cpu").smoothed().length / STEP) + 1)


def _samples(one: FittedFold, block: Block) -> dict[str, Any]:
    """Return the line and its law at places along it, in pixels of the slice."""
    curve = Curve.of(one.fold, "cpu").smoothed()
    law = one.law.to("cpu")
    along = torch.linspace(0, curve.length, _count(one))
    points, _ = curve.at(along)
    origin = np.array([[block.read_rows[0]], [block.read_columns[0]]])
    widths = torch.tensor(list(one.fold.half_widths or [one.fold.half_width] * 2))
    knots = torch.linspace(0, curve.length, len(widths))
    if one.fold.half_widths:
        exact = Curve.of(one.fold, "cpu")
        knots = torch.tensor(exact.vertices_along) * (curve.length / exact.length)
    return {
        "points": (points.numpy() + origin).T.tolist(),
        "half_widths": interpolate(knots.float(), widths.float(), along).tolist(),
        "dark": interpolate(law.knots, law.dark, along).tolist(),
        "gap": [interpolate(law.knots, side, along).tolist() for side in law.gap],
        "decay": [interpolate(law.knots, side, along).tolist() for side in law.decay],
        "tail": law.tail.tolist(),
        "uniform": bool(one.uniform),
        "score": round(float(one.summed_precision), 4),
    }
