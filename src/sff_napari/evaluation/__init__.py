"""Judging restorations: against the truth on simulated folds, and without it."""

from sff_napari.evaluation.evaluate import COLUMNS, Evaluation, Row, evaluate
from sff_napari.evaluation.methods import METHODS
from sff_napari.evaluation.metrics import end_point_errors, psnr, sharpness, ssim

__all__ = [
    "COLUMNS",
    "METHODS",
    "Evaluation",
    "Row",
    "end_point_errors",
    "evaluate",
    "psnr",
    "sharpness",
    "ssim",
]
