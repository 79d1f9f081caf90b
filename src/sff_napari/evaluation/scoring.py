"""Score one method on one fold, and average over folds."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sff_napari.arrays import GreyScale
from sff_napari.evaluation.cases import Case
from sff_napari.evaluation.methods import Method, Outcome, Settings
from sff_napari.evaluation.metrics import (
    common_shift,
    end_point_errors,
    psnr,
    sharpness,
    spectrum_distance,
    ssim,
    without_shift,
)
from sff_napari.evaluation.segmentation import SegmentationJudge, all_scores

COLUMNS = (
    "psnr",
    "ssim",
    "psnr_inside",
    "psnr_outside",
    "ssim_inside",
    "ssim_outside",
    "sharpness_inside",
    "spectrum",
    "spectrum_inside",
    "flow_error",
    "flow_error_95",
    "flow_shift",
    "flow_error_internal",
    "psnr_unshifted",
    "ssim_unshifted",
    "seconds",
)
"""Scores of a method on one fold; inside and outside mean the corrupted region.

The error of the flow is a common shift of the whole slice and what is left without it, the
internal error; unshifted means after that shift is taken out of the restored slice."""
SEGMENTATION_COLUMNS = all_scores()
"""Further scores where a segmentation is judged; ``_near`` means near the fold."""

_RESAMPLES = 2000


def scored(
    method: Method,
    case: Case,
    settings: Settings,
    judge: SegmentationJudge | None = None,
) -> tuple[dict[str, float], Outcome]:
    """Run a method on a fold; return all its scores, and what it made."""
    begin = time.perf_counter()
    outcome = method(case, settings)
    seconds = time.perf_counter() - begin
    found = scores_of(case, outcome) | {"seconds": seconds}
    if judge is not None:
        found |= judge.scores(on_255(outcome.image, case.clean))
    return found, outcome


def scores_of(case: Case, outcome: Outcome) -> dict[str, float]:
    """Return the scores of what a method made of a fold; all `COLUMNS` but the seconds."""
    truth, image = on_255(case.clean, case.clean), on_255(outcome.image, case.clean)
    inside = case.simulation.corrupted
    outside = ~inside
    return {
        "psnr": psnr(image, truth),
        "ssim": ssim(image, truth),
        "psnr_inside": psnr(image, truth, inside),
        "psnr_outside": psnr(image, truth, outside),
        "ssim_inside": ssim(image, truth, inside),
        "ssim_outside": ssim(image, truth, outside),
        "sharpness_inside": sharpness(image, truth, inside),
        "spectrum": spectrum_distance(image, truth),
        "spectrum_inside": spectrum_distance(image, truth, inside),
        **_flow_scores(case, outcome, image, truth),
    }


def _flow_scores(
    case: Case, outcome: Outcome, image: NDArray[Any], truth: NDArray[Any]
) -> dict[str, float]:
    """Return the errors of the flow, and the scores once its common shift is taken out."""
    names = [name for name in COLUMNS if name.startswith("flow") or name.endswith("unshifted")]
    found = dict.fromkeys(names, float("nan"))
    if outcome.flow is None:
        return found
    errors = end_point_errors(outcome.flow, case.simulation.flow)
    if not errors.size:
        return found
    shift = common_shift(outcome.flow, case.simulation.flow)
    internal = end_point_errors(outcome.flow - shift[:, None, None], case.simulation.flow)
    back, same = without_shift(image, truth, shift)
    return found | {
        "flow_error": float(errors.mean()),
        "flow_error_95": float(np.percentile(errors, 95)),
        "flow_shift": float(np.hypot(*shift)),
        "flow_error_internal": float(internal.mean()),
        "psnr_unshifted": psnr(back, same),
        "ssim_unshifted": ssim(back, same),
    }


def on_255(image: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """Return grey values on the scale of 8-bit data, whatever the dtype of the stack."""
    if like.dtype == np.uint8:
        return image
    grey = GreyScale.of(like)
    return (image.astype(np.float64) - grey.low) * (255.0 / (grey.high - grey.low))


def mean_and_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of the finite values and the half width of its 95 % interval.

    The interval is Student's; NaN for fewer than two values, and the mean too
    for none.
    """
    known = np.asarray([v for v in values if math.isfinite(v)], dtype=np.float64)
    if known.size == 0:
        return float("nan"), float("nan")
    if known.size == 1:
        return float(known[0]), float("nan")
    factor = float(stats.t.ppf(0.975, known.size - 1))
    return float(known.mean()), factor * float(known.std(ddof=1)) / math.sqrt(known.size)


def share_recovered(
    damaged: Sequence[float], restored: Sequence[float], clean: Sequence[float]
) -> tuple[float, float, float]:
    """Return which share of a loss was won back, over folds, with its 95 % interval.

    Parameters
    ----------
    damaged, restored, clean : sequence of float
        A score of each fold: after the fold, after the restoration, without
        fold.

    Returns
    -------
    share, low, high : float
        ``sum(damaged - restored) / sum(damaged - clean)``: 1 if all was won
        back, 0 if nothing, below 0 if it got worse; the interval from a
        bootstrap over folds with a fixed seed.  NaN if the fold cost nothing.
    """
    before, after, best = (np.asarray(v, dtype=np.float64) for v in (damaged, restored, clean))
    known = np.isfinite(before) & np.isfinite(after) & np.isfinite(best)
    won, lost = (before - after)[known], (before - best)[known]
    nan = float("nan")
    if lost.size == 0 or lost.sum() <= 0:
        return nan, nan, nan
    share = float(won.sum() / lost.sum())
    if lost.size < 2:
        return share, nan, nan
    picks = np.random.default_rng(0).integers(0, lost.size, size=(_RESAMPLES, lost.size))
    sums = lost[picks].sum(axis=1)
    shares = won[picks].sum(axis=1)[sums > 0] / sums[sums > 0]
    low, high = np.percentile(shares, (2.5, 97.5))
    return share, float(low), float(high)


def over_folds(
    per_fold: Sequence[dict[str, float]],
    columns: Sequence[str],
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the means of columns over folds and the half widths of their intervals."""
    both = {name: mean_and_interval([scores[name] for scores in per_fold]) for name in columns}
    return {k: v[0] for k, v in both.items()}, {k: v[1] for k, v in both.items()}
