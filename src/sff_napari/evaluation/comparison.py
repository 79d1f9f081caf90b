"""Compare methods on folds simulated on clean slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sff_napari.errors import InputError
from sff_napari.evaluation.calibration import Calibration
from sff_napari.evaluation.cases import Case, Trials
from sff_napari.evaluation.fid import FidJudge, inception
from sff_napari.evaluation.methods import Settings, chosen
from sff_napari.evaluation.scoring import (
    COLUMNS,
    SEGMENTATION_COLUMNS,
    on_255,
    over_folds,
    scored,
    share_recovered,
)
from sff_napari.evaluation.segmentation import SegmentationJudge
from sff_napari.evaluation.tables import main_table, segmentation_table
from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter

CLEAN = "clean"
"""Row of the slices without fold in the scores of segmentation."""
_DAMAGED = "damaged"


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
    recovered : dict of str to (share, low, high)
        For the scores of segmentation: which share of what the fold cost was
        won back, with its 95 % interval; see `share_recovered`.
    fid : float
        Fréchet distance of Inception features; NaN if it was not asked for.
    """

    method: str
    mean: dict[str, float]
    interval: dict[str, float]
    recovered: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    fid: float = float("nan")


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
    truth : str
        What segmentations were compared with: ``"instances"``, ``"clean slices"``,
        or nothing if none were made.
    conditions : str
        What is special about the folds, in words.
    calibration : dict of str to Calibration
        For methods that tell how sure they are.
    """

    kind: str
    folds: int
    seed: int
    slices: tuple[int, ...]
    rows: tuple[Row, ...]
    scores: dict[str, list[dict[str, float]]] = field(repr=False)
    truth: str = ""
    conditions: str = ""
    calibration: dict[str, Calibration] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison in plain JSON types; NaN becomes None."""

        def number(value: float) -> float | None:
            return round(value, 5) if math.isfinite(value) else None

        def plain(values: dict[str, float]) -> dict[str, float | None]:
            return {k: number(v) for k, v in values.items()}

        rows = []
        for row in self.rows:
            record: dict[str, Any] = {
                "method": row.method,
                "mean": plain(row.mean),
                "interval": plain(row.interval),
            }
            if row.recovered:
                record["recovered"] = {k: [number(x) for x in v] for k, v in row.recovered.items()}
            if math.isfinite(row.fid):
                record["fid"] = number(row.fid)
            rows.append(record)
        return {
            "kind": self.kind,
            "folds": self.folds,
            "seed": self.seed,
            "slices": list(self.slices),
            "conditions": self.conditions or None,
            "segmentation": self.truth or None,
            "rows": rows,
            "per_fold": {name: [plain(one) for one in own] for name, own in self.scores.items()},
            "calibration": {name: one.to_dict() for name, one in self.calibration.items()},
        }

    def table(self) -> str:
        """Return the comparison as text: means, with 95 % intervals of PSNR and SSIM."""
        parts = [main_table(self)]
        if self.truth:
            parts.append(segmentation_table(self))
        parts += [one.table(name) for name, one in self.calibration.items()]
        return "\n\n".join(parts)


