"""Tell what to expect on a stack of one's own: leave out each clean slice in turn.

A slice that is in good order is made up from its two neighbours as if it were
lost, and folded by a simulated fold and restored.  Both are compared with the
slice itself, so no ground truth is needed.  Slices that differ from the others
stand out.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from sff_napari.arrays import as_slice
from sff_napari.errors import InputError
from sff_napari.evaluation.cases import Case, checked_kind, make_case
from sff_napari.evaluation.methods import METHODS, Method, Outcome, Settings
from sff_napari.evaluation.metrics import psnr, ssim
from sff_napari.evaluation.scoring import mean_and_interval, on_255
from sff_napari.evaluation.tables import cell
from sff_napari.evaluation.without_truth import correlation, smooth
from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter
from sff_napari.restoration import restore
from sff_napari.simulation import RealisticRanges

INTERPOLATIONS = ("copy", "mean", "motion", "network")
"""Ways to make up a slice from its neighbours."""
ABOUT = ("brightness", "contrast", "detail", "before", "after", "likeness", "between")
"""What a slice is like: mean and spread of its grey values, spread after a high-pass, all on
the scale of 8-bit data; its correlation with the slice before and the one after, their mean, and
that of its neighbours with each other."""
_FAR = 3.5
"""Robust deviations from the median from which on a value stands out."""
_JUMP = 0.4
"""Share of the usual correlation below which there is a jump between two slices."""
_LEAST = 5
"""Fewer slices than this do not tell what is usual."""
_WORDS: Mapping[str, tuple[str, str]] = {
    "brightness": ("darker", "brighter"),
    "contrast": ("of lower contrast", "of higher contrast"),
    "detail": ("more blurred", "noisier or sharper"),
    "likeness": ("less like its neighbours", ""),
    "between": ("between neighbours less like each other", ""),
}
_SMALLEST = {"brightness": 4.0, "contrast": 0.0, "detail": 0.0, "likeness": 0.05, "between": 0.05}
_SMALLEST_SHARE = {"contrast": 0.1, "detail": 0.1}
"""Deviations smaller than this, or than this share of the median, do not stand out however
alike the slices are."""


@dataclass(frozen=True)
class SliceScores:
    """One slice that was left out.

    Parameters
    ----------
    z : int
        Which.
    about : dict of str to float
        What it is like; see `ABOUT`.
    psnr, ssim : dict of str to float
        Of each interpolation, and of ``"damaged"`` and ``"restored"``, the slice
        with a simulated fold before and after restoring.
    flow_error : float
        Mean error of the flow of the restoration, px.
    """

    z: int
    about: dict[str, float]
    psnr: dict[str, float]
    ssim: dict[str, float]
    flow_error: float


@dataclass(frozen=True)
class LeaveOneOut:
    """All slices that were left out in turn.

    Parameters
    ----------
    kind : str
        Of the simulated folds.
    seed : int
        They were drawn from.
    slices : tuple of SliceScores
        In the order of the stack.
    unusual : dict of int to str
        Slices that stand out, and how.
    skipped : tuple of int
        Slices that could not be judged: no clean neighbour on both sides.
    """

    kind: str
    seed: int
    slices: tuple[SliceScores, ...]
    unusual: dict[int, str]
    skipped: tuple[int, ...]

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of the rows: interpolations, damaged, restored."""
        return tuple(self.slices[0].psnr)

    def mean(self, what: str, row: str) -> tuple[float, float]:
        """Return mean and half width of the 95 % interval of ``"psnr"`` or ``"ssim"`` of a row."""
        return mean_and_interval([getattr(one, what)[row] for one in self.slices])

    def to_dict(self) -> dict[str, Any]:
        """Return everything in plain JSON types; NaN becomes None."""

        def number(value: float) -> float | None:
            return round(value, 5) if math.isfinite(value) else None

        def plain(values: Mapping[str, float]) -> dict[str, float | None]:
            return {k: number(v) for k, v in values.items()}

        return {
            "kind": self.kind,
            "seed": self.seed,
            "slices": [
                {
                    "slice": one.z,
                    "about": plain(one.about),
                    "psnr": plain(one.psnr),
                    "ssim": plain(one.ssim),
                    "flow_error": number(one.flow_error),
                }
                for one in self.slices
            ],
            "mean": {
                what: {
                    row: dict(
                        zip(("mean", "interval"), map(number, self.mean(what, row)), strict=True)
                    )
                    for row in self.rows
                }
                for what in ("psnr", "ssim")
            },
            "unusual": {str(z): why for z, why in self.unusual.items()},
            "skipped": list(self.skipped),
        }

    def table(self) -> str:
        """Return everything as text."""
        names = self.rows
        lines = [
            f"Each of {len(self.slices)} slices made up from its neighbours, and with a "
            f"simulated {self.kind} fold (seed {self.seed}) before and after restoring; PSNR in dB",
            f"{'slice':<7}{'bright':>7}{'spread':>7}{'detail':>7}{'like':>7}"
            + "".join(f"{name:>10}" for name in names)
            + f"{'EPE px':>8}  unusual",
        ]
        for one in self.slices:
            a = one.about
            lines.append(
                f"{one.z:<7}{cell(a['brightness'], 1, 7)}{cell(a['contrast'], 1, 7)}"
                f"{cell(a['detail'], 1, 7)}{cell(a['likeness'], 2, 7)}"
                + "".join(cell(one.psnr[name], 2, 10) for name in names)
                + f"{cell(one.flow_error, 2, 8)}  {self.unusual.get(one.z, '')}".rstrip()
            )
        for what, digits in (("psnr", 2), ("ssim", 3)):
            both = [self.mean(what, name) for name in names]
            for title, part in ((f"mean {what.upper()}", 0), ("± 95 %", 1)):
                lines.append(
                    f"{title:<35}" + "".join(cell(pair[part], digits, 10) for pair in both)
                )
        if self.unusual:
            listed = "; ".join(f"{z} ({why})" for z, why in self.unusual.items())
            lines.append(f"Slices that stand out: {listed}.")
        elif len(self.slices) >= _LEAST:
            lines.append("No slice stands out.")
        if self.skipped:
            lines.append(
                "Not judged, for want of a clean neighbour on both sides: "
                + ", ".join(map(str, self.skipped))
                + "."
            )
        return "\n".join(lines)


