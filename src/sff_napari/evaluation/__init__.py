"""Judge restorations: against the truth on simulated folds, and without it.

The names below load what they need on first use: the viewer takes the scores without truth
from this package before torch is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from sff_napari.evaluation.cases import Case, Perturbation, Trials, make_case
    from sff_napari.evaluation.comparison import Evaluation, Row, evaluate
    from sff_napari.evaluation.left_out_slices import LeaveOneOut, leave_one_out
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
    from sff_napari.evaluation.perturbed_inputs import Robustness, parse_perturbation, robustness
    from sff_napari.evaluation.scoring import COLUMNS, SEGMENTATION_COLUMNS, share_recovered
    from sff_napari.evaluation.segmentation import segment, segmentation_scores

_get, _names, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cases": ["Case", "Perturbation", "Trials", "make_case"],
        "comparison": ["Evaluation", "Row", "evaluate"],
        "left_out_slices": ["LeaveOneOut", "leave_one_out"],
        "methods": ["METHODS"],
        "metrics": [
            "common_shift",
            "end_point_errors",
            "psnr",
            "sharpness",
            "spectrum_distance",
            "ssim",
            "without_shift",
        ],
        "perturbed_inputs": ["Robustness", "parse_perturbation", "robustness"],
        "scoring": ["COLUMNS", "SEGMENTATION_COLUMNS", "share_recovered"],
        "segmentation": ["segment", "segmentation_scores"],
    },
)
__getattr__, __dir__ = _get, _names

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
