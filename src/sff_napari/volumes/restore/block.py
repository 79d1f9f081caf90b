"""Restore one block of one slice and store what it changes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sff_napari.alignment import estimate_similarity, is_roughly_aligned, misalignment
from sff_napari.arrays import GreyScale, as_slice, is_constant
from sff_napari.devices import choose_device
from sff_napari.errors import InputError
from sff_napari.evaluation.without_truth import score_without_truth
from sff_napari.folds import Fold
from sff_napari.no_data import find_no_data
from sff_napari.progress import Reporter
from sff_napari.restoration import Restoration, restore
from sff_napari.restoration.cascade import Cascade
from sff_napari.restoration.methods import Methods
from sff_napari.restoration.neighbours.aligned import aligned_neighbours
from sff_napari.restoration.unfolding.fitted_fold import LawUnfolding
from sff_napari.volumes.plan.blocks import Block
from sff_napari.volumes.restore.block_confidence import confidence
from sff_napari.volumes.restore.law_stitching import errors_in, unfolding_in
from sff_napari.volumes.restore.patches import Patch
from sff_napari.volumes.run.cancellation import stopping
from sff_napari.volumes.run.folder import WORK
from sff_napari.volumes.run.restored_volume import RestoredVolume
from sff_napari.volumes.run.task import RestoreBlock
from sff_napari.volumes.to_json import as_plain

_LEAST_GAP = 1e-3
"""Share of a part that must be without data to be told."""
_LOOKED_AT = 256
"""Longer side, px, at which it is looked whether neighbours are aligned."""
INNER = 1024
"""Side of the tiles within a block, px: larger ones need more memory and gain nothing."""


def patch_key(key: str, ending: str) -> str:
    """Return the name of a stored patch (``npz``) or of its record (``json``)."""
    return f"{WORK}/patches/{key}.{ending}"


def load_patch(volume: RestoredVolume, key: str) -> Patch:
    """Return a stored patch."""
    data = volume.folder.get(patch_key(key, "npz"))
    block = Block.from_dict(load_record(volume, key)["piece"])
    return Patch.from_bytes(data or b"", block)


def load_record(volume: RestoredVolume, key: str) -> dict[str, Any]:
    """Return the record of a stored patch."""
    return dict(json.loads(volume.folder.get(patch_key(key, "json")) or b"{}"))


def restore_block(volume: RestoredVolume, task: RestoreBlock) -> dict[str, Any]:
    """Restore a block of a slice.

    Parameters
    ----------
    volume : RestoredVolume
        The volume.
    task : RestoreBlock
        What to do.

    Returns
    -------
    dict
        How many pixels were read.

    Raises
    ------
    SffError
        If a slice cannot be read or restored.
    Stop
        If the result cannot be written.
    """
    key = task.key
    block = task.block
    if volume.folder.has(patch_key(key, "json")):
        return {"pixels": block.pixels}
    part = slice(*block.read_rows), slice(*block.read_columns)
    damaged = volume.read_before(task.z, *part)
    around = volume.neighbours_before(task.neighbours, *part)
    notes = [
        f"Slice {z} shows nothing here and was left out."
        for name, z in task.neighbours.items()
        if name not in around
    ]
    notes += _gaps(task.z, damaged)
    for name, image in around.items():
        notes += _gaps(task.neighbours[name], image)
    if block.alone and not is_constant(damaged):
        # What the scores are measured against is moved, too.
        around, moved = aligned_neighbours(
            as_slice(damaged, "damaged slice"),
            {name: as_slice(image, f"{name} slice") for name, image in around.items()},
            {name: f"Slice {z}" for name, z in task.neighbours.items()},
            f"slice {task.z}",
        )
        notes += moved
    else:
        for name, image in around.items():
            notes += unaligned(image, damaged, task.neighbours[name], task.z)
    record: dict[str, Any]
    if is_constant(damaged) and not block.alone:
        patch, record = _nothing(block, damaged), {"empty": True}
    else:
        if not around:
            raise InputError("No neighbouring slice shows tissue here: it cannot be restored.")
        folds = list(task.folds)
        made = (
            _restore(volume, damaged, around, folds, task)
            if task.lines is None
            else render(
                damaged,
                around,
                unfolding_in(
                    task.lines,
                    block,
                    volume.plan["parameters"]["cover"],
                    task.drift,
                    choose_device(device_here(task.device)),
                ),
                volume.plan["parameters"],
                task,
                block,
            )
        )
        restored = made.restored.astype(damaged.dtype)
        patch = Patch.of(block, damaged, restored, made.synthesised, made.flow, made.confidence)
        scores = score_without_truth(
            damaged,
            made.restored,
            made.synthesised,
            made.flow,
            list(around.values()),
            _clean_pairs(volume, task, around, part),
        )
        record = {
            "report": as_plain({**made.report, "device": None}),
            "scores": scores.to_dict(),
            "notes": notes,
        }
    store_patch(volume, key, task.z, patch, record)
    return {"pixels": block.pixels}


def _gaps(z: int, image: NDArray[Any]) -> list[str]:
    """Return a sentence if a part of a slice holds no data in places."""
    mask = find_no_data(image)
    share = 0.0 if mask is None else float(mask.mean())
    return [f"{share:.1%} of slice {z} holds no data here."] if share >= _LEAST_GAP else []


def unaligned(image: NDArray[Any], damaged: NDArray[Any], z: int, of: int) -> list[str]:
    """Return a sentence if a neighbour is not aligned to the slice that it is to mend.

    Parameters
    ----------
    image, damaged : ndarray, (Y, X)
        The same part of the neighbour and of the slice.
    z, of : int
        Their numbers.
    """
    try:
        pair = as_slice(image, "neighbour"), as_slice(damaged, "slice")
        if is_roughly_aligned(*pair):
            return []
        found = estimate_similarity(*pair, side=_LOOKED_AT)
    except InputError:
        return []
    sentence = misalignment(found, f"Slice {z}", f"slice {of}")
    return [f"{sentence}; align the stack first."] if sentence else []


def _clean_pairs(
    volume: RestoredVolume,
    task: RestoreBlock,
    around: Mapping[str, NDArray[Any]],
    part: tuple[slice, slice],
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Return undamaged slices next to each other, as far as they show tissue in a part."""
    if task.clean is None:
        return []
    read = {task.neighbours[name]: image for name, image in around.items()}
    try:
        first, second = (read[z] if z in read else volume.read_before(z, *part) for z in task.clean)
    except Exception:  # codecs raise what they like; only a measure is missing then
        return []
    return [] if is_constant(first) or is_constant(second) else [(first, second)]


