"""What the scores of a slice mean, in words that agree with them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sff_napari.evaluation.local_agreement import LocalAgreement
    from sff_napari.evaluation.without_truth import NeighbourScores

NEAR_CLEAN = 0.05
"""Agreement this much below that of clean slices still counts as theirs."""
FITS = 0.75
"""Nine of ten places of clean slices agree well; where this share does, the tissue fits."""
LIKENESS = 0.1
"""Correlation of the least alike tenth of places of clean slices, below which it says little."""
GAINS = 0.1
"""A smaller gain in the share of places that agree is none."""


def is_alarming(scores: NeighbourScores, local: LocalAgreement | None = None) -> bool:
    """Tell whether the slice agrees with its neighbours no better than before."""
    if local is not None:
        before, after = local.near_share(local.before), local.near_share(local.after)
        if not math.isnan(after):
            return after < FITS and after < before + GAINS
    return scores.better is False


def plain_verdict(scores: NeighbourScores, local: LocalAgreement | None = None) -> str:
    """Return what the numbers say and what they do not, in one to three sentences."""
    if local is not None and not math.isnan(local.near_share(local.after)):
        return _by_places(local, is_alarming(scores, local))
    before, after, clean = scores.near_before, scores.near_after, scores.clean
    if math.isnan(before) or math.isnan(after):
        return "Too little tissue beside the fold could be compared: judge by eye."
    moved = f"Near the fold the agreement went from {before:.2f} to {after:.2f}"
    if scores.better is False:
        return f"{moved}: no better than before. Check the line's place and width."
    if math.isnan(clean):
        return f"{moved}. There are no clean slices near by to compare with: judge by eye."
    if after >= clean - NEAR_CLEAN:
        return f"{moved}; clean slices have {clean:.2f}. Tissue fits about as well as there."
    return (
        f"{moved}; clean slices have {clean:.2f}. It is better than before but does not fit as "
        "well as clean slices do: look whether a structure is broken at the fold."
    )


def _of_unlike_slices(before: float, after: float, alarming: bool) -> str:
    """Return the verdict where even clean slices hardly resemble their neighbours."""
    counted = (
        f"Neighbouring slices of this stack hardly resemble each other place by place; {after:.0%} "
        f"of the places near the fold do so as clean slices do, before it were {before:.0%}."
    )
    if alarming:
        return f"{counted} That is no better than before: check the line's place and width."
    return f"{counted} Judge by eye, too."


def _by_places(local: LocalAgreement, alarming: bool) -> str:
    before, after = local.near_share(local.before), local.near_share(local.after)
    if local.clean[0] < LIKENESS:
        return _of_unlike_slices(before, after, alarming)
    counted = (
        f"Near the fold {after:.0%} of the places agree with the neighbours at "
        f"{local.clean[0]:.2f} or more, as 90% do in clean slices; before it were {before:.0%}."
    )
    if alarming:
        return f"{counted} That is no better than before: check the line's place and width."
    if after >= FITS:
        return f"{counted} The tissue fits about as well as in clean slices."
    return (
        f"{counted} It does not fit as well as in clean slices: look at the red places of the map."
    )
