"""Comparing methods on folds simulated on clean slices."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from sff_napari.arrays import GreyScale, as_slice
from sff_napari.errors import InputError
from sff_napari.evaluation.methods import Case, Method, Outcome, Settings, chosen
from sff_napari.evaluation.metrics import end_point_errors, psnr, sharpness, ssim
from sff_napari.folds import Curve, Fold
from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter
from sff_napari.simulation import simulate_realistic, simulate_straight

Kind = Literal["straight", "realistic"]

COLUMNS = (
    "psnr",
    "ssim",
    "psnr_inside",
    "psnr_outside",
    "ssim_inside",
    "ssim_outside",
    "sharpness_inside",
    "flow_error",
    "flow_error_95",
    "seconds",
)
"""Scores of a method on one fold; inside and outside mean the corrupted region."""


@dataclass(frozen=True)
class Row:
    """Scores of one method over all folds.

    Parameters
    ----------
    method : str
        Its name.
    mean : dict of str to float
        Mean of each column over the folds; NaN where it does not apply.
    interval : dict of str to float
        Half width of the 95 % confidence interval of the mean.
    """

    method: str
    mean: dict[str, float]
    interval: dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """A comparison of methods on simulated folds of one kind.

    Parameters
    ----------
    kind : {"straight", "realistic"}
        Of the folds.
    folds : int
        How many.
    seed : int
        They were drawn from.
    slices : tuple of int
        Clean slices that were folded.
    rows : tuple of Row
        One a method.
    scores : dict of str to list of dict
        Every score of every method on every fold, in the order of the folds.
    """

    kind: str
    folds: int
    seed: int
    slices: tuple[int, ...]
    rows: tuple[Row, ...]
    scores: dict[str, list[dict[str, float]]] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison in plain JSON types; NaN becomes None."""

        def plain(values: dict[str, float]) -> dict[str, float | None]:
            return {k: None if not math.isfinite(v) else round(v, 5) for k, v in values.items()}

        return {
            "kind": self.kind,
            "folds": self.folds,
            "seed": self.seed,
            "slices": list(self.slices),
            "rows": [
                {"method": row.method, "mean": plain(row.mean), "interval": plain(row.interval)}
                for row in self.rows
            ],
        }

    def table(self) -> str:
        """Return the comparison as text: means, with 95 % intervals of PSNR and SSIM."""
        head = (
            f"{'method':<22}{'PSNR':>14}{'SSIM':>16}{'in dB':>8}{'out dB':>8}"
            f"{'in SSIM':>9}{'out SSIM':>9}{'sharp':>7}{'EPE px':>8}{'95 %':>7}{'s':>8}"
        )
        lines = [
            f"{self.folds} {self.kind} folds, slices {_ranges(self.slices)}, seed {self.seed}; "
            "mean ± 95 % interval",
            head,
        ]
        for row in self.rows:
            m, i = row.mean, row.interval
            lines.append(
                f"{row.method:<22}"
                f"{_cell(m['psnr'], 2, 7)} ±{_cell(i['psnr'], 2, 5)}"
                f"{_cell(m['ssim'], 3, 8)} ±{_cell(i['ssim'], 3, 6)}"
                f"{_cell(m['psnr_inside'], 2, 8)}{_cell(m['psnr_outside'], 2, 8)}"
                f"{_cell(m['ssim_inside'], 3, 9)}{_cell(m['ssim_outside'], 3, 9)}"
                f"{_cell(m['sharpness_inside'], 2, 7)}{_cell(m['flow_error'], 2, 8)}"
                f"{_cell(m['flow_error_95'], 2, 7)}{_cell(m['seconds'], 2, 8)}"
            )
        return "\n".join(lines)


def _cell(value: float, digits: int, width: int) -> str:
    return f"{'-':>{width}}" if not math.isfinite(value) else f"{value:>{width}.{digits}f}"


def _ranges(slices: Sequence[int]) -> str:
    parts, ordered = [], sorted(slices)
    start = last = ordered[0]
    for z in [*ordered[1:], -2]:
        if z == last + 1:
            last = z
            continue
        parts.append(str(start) if start == last else f"{start}-{last}")
        start = last = z
    return ",".join(parts)


