"""Measure what mistakes in what a method is given cost it, fold by fold."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sff_napari.errors import InputError
from sff_napari.evaluation.cases import Perturbation, Trials
from sff_napari.evaluation.methods import Settings, chosen
from sff_napari.evaluation.scoring import mean_and_interval, scored
from sff_napari.evaluation.tables import mean_cell
from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter
from sff_napari.stacks.slice_numbers import slice_ranges

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
    "shift": "shift",
}
_PLAIN = r"[+-]?(\d+(\.\d*)?|\.\d+)"
_NUMBER = re.compile(rf"^{_PLAIN}%?$")
_PAIR = re.compile(rf"^{_PLAIN}/{_PLAIN}$")


def parse_perturbation(text: str) -> Perturbation:
    """Return what a text such as ``"line-offset=3,width=+20%"`` says.

    Parameters
    ----------
    text : str
        Parts ``name=value`` with commas between them, that go wrong together:
        ``line-offset`` (px), ``width`` and ``brightness`` (a factor, or a
        percentage more or less), ``blur`` (px), ``shift=DY/DX`` (px: the previous slice
        is moved by it, the following one the other way).

    Raises
    ------
    InputError
        If it cannot be read.
    """
    values: dict[str, Any] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        pattern = _PAIR if name == "shift" else _NUMBER
        if name not in _FIELDS or not pattern.match(value):
            raise InputError(
                f"The perturbation {part.strip()!r} cannot be read: write line-offset=3, "
                "width=+20%, brightness=-20%, blur=1 or shift=3/-4.5, several with commas."
            )
        if name == "shift":
            dy, dx = value.split("/")
            values["shift"] = (float(dy), float(dx))
            continue
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
    flow_change : (mean, interval)
        By how much that is more than in the unperturbed run, px, over the same pairs.
    """

    method: str
    perturbation: str
    psnr: tuple[float, float]
    loss: tuple[float, float]
    flow_error: tuple[float, float]
    flow_change: tuple[float, float]

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
            "flow_change": pair(self.flow_change),
        }


@dataclass(frozen=True)
class Robustness:
    """What perturbations do, on simulated folds of one kind."""

    kind: str
    folds: int
    seed: int
    slices: tuple[int, ...]
    rows: tuple[RobustnessRow, ...]
    conditions: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return everything in plain JSON types."""
        return {
            "kind": self.kind,
            "folds": self.folds,
            "seed": self.seed,
            "slices": list(self.slices),
            "conditions": self.conditions or None,
            "rows": [row.to_dict() for row in self.rows],
        }

    def table(self) -> str:
        """Return everything as text."""
        width = max(12, *(len(row.perturbation) for row in self.rows)) + 2
        lines = [
            f"{self.folds} {self.kind} folds, slices {slice_ranges(self.slices)}, "
            f"seed {self.seed}{f'; {self.conditions}' * bool(self.conditions)}; "
            "mean ± 95 % interval, losses and changes over pairs of the same fold",
            f"{'method':<22}{'perturbation':<{width}}{'PSNR':>14}{'loss dB':>15}{'EPE px':>15}"
            f"{'change px':>15}",
        ]
        for row in self.rows:
            lines.append(
                f"{row.method:<22}{row.perturbation:<{width}}"
                f"{mean_cell(row.psnr, 2, 7, 5)}"
                f"{mean_cell(row.loss, 2, 8, 5)}"
                f"{mean_cell(row.flow_error, 2, 8, 5)}"
                f"{mean_cell(row.flow_change, 2, 8, 5)}"
            )
        return "\n".join(lines)


def robustness(
    stack: Any,
    perturbations: Sequence[Perturbation],
    trials: Trials | None = None,
    *,
    methods: Sequence[str] = ("ours",),
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
    trials : Trials, optional
        As in `evaluate`: the same folds.
    methods : sequence of str
        Names from `METHODS`.
    progress, cancelled : callable, optional
        See `restore`.

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
    trials = trials or Trials()
    folds = trials.folds
    if not perturbations:
        raise InputError("There is nothing that could go wrong: give at least one perturbation.")
    reporter = Reporter(progress, cancelled)
    table = chosen(list(methods))
    usable = trials.usable(stack)
    settings = Settings.of(trials, stack, table)
    tried = [Perturbation(), *perturbations]
    scores: dict[tuple[str, int], list[dict[str, float]]] = {
        (name, index): [] for name in table for index in range(len(tried))
    }
    for number in range(folds):
        case = trials.case(stack, number)
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
    return Robustness(trials.kind, folds, trials.seed, tuple(usable), tuple(rows), trials.title)


def _row(
    name: str,
    wrong: Perturbation,
    own: list[dict[str, float]],
    unperturbed: list[dict[str, float]] | None,
) -> RobustnessRow:
    loss = change = (float("nan"), float("nan"))
    if unperturbed is not None:
        pairs = list(zip(unperturbed, own, strict=True))
        loss = mean_and_interval([before["psnr"] - after["psnr"] for before, after in pairs])
        change = mean_and_interval(
            [after["flow_error"] - before["flow_error"] for before, after in pairs]
        )
    return RobustnessRow(
        name,
        wrong.label,
        mean_and_interval([one["psnr"] for one in own]),
        loss,
        mean_and_interval([one["flow_error"] for one in own]),
        change,
    )
