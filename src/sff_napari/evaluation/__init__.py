"""Judge restorations: against the truth on simulated folds, and without it."""

from sff_napari.evaluation.cases import Case, Perturbation, Trials, make_case
from sff_napari.evaluation.evaluate import Evaluation, Row, evaluate
from sff_napari.evaluation.leave_one_out import LeaveOneOut, leave_one_out
from sff_napari.evaluation.methods import METHODS
from sff_napari.evaluation.metrics import (
    common_shift,
    end_point_errors,
    psnr,
    sharpness,
    spectrum_distance,
    ssim,
    without_shift,
)
from sff_napari.evaluation.robustness import Robustness, parse_perturbation, robustness
from sff_napari.evaluation.scoring import COLUMNS, SEGMENTATION_COLUMNS, share_recovered
from sff_napari.evaluation.segmentation import segment, segmentation_scores

__all__ = [
    "COLUMNS",
    "METHODS",
    "SEGMENTATION_COLUMNS",
    "Case",
    "Evaluation",
    "LeaveOneOut",
    "Perturbation",
    "Robustness",
    "Row",
    "Trials",
    "common_shift",
    "end_point_errors",
    "evaluate",
    "leave_one_out",
    "make_case",
    "parse_perturbation",
    "psnr",
    "robustness",
    "segment",
    "segmentation_scores",
    "share_recovered",
    "sharpness",
    "spectrum_distance",
    "ssim",
    "without_shift",
]
