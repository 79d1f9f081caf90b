"""The task that makes a piece of a missing slice from the nearest slices on both sides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sff_napari.arrays import GreyScale, as_slice
from sff_napari.devices import choose_device
from sff_napari.errors import InputError
from sff_napari.restoration import neighbours as neighbouring
from sff_napari.restoration.drift import DriftField
from sff_napari.restoration.interpolation import Weighted, mutual_drift
from sff_napari.volumes.files import Folder
from sff_napari.volumes.job import Job
from sff_napari.volumes.patches import Patch
from sff_napari.volumes.pieces import Piece
from sff_napari.volumes.restoring import patch_key, store_patch

LONGEST = 3
"""Missing slices in a row that are made from those around them."""


def fill_piece(job: Job, task: Mapping[str, Any]) -> dict[str, Any]:
    """Make a piece of a missing slice.

    The slices on both sides are moved along their mutual drift and averaged,
    each as far and as much as the missing slice lies from it.

    Parameters
    ----------
    job : Job
        The volume.
    task : mapping
        As for `restore_piece`, without folds.

    Returns
    -------
    dict
        How many pixels were read.

    Raises
    ------
    SffError
        If a slice cannot be read.
    Stop
        If the result cannot be written.
    """
    folder: Folder = job.folder
    piece = Piece.from_dict(task["piece"])
    if folder.has(patch_key(task["key"], "json")):
        return {"pixels": piece.pixels}
    part = slice(*piece.read_rows), slice(*piece.read_columns)
    missing = job.read_before(task["z"], *part)
    around = {
        int(task[name]): as_slice(image, f"{name} slice")
        for name, image in job.neighbours_before(task, *part).items()
    }
    torch.set_num_threads(1)
    if around:
        made, record = _between(task["z"], around, choose_device(task["device"]))
        restored = made.astype(missing.dtype)
        share = np.ones(missing.shape, np.float32)
        flow = np.full((2, *missing.shape), np.nan, np.float32)
    elif piece.alone:
        raise InputError("The slices around it show no tissue: it cannot be interpolated.")
    else:
        restored, share = missing, np.zeros(missing.shape, np.float32)
        flow, record = np.zeros((2, *missing.shape), np.float32), {"empty": True}
    patch = Patch.of(piece, missing, restored, share, flow)
    store_patch(job, task["key"], task["z"], patch, json.loads(json.dumps(record)))
    return {"pixels": piece.pixels}


def _between(
    z: int, around: Mapping[int, NDArray[Any]], device: torch.device
) -> tuple[NDArray[Any], dict[str, Any]]:
    """Return slice `z` made from the slices of `around`, and how."""
    places = sorted(around)
    scales = [GreyScale.of(around[place]) for place in places]
    loaded = [
        neighbouring.load(str(place), scale.to_unit(around[place]), device)
        for place, scale in zip(places, scales, strict=True)
    ]
    mutual = mutual_drift(loaded)
    rows, columns = (slice(0, n) for n in loaded[0].image.shape)
    if mutual is None:
        image = loaded[0].image
        shares = [1.0]
    else:
        along = (z - places[0]) / (places[1] - places[0])
        shares = [1 - along, along]
        fields = [
            DriftField(step * mutual.values, mutual.first, mutual.step)
            for step in (-along, 1 - along)
        ]
        parts = [
            Weighted([one], [field]).on_tile(rows, columns)
            for one, field in zip(loaded, fields, strict=True)
        ]
        image = sum((share * part for share, part in zip(shares, parts, strict=True)), 0 * parts[0])
    made = scales[0].from_unit(image.clamp(0, 1).cpu().numpy())
    report = {
        "interpolated_from": [
            {"slice": place, "share": round(share, 4)}
            for place, share in zip(places, shares, strict=True)
        ]
    }
    return made, {"report": report, "scores": None, "notes": []}