def evaluate(
    stack: Any,
    trials: Trials | None = None,
    *,
    methods: Sequence[str] | None = None,
    segmentation: bool = False,
    instances: Any = None,
    fid: bool = False,
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> Evaluation:
    """Fold clean slices of a stack and compare what methods make of them.

    Parameters
    ----------
    stack : Stack or array_like, (Z, Y, X)
        Clean slices; only those needed are read.
    trials : Trials, optional
        Which folds, on which slices; 30 of the paper's if not given.
    methods : sequence of str, optional
        Names from `METHODS`; all if not given.
    segmentation : bool
        Also segment every result and compare with the segmentation of the clean slice.
    instances : Stack or array_like, (Z, Y, X), optional
        True instances of the stack, 0 for membrane, to compare segmentations with.
    fid : bool
        Also compute the distance of Inception features; needs the extra ``fid``.
    progress, cancelled : callable, optional
        See `restore`.

    Returns
    -------
    Evaluation
        With a row a method.

    Raises
    ------
    InputError
        If no slice has two neighbours, a choice is unknown, an extra is missing, or
        there are instances and a drift is injected, which they do not follow.
    Cancelled
        If `cancelled` returned True.
    """
    trials = trials or Trials()
    folds = trials.folds
    _check_instances(stack, instances, trials)
    reporter = Reporter(progress, cancelled)
    table = chosen(None if methods is None else list(methods))
    usable = trials.usable(stack)
    settings = Settings.of(trials, stack, table)
    fids = FidJudge(inception(trials.device)) if fid else None
    judged = segmentation or instances is not None
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in table}
    calibrations: dict[str, Calibration] = {}
    cost: dict[str, list[dict[str, float]]] = {_DAMAGED: [], CLEAN: []}
    for number in range(folds):
        case = trials.case(stack, number)
        judge = _judge(case, instances) if judged else None
        if judge is not None:
            cost[_DAMAGED].append(judge.scores(on_255(case.simulation.damaged, case.clean)))
            cost[CLEAN].append(judge.scores(on_255(case.clean, case.clean)))
        if fids is not None:
            fids.see_clean(on_255(case.clean, case.clean))
        for index, (name, method) in enumerate(table.items()):
            share = (number + index / len(table)) / folds
            reporter(share, f"fold {number + 1} of {folds}: {name}")
            own, outcome = scored(method, case, settings, judge)
            scores[name].append(own)
            if outcome.confidence is not None and outcome.flow is not None:
                calibration = calibrations.setdefault(name, Calibration())
                calibration.add(outcome.confidence, outcome.flow, case.simulation.flow)
            if fids is not None:
                fids.see(name, on_255(outcome.image, case.clean))
    reporter(1.0, "Done")
    rows = [_row(name, per_fold, cost) for name, per_fold in scores.items()]
    if fids is not None:
        rows = [replace(row, fid=fids.distance(row.method)) for row in rows]
    if judged:
        rows.append(_row(CLEAN, cost[CLEAN], cost))
    truth = "" if not judged else "clean slices" if instances is None else "instances"
    return Evaluation(
        trials.kind,
        folds,
        trials.seed,
        tuple(usable),
        tuple(rows),
        scores,
        truth,
        trials.title,
        calibrations,
    )


def _check_instances(stack: Any, instances: Any, trials: Trials) -> None:
    if instances is None:
        return
    if trials.inject_drift:
        raise InputError(
            "Instances do not follow a drift that is injected: leave one of the two out."
        )
    own, given = (tuple(int(n) for n in one.shape) for one in (stack, instances))
    if own != given:
        raise InputError(
            f"The instances have shape {given} but the stack {own}: give the instances of "
            "this stack, slice for slice."
        )


def _judge(case: Case, instances: Any) -> SegmentationJudge:
    true = None if instances is None else np.asarray(instances[case.z])
    return SegmentationJudge.of(on_255(case.clean, case.clean), case.simulation.corrupted, true)


def _row(
    name: str, per_fold: list[dict[str, float]], cost: dict[str, list[dict[str, float]]]
) -> Row:
    known = set().union(*per_fold)
    mean, interval = over_folds(
        [dict.fromkeys(COLUMNS, float("nan")) | scores for scores in per_fold],
        [c for c in (*COLUMNS, *SEGMENTATION_COLUMNS) if c in COLUMNS or c in known],
    )
    recovered = {}
    if cost[CLEAN]:
        for column in SEGMENTATION_COLUMNS:
            damaged, own, clean = (
                [scores[column] for scores in part]
                for part in (cost[_DAMAGED], per_fold, cost[CLEAN])
            )
            recovered[column] = share_recovered(damaged, own, clean)
    return Row(name, mean, interval, recovered)
