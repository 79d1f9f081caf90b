"""Write material masks for FEABAS: one PNG a slice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from sff_napari.errors import InputError
from sff_napari.io_atomic import atomic_folder
from sff_napari.progress import Reporter
from sff_napari.volumes.exports.masks import FoldMasks
from sff_napari.volumes.exports.source import ExportSource

DEFAULT_LABEL = 0
"""FEABAS: tissue that deforms smoothly."""
WRINKLE_LABEL = 50
"""FEABAS: the material ``wrinkle`` of its default material table."""
_MOST_PIXELS = 2**30


def write_feabas(
    folder: Path,
    source: ExportSource,
    masks: FoldMasks,
    *,
    mip: int = 0,
    overwrite: bool = False,
    progress: Callable[[float, str], None] | None = None,
) -> Path:
    """Write a folder of material masks: 50, "wrinkle", in folds, 0 elsewhere.

    Parameters
    ----------
    folder : Path
        To make; its files go to ``align/material_masks`` of FEABAS.  There is
        one for each slice that has folds, named like the slice.
    source : ExportSource
        The volume.
    masks : FoldMasks
        Its folds.
    mip : int
        The masks are reduced by ``2**mip``; FEABAS is told the same number.
    overwrite : bool
        Whether an existing folder is replaced.
    progress : callable, optional
        See `sff_napari.progress`.

    Raises
    ------
    InputError
        If the masks would be larger than an image file should be.
    StackError
        If it cannot be written.
    """
    height, width = masks.size(mip)
    if height * width > _MOST_PIXELS:
        raise InputError(
            f"Masks of {height} x {width} pixels are too large for image files: "
            "give a larger --mip."
        )
    report = Reporter(progress)
    with atomic_folder(folder, overwrite=overwrite) as partial:
        for number, z in enumerate(masks.slices):
            report(number / len(masks.slices), f"slice {z}")
            page = np.full((height, width), DEFAULT_LABEL, np.uint8)
            for rows, columns in masks.tiles(z, mip):
                page[rows, columns][masks.read(z, rows, columns, mip)] = WRINKLE_LABEL
            Image.fromarray(page).save(partial / f"{source.names[z]}.png")
    report(1.0, "written")
    return folder
