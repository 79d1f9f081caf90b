"""Run the rows of the comparison: every way to deal with a folded slice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sff_napari.alignment.stack_drift import MOST_SLICES, StackDrift, measure_drift
from sff_napari.arrays import GreyScale
from sff_napari.errors import InputError
from sff_napari.evaluation.cases import Case, Trials
from sff_napari.evaluation.injected import with_injected
from sff_napari.restoration import DEFAULT_COVER, Restoration, restore
from sff_napari.restoration.unfolding.fitted_fold import covered
from sff_napari.simulation import apply_flow


@dataclass(frozen=True)
class Outcome:
    """What a method made of a case.

    Parameters
    ----------
    image : ndarray, (Y, X)
        The slice.
    flow : ndarray, (2, Y, X), optional
        Sampling offset (dy, dx) in px, if it has one.
    confidence : ndarray, (Y, X), optional
        Chance in [0, 1] that the flow is within 1 px, if it tells.
    """

    image: NDArray[Any]
    flow: NDArray[np.float32] | None = None
    confidence: NDArray[np.float32] | None = None


KNOWN_DRIFT = "known-drift"
"""The method that is told how strongly the slices drift."""


@dataclass(frozen=True)
class Settings:
    """Where, with which weights and with what knowledge methods run.

    Parameters
    ----------
    device : str
        Where to compute.
    weights : path, optional
        Folder of weights; the bundled ones if not given.
    drift : StackDrift, optional
        How strongly the slices that are folded drift; `KNOWN_DRIFT` needs it.
    """

    device: str = "auto"
    weights: Path | None = None
    drift: StackDrift | None = None

    @classmethod
    def of(cls, trials: Trials, stack: Any, methods: Collection[str]) -> Settings:
        """Return what `methods` need on trials with a stack (Z, Y, X) of clean slices."""
        drift = None
        if KNOWN_DRIFT in methods:
            usable = trials.usable(stack)
            measured = measure_drift(stack, usable[:: -(-len(usable) // MOST_SLICES)])
            drift = with_injected(measured, np.shape(stack[usable[0]])[:2], trials.inject_drift)
        return cls(trials.device, None if trials.weights is None else Path(trials.weights), drift)


Method = Callable[[Case, Settings], Outcome]


def _damaged(case: Case, settings: Settings) -> Outcome:
    return Outcome(case.simulation.damaged)


def _copy(case: Case, settings: Settings) -> Outcome:
    return Outcome(case.previous)


def _mean(case: Case, settings: Settings) -> Outcome:
    return Outcome((case.previous.astype(np.float64) + case.following) / 2)


def _inpainting(case: Case, settings: Settings) -> Outcome:
    """Fill the dark line from its rims (Telea), with no thought of the deformation."""
    damaged = case.simulation.damaged
    shape = (damaged.shape[0], damaged.shape[1])
    dark = np.zeros(shape, dtype=np.uint8)
    for fold in case.folds:
        dark |= covered(fold, shape, DEFAULT_COVER).numpy()
    grey = GreyScale.of(damaged)
    eight = np.rint(grey.to_unit(damaged) * 255).astype(np.uint8)
    filled = cv2.inpaint(eight, dark, 3, cv2.INPAINT_TELEA)
    return Outcome(np.where(dark > 0, grey.from_unit(filled.astype(np.float32) / 255), damaged))


def _ceiling(case: Case, settings: Settings) -> Outcome:
    """Unfold with the true flow and fill the rest with the mean: the best a method could do."""
    unfolded = apply_flow(case.simulation.damaged, case.simulation.flow)
    mean = _mean(case, settings).image
    return Outcome(np.where(np.isnan(unfolded), mean, unfolded), case.simulation.flow)


def _restoration(
    case: Case, settings: Settings, choices: Mapping[str, str], drift: StackDrift | None = None
) -> Restoration:
    return restore(
        case.previous,
        case.simulation.damaged,
        case.following,
        case.folds,
        device=settings.device,
        weights=settings.weights,
        drift=drift,
        **choices,  # type: ignore[arg-type]
    )


def _restored(**choices: str) -> Method:
    def run(case: Case, settings: Settings) -> Outcome:
        result = _restoration(case, settings, choices)
        if choices.get("unfolding", "law") == "none":
            return Outcome(result.restored)
        return Outcome(result.restored, result.flow, getattr(result, "confidence", None))

    return run


def _known_drift(case: Case, settings: Settings) -> Outcome:
    result = _restoration(case, settings, {"fusion": "seamless"}, settings.drift)
    return Outcome(result.restored, result.flow, getattr(result, "confidence", None))


def _interpolated(case: Case, settings: Settings) -> Outcome:
    choices = {"interpolation": "network", "unfolding": "none", "fusion": "stitch"}
    return Outcome(_restoration(case, settings, choices).reference)


METHODS: Mapping[str, Method] = {
    "damaged": _damaged,
    "copy": _copy,
    "mean": _mean,
    "inpainting": _inpainting,
    "interpolation": _interpolated,
    "interpolation+fusion": _restored(
        interpolation="network", unfolding="none", fusion="network-everywhere"
    ),
    "unfolding+fusion": _restored(
        interpolation="previous", unfolding="network", fusion="network-everywhere"
    ),
    "cascade": _restored(interpolation="network", unfolding="network", fusion="network-everywhere"),
    "seamless": _restored(fusion="seamless"),
    KNOWN_DRIFT: _known_drift,
    "expected": _restored(fusion="expected"),
    "ours": _restored(),
    "ceiling": _ceiling,
}
"""Every row: the untouched slice, simple ways, the paper's (with the weights in use), ours.

`KNOWN_DRIFT` is ``seamless`` told how strongly the slices drift: as measured on the clean slices
that are folded, and by what was injected."""


def chosen(names: list[str] | None) -> dict[str, Method]:
    """Return the methods of these names, all if None.

    Raises
    ------
    InputError
        If a name is unknown.
    """
    if names is None:
        return dict(METHODS)
    for name in names:
        if name not in METHODS:
            raise InputError(f"There is no method {name!r}: use some of {', '.join(METHODS)}.")
    return {name: METHODS[name] for name in names}
