"""Read slices of stacks on disk lazily, write results, and the folds file.

The names below load what they need on first use: the viewer takes the description of a stack
from this package before zarr and torch are loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from sff_napari.stacks.description import VoxelSize
    from sff_napari.stacks.folds_file import FoldsFile, read_folds, stack_identity, write_folds
    from sff_napari.stacks.opening import open_stack
    from sff_napari.stacks.slice_numbers import parse_slices
    from sff_napari.stacks.stack import Stack
    from sff_napari.stacks.writing import RestoredSlice, check_output, write_restored, write_stack

_get, _names, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "description": ["VoxelSize"],
        "folds_file": ["FoldsFile", "read_folds", "stack_identity", "write_folds"],
        "opening": ["open_stack"],
        "slice_numbers": ["parse_slices"],
        "stack": ["Stack"],
        "writing": ["RestoredSlice", "check_output", "write_restored", "write_stack"],
    },
)
__getattr__, __dir__ = _get, _names

__all__ = [
    "FoldsFile",
    "RestoredSlice",
    "Stack",
    "VoxelSize",
    "check_output",
    "open_stack",
    "parse_slices",
    "read_folds",
    "stack_identity",
    "write_folds",
    "write_restored",
    "write_stack",
]
