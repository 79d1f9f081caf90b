"""Say what a run over a volume is asked to do."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sff_napari.folds import Fold
from sff_napari.stacks import Stack
from sff_napari.volumes.plan.settings import VolumeSettings


@dataclass(frozen=True)
class VolumeRequest:
    """What a run over a volume is asked to do.

    Parameters
    ----------
    place : path-like
        Where the stack lies.
    stack : Stack
        The damaged stack, opened.
    folds : mapping of int to sequence of Fold
        The folds of each damaged slice.
    out : path-like
        The OME-Zarr to write.
    slices : collection of int, optional
        Slices to restore; all that have folds where not given.
    settings : VolumeSettings
        How they are restored.
    fill_missing : bool
        Whether slices that hold no image are made from those around them, up
        to three in a row.
    overlay : bool
        Store only what changes; the rest is read from the source.
    overwrite : bool
        Whether something else at `out` is replaced.
    """

    place: str | os.PathLike[str]
    stack: Stack
    folds: Mapping[int, Sequence[Fold]]
    out: str | os.PathLike[str]
    slices: Collection[int] | None = None
    settings: VolumeSettings = field(default_factory=VolumeSettings)
    fill_missing: bool = False
    overlay: bool = False
    overwrite: bool = False

    @property
    def target(self) -> Path:
        """Where the result will lie."""
        return Path(self.out).expanduser()
