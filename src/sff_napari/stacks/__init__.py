"""Stacks on disk: reading slices lazily, writing results, and the folds file."""

from sff_napari.stacks.description import VoxelSize
from sff_napari.stacks.folds_file import FoldsFile, read_folds, stack_identity, write_folds
from sff_napari.stacks.opening import open_stack
from sff_napari.stacks.slice_numbers import parse_slices
from sff_napari.stacks.stack import Stack
from sff_napari.stacks.writing import RestoredSlice, check_output, write_restored, write_stack

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
