"""Make a block of a missing slice from the nearest slices on both sides."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from sff_napari.alignment.drift_fields import DriftField, met_half_way
from sff_napari.alignment.features import Features
from sff_napari.arrays import GreyScale, as_slice
from sff_napari.devices import choose_device
from sff_napari.errors import InputError
from sff_napari.restoration.confidence import filling_confidence
from sff_napari.restoration.interpolation.weighted import Weighted, mutual_drift
from sff_napari.restoration.neighbours import neighbour as neighbouring
from sff_napari.restoration.neighbours.neighbour import Neighbour
from sff_napari.volumes.restore.block import patch_key, store_patch
from sff_napari.volumes.restore.patches import Patch
from sff_napari.volumes.run.folder import Folder
from sff_napari.volumes.run.restored_volume import RestoredVolume
from sff_napari.volumes.run.task import FillBlock

LONGEST = 3
"""Missing slices in a row that are made from those around them."""


def fill_block(volume: RestoredVolume, task: FillBlock) -> dict[str, Any]:
    """Make a block of a missing slice.

    The slices on both sides are moved along their mutual drift and averaged,
    each as far and as much as the missing slice lies from it.

    Parameters
    ----------
    volume : RestoredVolume
        The volume.
    task : FillBlock
        What to do.

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
    folder: Folder = volume.folder
    block = task.block
    if folder.has(patch_key(task.key, "json")):
        return {"pixels": block.pixels}
    part = slice(*block.read_rows), slice(*block.read_columns)
    missing = volume.read_before(task.z, *part)
    around = {
        task.neighbours[name]: as_slice(image, f"{name} slice")
        for name, image in volume.neighbours_before(task.neighbours, *part).items()
    }
    torch.set_num_threads(1)
    if around:
        made, sure, record = _between(task.z, around, choose_device(task.device))
        restored = made.astype(missing.dtype)
        share = np.ones(missing.shape, np.float32)
        flow = np.full((2, *missing.shape), np.nan, np.float32)
    elif block.alone:
        raise InputError("The slices around it show no tissue: it cannot be interpolated.")
    else:
        restored, share = missing, np.zeros(missing.shape, np.float32)
        flow, record = np.zeros((2, *missing.shape), np.float32), {"empty": True}
        sure = np.ones(missing.shape, np.float32)
    patch = Patch.of(block, missing, restored, share, flow, sure)
    store_patch(volume, task.key, task.z, patch, json.loads(json.dumps(record)))
    return {"pixels": block.pixels}


def _between(
    z: int, around: Mapping[int, NDArray[Any]], device: torch.device
) -> tuple[NDArray[Any], NDArray[np.float32], dict[str, Any]]:
    """Return slice `z` made from the slices of `around`, how sure it is, and how it was made."""
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
    sure = _confidence(z, places, loaded, mutual)
    report = {
        "interpolated_from": [
            {"slice": place, "share": round(share, 4)}
            for place, share in zip(places, shares, strict=True)
        ]
    }
    return made, sure, {"report": report, "scores": None, "notes": []}


def _confidence(
    z: int, places: Sequence[int], loaded: Sequence[Neighbour], mutual: DriftField | None
) -> NDArray[np.float32]:
    """Return the correlation (Y, X) that slice `z` should have with the true tissue."""
    around = [Features.of(one.image, one.known, 4) for one in loaded]
    if mutual is not None:
        around = met_half_way(around, mutual)
    filling = filling_confidence(around)
    if len(places) == 2:
        # As if the slices were two apart and this one in the middle, c^2 = 2 a / (1 + a), where
        # a is how they correlate.  A slice off the middle resembles both as powers of a.
        alike = (filling.square() / (2 - filling.square())).clamp(0, 1)
        share = (z - places[0]) / (places[1] - places[0])
        first, second = alike**share, alike ** (1 - share)
        weights = (1 - share, share)
        both = weights[0] ** 2 + weights[1] ** 2 + 2 * weights[0] * weights[1] * alike
        filling = (weights[0] * first + weights[1] * second) / both.sqrt()
    shape = (loaded[0].image.shape[0], loaded[0].image.shape[1])
    whole = F.interpolate(filling[None, None], size=shape, mode="bilinear", align_corners=False)
    found: NDArray[np.float32] = whole[0, 0].clamp(0, 1).cpu().numpy()
    return found