def evaluate(
    stack: Any,
    *,
    slices: Sequence[int] | None = None,
    folds: int = 30,
    kind: Kind = "straight",
    seed: int = 0,
    methods: Sequence[str] | None = None,
    line_offset: float = 0.0,
    width_factor: float = 1.0,
    weights: str | Path | None = None,
    device: str = "auto",
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> Evaluation:
    """Fold clean slices of a stack and compare what methods make of them.

    Parameters
    ----------
    stack : Stack or array_like, (Z, Y, X)
        Clean slices; only those needed are read.
    slices : sequence of int, optional
        Slices to fold; each needs both neighbours in the stack, and those that
        lack one are left out.  All slices if not given.
    folds : int
        How many folds to simulate, in turn on the slices.
    kind : {"straight", "realistic"}
        Folds of the paper (section 3.2), or ones like real folds.
    seed : int
        The same seed gives the same folds.
    methods : sequence of str, optional
        Names from `METHODS`; all if not given.
    line_offset : float
        Move the line that methods are given this many px off the true one.
    width_factor : float
        Multiply the half width that methods are given.
    weights : path, optional
        Folder of weights for the paper's networks; the bundled ones if not given.
    device : str
        Where to compute.
    progress, cancelled : callable, optional
        See `restore`.

    Returns
    -------
    Evaluation
        With a row a method.

    Raises
    ------
    InputError
        If no slice has two neighbours or a choice is unknown.
    Cancelled
        If `cancelled` returned True.
    """
    if kind not in get_args(Kind):
        raise InputError(f"There is no kind of fold called {kind!r}: use straight or realistic.")
    if folds < 1:
        raise InputError(f"{folds} folds cannot be evaluated: use at least one.")
    reporter = Reporter(progress, cancelled)
    table = chosen(None if methods is None else list(methods))
    usable = _with_both_neighbours(slices, len(stack))
    settings = Settings(device, None if weights is None else Path(weights))
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in table}
    for number in range(folds):
        z = usable[number % len(usable)]
        case = make_case(stack, z, kind, seed, number, line_offset, width_factor)
        for index, (name, method) in enumerate(table.items()):
            share = (number + index / len(table)) / folds
            reporter(share, f"fold {number + 1} of {folds}: {name}")
            scores[name].append(_scored(method, case, settings))
    reporter(1.0, "Done")
    rows = tuple(_row(name, per_fold) for name, per_fold in scores.items())
    return Evaluation(kind, folds, seed, tuple(usable), rows, scores)


def make_case(
    stack: Any,
    z: int,
    kind: str,
    seed: int,
    number: int,
    line_offset: float = 0.0,
    width_factor: float = 1.0,
) -> Case:
    """Return the fold with a number, simulated on slice `z`; see `evaluate`."""
    rng = np.random.default_rng([seed, list(get_args(Kind)).index(kind), number])
    previous, clean, following = (
        as_slice(np.asarray(stack[i]), f"slice {i}") for i in (z - 1, z, z + 1)
    )
    make = simulate_straight if kind == "straight" else simulate_realistic
    simulation = make(clean, rng)
    given = tuple(_misdrawn(fold, line_offset, width_factor) for fold in simulation.folds)
    return Case(previous, clean, following, simulation, given)


def _misdrawn(fold: Fold, offset: float, factor: float) -> Fold:
    """Return a fold as a hurried person draws it: off the line, too wide or too narrow."""
    if offset == 0 and factor == 1:
        return fold
    curve = Curve.of(fold)
    along = [float(t) for t in curve.vertices_along]
    moved = curve.place(torch.tensor(along), torch.tensor(offset)).T
    widths = None if fold.half_widths is None else [w * factor for w in fold.half_widths]
    return fold.with_changes(
        vertices=[(float(y), float(x)) for y, x in moved],
        half_width=fold.half_width * factor,
        half_widths=widths,
        source="drawn",
    )


def _with_both_neighbours(slices: Sequence[int] | None, depth: int) -> list[int]:
    wanted = range(depth) if slices is None else slices
    for z in wanted:
        if not 0 <= z < depth:
            raise InputError(f"The stack has no slice {z}: it has {depth}, numbered from 0.")
    usable = [z for z in wanted if 0 < z < depth - 1]
    if not usable:
        raise InputError(
            "None of these slices has a neighbour on both sides: choose slices inside the stack."
        )
    return usable


def _scored(method: Method, case: Case, settings: Settings) -> dict[str, float]:
    begin = time.perf_counter()
    outcome = method(case, settings)
    seconds = time.perf_counter() - begin
    return {**_scores(case, outcome), "seconds": seconds}


def _scores(case: Case, outcome: Outcome) -> dict[str, float]:
    truth, image = _to_255(case.clean, case.clean), _to_255(outcome.image, case.clean)
    inside = case.simulation.corrupted
    outside = ~inside
    flow_error = flow_error_95 = float("nan")
    if outcome.flow is not None:
        errors = end_point_errors(outcome.flow, case.simulation.flow)
        if errors.size:
            flow_error, flow_error_95 = float(errors.mean()), float(np.percentile(errors, 95))
    return {
        "psnr": psnr(image, truth),
        "ssim": ssim(image, truth),
        "psnr_inside": psnr(image, truth, inside),
        "psnr_outside": psnr(image, truth, outside),
        "ssim_inside": ssim(image, truth, inside),
        "ssim_outside": ssim(image, truth, outside),
        "sharpness_inside": sharpness(image, truth, inside),
        "flow_error": flow_error,
        "flow_error_95": flow_error_95,
    }


def _to_255(image: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """Return grey values on the scale of 8-bit data, whatever the dtype of the stack."""
    if like.dtype == np.uint8:
        return image
    grey = GreyScale.of(like)
    return (image.astype(np.float64) - grey.low) * (255.0 / (grey.high - grey.low))


def _row(name: str, per_fold: list[dict[str, float]]) -> Row:
    mean, interval = {}, {}
    for column in COLUMNS:
        values = np.array([scores[column] for scores in per_fold], dtype=np.float64)
        values = values[np.isfinite(values)]
        mean[column] = float(values.mean()) if values.size else float("nan")
        spread = float(values.std(ddof=1)) if values.size > 1 else float("nan")
        interval[column] = (
            1.96 * spread / math.sqrt(values.size) if values.size > 1 else float("nan")
        )
    return Row(name, mean, interval)