def store_patch(
    volume: RestoredVolume, key: str, z: int, patch: Patch, record: Mapping[str, Any]
) -> None:
    """Store a patch of slice `z` and its record, plain JSON types."""
    volume.folder.put(patch_key(key, "npz"), patch.to_bytes())
    whole = {
        **record,
        "z": z,
        "piece": patch.block.to_dict(),
        "extent": as_plain(patch.extent),
        "side_extent": [list(patch.rows), list(patch.columns)],
    }
    # Last: the record says that the patch is there.
    volume.folder.put(patch_key(key, "json"), json.dumps(whole, indent=1).encode())


def _restore(
    volume: RestoredVolume,
    damaged: NDArray[Any],
    around: Mapping[str, NDArray[Any]],
    folds: list[Fold],
    task: RestoreBlock,
) -> Restoration:
    chosen = volume.plan["parameters"]
    device = choose_device(device_here(task.device))
    # Tasks run side by side; and the last bits must not depend on the number of processors.
    torch.set_num_threads(1)
    return restore(
        around.get("previous"),
        damaged,
        around.get("following"),
        folds,
        device=device,
        interpolation=chosen["interpolation"],
        unfolding=chosen["unfolding"],
        fusion=chosen["fusion"],
        cover=chosen["cover"],
        weights=task.weights,
        tile=min(INNER, chosen["tile"]),
        cancelled=stopping.is_set,
    )


def render(
    damaged: NDArray[Any],
    around: dict[str, NDArray[Any]],
    unfolding: LawUnfolding,
    chosen: Mapping[str, Any],
    task: RestoreBlock,
    block: Block,
) -> Restoration:
    """Restore what a block reads, knowing what the folds did.

    Parameters
    ----------
    damaged : ndarray, (Y, X)
        What the block reads of the slice.
    around : dict of str to ndarray, (Y, X)
        The same of its neighbours.
    unfolding : LawUnfolding
        What the folds did.
    chosen : mapping
        Parameters of the volume's plan.
    task : RestoreBlock
        The task.
    block : Block
        The block.
    """
    torch.set_num_threads(1)
    image = as_slice(damaged, "damaged slice")
    around = {name: as_slice(one, f"{name} slice") for name, one in around.items()}
    weights = task.weights
    methods = Methods.checked(
        chosen["interpolation"], "law", chosen["fusion"], weights, chosen["cover"], None
    )
    grey = GreyScale.of(image)
    folds = [one.fold for one in unfolding.fitted]
    cascade = Cascade(
        image,
        grey,
        around,
        folds,
        methods,
        unfolding.fitted[0].curve.device,
        min(INNER, chosen["tile"]),
        Reporter(None, stopping.is_set),
        unfolding,
        (block.read_rows[0], block.read_columns[0]),
    )
    nothing = np.empty((0, 0), np.float32)
    restored, synthesised = image.copy(), np.empty(image.shape, np.float32)
    flow = np.empty((2, *image.shape), np.float32)
    for _, (rows, columns), part in cascade.tiles():
        flow[:, rows, columns] = part.flow
        synthesised[rows, columns] = part.synthesised
        restored[rows, columns][part.changed] = grey.from_unit(part.restored[part.changed])
    errors = errors_in(task.lines or (), block, unfolding)
    sure = confidence(cascade, unfolding, errors, flow, synthesised).astype(np.float16)
    return Restoration(restored, nothing, nothing, flow, synthesised, cascade.report(), sure)


def device_here(device: str) -> str:
    """Return the device of this worker: each has its own where there are several."""
    count = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    if count > 1 and "distributed" in sys.modules:
        from distributed import get_worker

        with suppress(ValueError):  # not in a worker, or in one with a name of its own
            return f"cuda:{int(get_worker().name) % count}"
    return device


def _nothing(block: Block, damaged: NDArray[Any]) -> Patch:
    zero = np.zeros(damaged.shape, np.float32)
    return Patch.of(block, damaged, damaged, zero, np.zeros((2, *damaged.shape), np.float32))
