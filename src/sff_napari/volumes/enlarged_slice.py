"""Write a stack with a slice that was enlarged from low magnification, with its record."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sff_napari.errors import InputError
from sff_napari.low_magnification import Enlarged
from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter
from sff_napari.stacks import Stack
from sff_napari.volumes.plan.keys import digest
from sff_napari.volumes.plan.request import VolumeRequest
from sff_napari.volumes.plan.settings import VolumeSettings
from sff_napari.volumes.plan.slice_plan import plan_slice
from sff_napari.volumes.plan.volume_plan import plan_volume
from sff_napari.volumes.restore.block import store_patch
from sff_napari.volumes.restore.patches import Patch
from sff_napari.volumes.restore_volume import Summary, make_volume
from sff_napari.volumes.run.executors import Threads
from sff_napari.volumes.run.restored_volume import RestoredVolume

_MOSTLY = 0.5
"""Share of the energy that was inferred from which a pixel counts as synthesised."""


@dataclass(frozen=True)
class _Settings(VolumeSettings):
    """What the record says instead of the methods for folds."""

    enlarging: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {"tile": self.tile, "enlarging": dict(self.enlarging)}

    def digests(self) -> dict[str, str]:
        return dict(self.enlarging.get("weights", {}))


@dataclass(frozen=True)
class EnlargedSlice:
    """A slice of a stack that was enlarged, and from what.

    Parameters
    ----------
    z : int
        Number of the slice.
    made : Enlarged
        What `sff_napari.enlarge` returned.
    previous, following : int or None
        Numbers of the neighbours it was made with.
    source : dict
        Name and SHA-256 of the low slice, plain JSON types.
    """

    z: int
    made: Enlarged
    previous: int | None
    following: int | None
    source: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What the record calls it, to take it back."""
        return f"z{self.z}-enlarged"


def write_enlarged(
    place: str | os.PathLike[str],
    stack: Stack,
    one: EnlargedSlice,
    out: Path,
    *,
    overlay: bool = False,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> Summary:
    """Write the stack as a volume in which one slice is the enlarged one.

    Chunks, codecs and metadata of a zarr are kept; what changes is recorded, can be
    checked (`verify_volume`) and taken back (`revert_folds`) as after folds.

    Parameters
    ----------
    place : path-like
        Where the stack lies.
    stack : Stack
        The stack, opened.
    one : EnlargedSlice
        The slice.
    out : Path
        The zarr to write.
    overlay : bool
        Store only what changes.
    overwrite : bool
        Whether something at `out` is replaced.
    progress, cancelled : callable, optional
        See `sff_napari.progress`.

    Returns
    -------
    Summary
        What was done.

    Raises
    ------
    InputError
        If `out` exists, or the slice does not fit the stack.
    StackError
        If it cannot be written.
    """
    began = time.perf_counter()
    if one.made.restored.shape != stack.shape[1:]:
        raise InputError(
            f"The enlarged slice has {one.made.restored.shape} px, the stack's slices "
            f"{stack.shape[1:]}: enlarge it with neighbours of this stack."
        )
    if out.exists() and not overwrite:
        raise InputError(f"{out} exists already: choose another name, or use --overwrite.")
    keep = ("method", "factor", "placement", "neighbours", "weights")
    about = {key: one.made.report[key] for key in keep} | {"low": dict(one.source)}
    settings = _Settings(enlarging=about)
    request = VolumeRequest(
        place, stack, {}, out, [one.z], settings, overlay=overlay, overwrite=overwrite
    )
    plan = plan_volume(
        os.fspath(place), stack, request.target, settings, overlay=overlay, select=stack.select
    )
    made = plan_slice(plan.key, one.z, {}, one.previous, one.following, fill=one.name)
    # Of two enlarged slices that differ only in their pixels, the patches differ too.
    made = replace(made, key=digest([made.key, about]))

    def store(volume: RestoredVolume) -> None:
        shape = volume.layout.finest.axes.shape[1:]
        for task in made.tasks((shape[0], shape[1]), settings):
            rows, columns = slice(*task.block.read_rows), slice(*task.block.read_columns)
            share = one.made.synthesised[rows, columns] > _MOSTLY
            patch = Patch.of(
                task.block,
                volume.read_before(one.z, rows, columns),
                one.made.restored[rows, columns],
                share,
                np.where(share, np.float32(np.nan), np.zeros((2, *share.shape), np.float32)),
                one.made.confidence[rows, columns],
            )
            record: dict[str, Any] = {"report": one.made.report, "scores": None, "notes": []}
            store_patch(volume, task.key, one.z, patch, record)

    reporter = Reporter(progress, cancelled)
    outcome = make_volume(request, plan, [made], {}, Threads(), reporter, store)
    outcome.notes[:0] = plan.notes
    return Summary(request.target, outcome, [], time.perf_counter() - began)