def leave_one_out(
    stack: Any,
    *,
    slices: Sequence[int] | None = None,
    damaged: Collection[int] = (),
    kind: str = "realistic",
    seed: int = 0,
    interpolations: Sequence[str] = INTERPOLATIONS,
    ranges: RealisticRanges | None = None,
    weights: str | Path | None = None,
    device: str = "auto",
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> LeaveOneOut:
    """Make up and restore each clean slice in turn.

    Parameters
    ----------
    stack : Stack or array_like, (Z, Y, X)
        A stack of one's own.
    slices : sequence of int, optional
        Slices to judge; all if not given.
    damaged : collection of int
        Slices with real folds: neither judged nor used as neighbours.
    kind : {"straight", "realistic"}
        Of the simulated folds.
    seed : int
        The same seed gives the same folds.
    interpolations : sequence of str
        Which of `INTERPOLATIONS`.
    ranges : RealisticRanges, optional
        What realistic folds are drawn from.
    weights, device, progress, cancelled
        As in `evaluate`.

    Returns
    -------
    LeaveOneOut
        With the scores of each slice.

    Raises
    ------
    InputError
        If no slice has two clean neighbours or a choice is unknown.
    Cancelled
        If `cancelled` returned True.
    """
    checked_kind(kind, ranges)
    for name in interpolations:
        if name not in INTERPOLATIONS:
            raise InputError(
                f"There is no interpolation {name!r}: use some of {', '.join(INTERPOLATIONS)}."
            )
    reporter = Reporter(progress, cancelled)
    depth = len(stack)
    wanted = range(depth) if slices is None else slices
    for z in wanted:
        if not 0 <= z < depth:
            raise InputError(f"The stack has no slice {z}: it has {depth}, numbered from 0.")
    bad = set(damaged)
    usable = [z for z in wanted if 0 < z < depth - 1 and not bad & {z - 1, z, z + 1}]
    skipped = tuple(z for z in wanted if z not in usable and z not in bad)
    if not usable:
        raise InputError(
            "No slice has a clean neighbour on both sides, so none can be left out: "
            "give more slices."
        )
    settings = Settings(device, None if weights is None else Path(weights))
    found = []
    for number, z in enumerate(usable):
        reporter(number / len(usable), f"slice {z}")
        case = make_case(stack, z, kind, seed, z, ranges)
        found.append(_left_out(case, interpolations, settings))
    reporter(1.0, "Done")
    return LeaveOneOut(kind, seed, tuple(found), unusual_slices(found), skipped)


def _left_out(case: Case, interpolations: Sequence[str], settings: Settings) -> SliceScores:
    truth = on_255(case.clean, case.clean)
    outcomes: dict[str, Outcome] = {}
    for name in interpolations:
        outcomes[name] = _METHODS[name](case, settings)
    outcomes["damaged"] = METHODS["damaged"](case, settings)
    restored = METHODS["ours"](case, settings)
    outcomes["restored"] = restored
    images = {name: on_255(one.image, case.clean) for name, one in outcomes.items()}
    flow_error = float("nan")
    if restored.flow is not None:
        difference = restored.flow - case.simulation.flow
        error = np.hypot(difference[0], difference[1])
        if np.isfinite(error).any():
            flow_error = float(np.nanmean(error))
    return SliceScores(
        case.z,
        _about(case),
        {name: psnr(image, truth) for name, image in images.items()},
        {name: ssim(image, truth) for name, image in images.items()},
        flow_error,
    )


def _about(case: Case) -> dict[str, float]:
    grey = on_255(case.clean, case.clean).astype(np.float64)
    grey = np.where(np.isfinite(grey), grey, np.nanmean(grey))
    before, left_out, after = (
        smooth(as_slice(one)) for one in (case.previous, case.clean, case.following)
    )
    to_before, to_after = correlation(left_out, before), correlation(left_out, after)
    return {
        "brightness": float(grey.mean()),
        "contrast": float(grey.std()),
        "detail": float((grey - ndimage.gaussian_filter(grey, 2.0)).std()),
        "before": to_before,
        "after": to_after,
        "likeness": (to_before + to_after) / 2,
        "between": correlation(before, after),
    }


def _motion(case: Case, settings: Settings) -> Outcome:
    """Move both neighbours half way along their drift and average them; the slice is not used."""
    result = restore(
        case.previous,
        case.simulation.damaged,
        case.following,
        case.folds,
        unfolding="none",
        fusion="stitch",
        device=settings.device,
    )
    return Outcome(result.reference)


_METHODS: Mapping[str, Method] = {
    "copy": METHODS["copy"],
    "mean": METHODS["mean"],
    "motion": _motion,
    "network": METHODS["interpolation"],
}


def unusual_slices(slices: Sequence[SliceScores]) -> dict[int, str]:
    """Return the slices that differ from the others, and how.

    A value stands out that lies more than 3.5 robust standard deviations (1.48
    times the median absolute deviation) from the median of all slices.  Between
    slices whose correlation is below 0.4 times the median there is a jump.
    """
    if len(slices) < _LEAST:
        return {}
    found: dict[int, list[str]] = {}
    for name, (below, above) in _WORDS.items():
        values = np.array([one.about[name] for one in slices])
        middle = float(np.nanmedian(values))
        spread = 1.4826 * float(np.nanmedian(np.abs(values - middle)))
        least = max(_SMALLEST[name], _SMALLEST_SHARE.get(name, 0.0) * abs(middle))
        limit = max(_FAR * spread, least)
        for one, value in zip(slices, values, strict=True):
            words = below if value < middle - limit else above if value > middle + limit else ""
            if words:
                found.setdefault(one.z, []).append(words)
    usual = np.nanmedian([one.about[name] for one in slices for name in ("before", "after")])
    for one in slices:
        for name in ("before", "after"):
            if one.about[name] < _JUMP * usual:
                found.setdefault(one.z, []).append(f"jump {name} it")
    return {z: ", ".join(words) for z, words in sorted(found.items())}
