"""What mistakes in what a method is given cost it, fold by fold."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sff_napari.errors import InputError
from sff_napari.evaluation.cases import (
    Kind,
    Perturbation,
    checked_kind,
    make_case,
    with_both_neighbours,
)
from sff_napari.evaluation.methods import Settings, chosen
from sff_napari.evaluation.scoring import mean_and_interval, scored
from sff_napari.evaluation.tables import cell, slice_ranges
from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter
from sff_napari.simulation import RealisticRanges

USUAL = (
    "line-offset=3",
    "width=+20%",
    "width=-20%",
    "line-offset=3,width=+20%",
    "line-offset=3,width=-20%",
    "brightness=+20%",
    "brightness=-20%",
    "blur=1",
)
"""What is tried where nothing is said, as `parse_perturbation` reads it."""

_FIELDS = {
    "line-offset": "line_offset",
    "width": "width_factor",
    "brightness": "brightness",
    "blur": "blur",
}
_NUMBER = re.compile(r"^[+-]?(\d+(\.\d*)?|\.\d+)%?$")


def parse_perturbation(text: str) -> Perturbation:
    """Return what a text such as ``"line-offset=3,width=+20%"`` says.

    Parameters
    ----------
    text : str
        Parts ``name=value`` with commas between them, that go wrong together:
        ``line-offset`` (px), ``width`` and ``brightness`` (a factor, or a
        percentage more or less), ``blur`` (px).

    Raises
    ------
    InputError
        If it cannot be read.
    """
    values: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name not in _FIELDS or not _NUMBER.match(value):
            raise InputError(
                f"The perturbation {part.strip()!r} cannot be read: write line-offset=3, "
                "width=+20%, brightness=-20% or blur=1, several with commas."
            )
        relative = value.endswith("%")
        number = float(value.rstrip("%"))
        if relative and name not in ("width", "brightness"):
            raise InputError(f"{name} is given in px, not in percent.")
        values[_FIELDS[name]] = 1 + number / 100 if relative else number
    return Perturbation(**values)


@dataclass(frozen=True)
class RobustnessRow:
    """What one perturbation does to one method.

    Parameters
    ----------
    method : str
        Its name.
    perturbation : str
        In words.
    psnr : (mean, interval)
        Of the perturbed run, dB, with the half width of the 95 % interval.
    loss : (mean, interval)
        What was lost against the unperturbed run, dB, over pairs of the same fold.
    flow_error : (mean, interval)
        Of the perturbed run, px; NaN for methods without a flow.
    """

    method: str
    perturbation: str
    psnr: tuple[float, float]
    loss: tuple[float, float]
    flow_error: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the row in plain JSON types; NaN becomes None."""

        def pair(values: tuple[float, float]) -> dict[str, float | None]:
            mean, interval = (round(v, 5) if math.isfinite(v) else None for v in values)
            return {"mean": mean, "interval": interval}

        return {
            "method": self.method,
            "perturbation": self.perturbation,
            "psnr": pair(self.psnr),
            "loss": pair(self.loss),
            "flow_error": pair(self.flow_error),
        }


@dataclass(frozen=True)
class Robustness:
    """What perturbations do, on simulated folds of one kind."""

    kind: str
    folds: int
    seed: int
    slices: tuple[int, ...]
    rows: tuple[RobustnessRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything in plain JSON types."""
        return {
            "kind": self.kind,
            "folds": self.folds,
            "seed": self.seed,
            "slices": list(self.slices),
            "rows": [row.to_dict() for row in self.rows],
        }

    def table(self) -> str:
        """Return everything as text."""
        width = max(12, *(len(row.perturbation) for row in self.rows)) + 2
        lines = [
            f"{self.folds} {self.kind} folds, slices {slice_ranges(self.slices)}, "
            f"seed {self.seed}; mean ± 95 % interval, the loss over pairs of the same fold",
            f"{'method':<22}{'perturbation':<{width}}{'PSNR':>14}{'loss dB':>15}{'EPE px':>15}",
        ]
        for row in self.rows:
            lines.append(
                f"{row.method:<22}{row.perturbation:<{width}}"
                f"{cell(row.psnr[0], 2, 7)} ±{cell(row.psnr[1], 2, 5)}"
                f"{cell(row.loss[0], 2, 8)} ±{cell(row.loss[1], 2, 5)}"
                f"{cell(row.flow_error[0], 2, 8)} ±{cell(row.flow_error[1], 2, 5)}"
            )
        return "\n".join(lines)


def robustness(
    stack: Any,
    perturbations: Sequence[Perturbation],
    *,
    slices: Sequence[int] | None = None,
    folds: int = 30,
    kind: Kind = "straight",
    seed: int = 0,
    methods: Sequence[str] = ("ours",),
    ranges: RealisticRanges | None = None,
    weights: str | Path | None = None,
    device: str = "auto",
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> Robustness:
    """Restore the same folds as they are and with mistakes in what is given.

    Parameters
    ----------
    stack : Stack or array_like, (Z, Y, X)
        Clean slices.
    perturbations : sequence of Perturbation
        What goes wrong; each by itself.
    slices, folds, kind, seed, ranges, weights, device, progress, cancelled
        As in `evaluate`: the same folds.
    methods : sequence of str
        Names from `METHODS`.

    Returns
    -------
    Robustness
        For each method a row for the unperturbed run and one a perturbation.

    Raises
    ------
    InputError
        If no slice has two neighbours, a choice is unknown, or nothing is to go wrong.
    Cancelled
        If `cancelled` returned True.
    """
    checked_kind(kind, ranges)
    if folds < 1:
        raise InputError(f"{folds} folds cannot be evaluated: use at least one.")
    if not perturbations:
        raise InputError("There is nothing that could go wrong: give at least one perturbation.")
    reporter = Reporter(progress, cancelled)
    table = chosen(list(methods))
    usable = with_both_neighbours(slices, len(stack))
    settings = Settings(device, None if weights is None else Path(weights))
    tried = [Perturbation(), *perturbations]
    scores: dict[tuple[str, int], list[dict[str, float]]] = {
        (name, index): [] for name in table for index in range(len(tried))
    }
    for number in range(folds):
        case = make_case(stack, usable[number % len(usable)], kind, seed, number, ranges)
        for index, wrong in enumerate(tried):
            given = case.with_perturbation(wrong)
            for name, method in table.items():
                share = (number + index / len(tried)) / folds
                reporter(share, f"fold {number + 1} of {folds}: {wrong.label}")
                scores[name, index].append(scored(method, given, settings)[0])
    reporter(1.0, "Done")
    rows = [
        _row(name, wrong, scores[name, index], scores[name, 0] if index else None)
        for name in table
        for index, wrong in enumerate(tried)
    ]
    return Robustness(kind, folds, seed, tuple(usable), tuple(rows))


def _row(
    name: str,
    wrong: Perturbation,
    own: list[dict[str, float]],
    unperturbed: list[dict[str, float]] | None,
) -> RobustnessRow:
    loss = (float("nan"), float("nan"))
    if unperturbed is not None:
        pairs = zip(unperturbed, own, strict=True)
        loss = mean_and_interval([before["psnr"] - after["psnr"] for before, after in pairs])
    return RobustnessRow(
        name,
        wrong.label,
        mean_and_interval([one["psnr"] for one in own]),
        loss,
        mean_and_interval([one["flow_error"] for one in own]),
    )
