"""Folds: the line a user sees, its geometry, and what it does to the tissue."""

from sff_napari.folds.curve import Curve, LineCoordinates
from sff_napari.folds.fold import Fold, FoldSource
from sff_napari.folds.law import FoldLaw, fold_displacement, unfold_displacement

__all__ = [
    "Curve",
    "Fold",
    "FoldLaw",
    "FoldSource",
    "LineCoordinates",
    "fold_displacement",
    "unfold_displacement",
]
