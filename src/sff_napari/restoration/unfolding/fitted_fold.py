"""Undo what folds did to a slice, by their own law."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sff_napari.alignment.drift_model import SliceDrift
from sff_napari.alignment.features import Features
from sff_napari.folds import (
    Curve,
    Fold,
    FoldLaw,
    LineCoordinates,
    fold_displacement,
    unfold_displacement,
)
from sff_napari.folds.curve import grid_points
from sff_napari.folds.law import interpolate
from sff_napari.restoration.unfolding.law_search import SideFit
from sff_napari.restoration.unfolding.side_motion import Motions
from sff_napari.warp import warp

LEAST_SIDE_SCORE = 0.1
"""Correlation below which a side was not found in the neighbours: chance alone gives half as much,
and simulated folds, on any stack, give 0.14 and more."""
LEAST_SIDE_SHARE = 0.3
"""The same as a share of the other side's; simulated folds give 0.5 and more."""
_CLEARANCE_STEP = 4
"""Pixels between places at which the distance from a bent line is worked out; linear between."""
NEGLIGIBLE = 0.02
"""Displacement, in px, below which the slice counts as untouched."""


@dataclass(frozen=True)
class FittedFold:
    """A fold with the law that was found for it.

    Parameters
    ----------
    fold : Fold
        The line as given.
    curve : Curve
        The line in the frame in which the law holds.
    law : FoldLaw
        What it did.
    fits : (SideFit, SideFit)
        The coefficients that `law` was made of.
    drift : SliceDrift
        Where the slice lies against its neighbours.
    summed_precision : float
        How much of it was seen: the summed precision of the windows' shifts, px^-2.
    motions : (SideMotion or None, SideMotion or None)
        How the sides of negative and positive distance lie as a whole, beyond what the
        law did: the law holds before a side is brought back.
    side_scores : (float or None, float or None)
        Correlation of each side with the neighbours, at the best law of the search; None
        where there is too little tissue to tell.
    uniform_share : float
        How likely the paper's simple law is enough, in [0, 1].
    misfit : float, optional
        Mean square of what the fit leaves of the shifts of windows, in units of its expected
        variance; None if unknown.
    covariance : Tensor, (P, P) float64, optional
        Of the law's parameters, in the order of `LawParameters`; None if unknown.
    """

    fold: Fold
    curve: Curve
    law: FoldLaw
    fits: tuple[SideFit, SideFit]
    drift: SliceDrift
    summed_precision: float = 0.0
    motions: Motions = (None, None)
    side_scores: tuple[float | None, float | None] = (None, None)
    uniform_share: float = 0.0
    misfit: float | None = None
    covariance: Tensor | None = None

    @property
    def uniform(self) -> bool:
        """Whether the paper's simple law is likelier than a flexible one."""
        return self.uniform_share > 0.5

    def undone(self, points: Tensor, place: LineCoordinates) -> tuple[Tensor, Tensor]:
        """Return where the tissue at points is seen in the slice, and what is not seen at all.

        Parameters
        ----------
        points : Tensor, (2, ...)
            In the slice as it was without this fold, px.
        place : LineCoordinates
            The same points against `curve`.

        Returns
        -------
        flow : Tensor, (2, ...)
            From the points to where they are seen, px.
        hidden : Tensor, (...) bool
            Tissue that was swallowed; the flow means nothing there.
        """
        if self.motions == (None, None):
            return (
                unfold_displacement(self.law, place),
                self.law.is_hidden(place.along, place.distance),
            )
        flow = torch.zeros_like(points)
        hidden = torch.ones_like(points[0], dtype=torch.bool)
        # A side that was not moved is written last: what is seen in its place is seen.
        for motion, sign in sorted(
            zip(self.motions, (-1, 1), strict=True), key=lambda pair: pair[0] is None
        ):
            origin = points if motion is None else motion.origin(points)
            coordinates = place if motion is None else self.curve.project(origin)
            seen = (coordinates.distance * sign > 0) & ~self.law.is_hidden(
                coordinates.along, coordinates.distance
            )
            moved = origin - points + unfold_displacement(self.law, coordinates)
            flow = torch.where(seen, moved, flow)
            hidden = hidden & ~seen
        return flow, hidden

    def brought_back(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return where points (2, N) of the slice belong, and which of them show tissue."""
        place = self.curve.project(points)
        seen = ~self.law.is_dark(place.along, place.distance)
        back = points + fold_displacement(self.law, place)
        for motion, sign in zip(self.motions, (-1, 1), strict=True):
            if motion is not None:
                back = torch.where(place.distance * sign > 0, motion.back(back), back)
        return back, seen

    def report(self) -> dict[str, Any]:
        """Return what was found, in plain JSON types."""
        law = self.law
        return {
            "uniform": self.uniform,
            "uniform_share": round(self.uniform_share, 3),
            "misfit": None if self.misfit is None else round(self.misfit, 3),
            "displacement": [round(float(side.mean()), 2) for side in law.gap],
            "decay": [round(float(side.mean()), 5) for side in law.decay],
            "tail": [round(float(side.mean()), 3) for side in law.tail],
            "hidden_width": round(float((law.gap.sum(0) + 2 * law.dark).mean()), 2),
            "drift": [round(float(v), 2) for v in self.drift.offset],
            "drift_level": round(self.drift.level, 3),
            "side_scores": [
                None if score is None else round(score, 3) for score in self.side_scores
            ],
            "motions": [
                None
                if motion is None
                else {
                    "turn": round(math.degrees(motion.turn), 2),
                    "shift": [round(value, 1) for value in motion.shift],
                    "score": round(motion.score, 3),
                }
                for motion in self.motions
            ],
        }

    def warnings(self) -> list[str]:
        """Return what a user should know about the fit, in sentences."""
        sentences = []
        for index in range(2):
            name, score, motion = self._side(index), self.side_scores[index], self.motions[index]
            if motion is not None:
                far = math.hypot(*motion.shift)
                sentences.append(
                    f"The tissue {name} the fold lay turned by {math.degrees(motion.turn):.1f} "
                    f"degrees and about {far:.0f} px off: it was brought back as a whole."
                )
            if score is not None and is_weak(self.side_scores, index):
                sentences.append(
                    f"Hardly anything {name} the fold was found again in the neighbours "
                    f"(correlation {score:.2f}): what was undone there is probably wrong."
                )
        return sentences

    def _side(self, index: int) -> str:
        """Return on which side of the line the tissue of negative or positive distance lies."""
        half = torch.full((), self.curve.length / 2, device=self.curve.device)
        normal = self.curve.project(self.curve.at(half.to(self.curve.dtype))[0]).normal
        y, x = ((2 * index - 1) * normal).tolist()
        if abs(y) > abs(x):
            return "above" if y < 0 else "below"
        return "left of" if x < 0 else "right of"


def is_weak(scores: tuple[float | None, float | None], index: int) -> bool:
    """Tell whether one of two sides was hardly found again in the neighbours.

    Parameters
    ----------
    scores : (float or None, float or None)
        Correlations of the sides of negative and positive distance, None if unknown.
    index : {0, 1}
        The side in question.
    """
    own, other = scores[index], scores[1 - index]
    return own is not None and own < max(LEAST_SIDE_SCORE, LEAST_SIDE_SHARE * (other or 0.0))


def dark_line(curve: Curve, fold: Fold, cover: float) -> tuple[Tensor, Tensor]:
    """Return knots along a smoothed line and the half width that covers the dark line there.

    Parameters
    ----------
    curve : Curve
        The smoothed centre line of `fold`.
    fold : Fold
        The line as given.
    cover : float
        Pixels beside the dark line that count as part of it.

    Returns
    -------
    knots, half_widths : Tensor, (K,)
        Arc lengths along `curve` and half widths about it, px.
    """
    exact = Curve.of(fold, curve.device, curve.dtype)
    count = max(8, int(curve.length / 16))
    share = torch.linspace(0, 1, count, dtype=curve.dtype, device=curve.device)
    along = torch.tensor(exact.vertices_along, dtype=curve.dtype, device=curve.device)
    widths = along.new_tensor(fold.half_widths or [fold.half_width] * len(along))
    # Where smoothing moved the line aside, the dark line reaches as much farther on that side.
    points, _ = exact.at(share * exact.length)
    aside = curve.project(points).distance.abs().clamp(max=4.0)
    return share * curve.length, interpolate(along, widths, share * exact.length) + cover + aside


def clearance(
    fold: Fold,
    shape: tuple[int, int],
    device: torch.device | str = "cpu",
    origin: tuple[float, float] = (0.0, 0.0),
    step: float = 1.0,
) -> Tensor:
    """Return the distance of the pixels of a grid from the rim of a dark line.

    Returns
    -------
    Tensor, (height, width)
        In px; zero and below on the line.
    """
    curve = Curve.of(fold, device)
    coarse = 1 if curve.is_straight else _CLEARANCE_STEP
    size = tuple(-(-side // coarse) + (coarse > 1) for side in shape)
    place = curve.on_grid((size[0], size[1]), origin, step * coarse)
    along = torch.tensor(curve.vertices_along, dtype=curve.dtype, device=curve.device)
    widths = along.new_tensor(fold.half_widths or [fold.half_width] * len(along))
    half_width = interpolate(along, widths, place.along)
    beyond = torch.maximum(-place.along, place.along - curve.length)
    distance, half_width, beyond = _finer(
        torch.stack([place.distance, half_width, beyond]), coarse, shape
    )
    return torch.maximum(distance.abs() - half_width, beyond)


def _finer(planes: Tensor, factor: int, shape: tuple[int, int]) -> Tensor:
    """Return smooth planes (N, ...) on a grid `factor` times finer, from the same first place."""
    if factor == 1:
        return planes
    size = [(side - 1) * factor + 1 for side in planes.shape[1:]]
    fine = F.interpolate(planes[None], size=size, mode="bilinear", align_corners=True)[0]
    return fine[:, : shape[0], : shape[1]]


def covered(
    fold: Fold,
    shape: tuple[int, int],
    cover: float,
    device: torch.device | str = "cpu",
    origin: tuple[float, float] = (0.0, 0.0),
    step: float = 1.0,
) -> Tensor:
    """Return which pixels of a grid lie on the dark line, widened by `cover` px, (Y, X) bool."""
    return clearance(fold, shape, device, origin, step) <= cover


def unfolded_features(curve: Curve, law: FoldLaw, damaged: Features) -> Features:
    """Return the features of the damaged slice after unfolding."""
    pool = damaged.pool
    shape = (damaged.values.shape[0], damaged.values.shape[1])
    place = curve.on_grid(shape, ((pool - 1) / 2, (pool - 1) / 2), float(pool))
    hidden = law.is_hidden(place.along, place.distance)
    flow = torch.where(hidden, 0.0, unfold_displacement(law, place)) / pool
    both = warp(damaged.stacked(), flow[None], "bilinear", "zeros")[0]
    known = ((both[1] > 0.9) & ~hidden).to(both.dtype)
    # Windows next to the hidden band would compare tissue dragged by its edge.
    clear = -F.max_pool2d(-known[None, None], 3, stride=1, padding=1)[0, 0]
    return Features(both[0] * clear, clear, pool)


class LawUnfolding:
    """The way back from a damaged slice through the laws of its folds.

    Parameters
    ----------
    fitted : sequence of FittedFold
        In the order in which they are to be undone in the restored frame: each
        curve lies in the frame in which all later ones are undone already.
    cover : float
        Pixels beside the dark line that count as part of it.
    """

    def __init__(self, fitted: Sequence[FittedFold], cover: float) -> None:
        self.fitted = list(fitted)
        self.cover = cover

    def on_grid(
        self,
        shape: tuple[int, int],
        origin: tuple[float, float] = (0.0, 0.0),
        step: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return the flow and the hidden pixels on a grid of the restored slice.

        Returns
        -------
        flow : Tensor, (2, height, width)
            (dy, dx) in px: ``unfolded(x) = damaged(x + flow(x))``; exactly zero
            where the folds do nothing, defined but meaningless where hidden.
        hidden : Tensor, (height, width) bool
            Pixels whose tissue was swallowed.
        """
        device = self.fitted[0].curve.device
        points = grid_points(shape, origin, step, device)
        flow = torch.zeros_like(points)
        hidden = torch.zeros(shape, dtype=torch.bool, device=device)
        for index, one in enumerate(self.fitted):
            coordinates = one.curve.on_grid(shape, origin, step)
            if index:
                coordinates = one.curve.project(points + flow, coordinates.along)
            step_back, lost = one.undone(points + flow, coordinates)
            hidden |= lost
            flow = flow + step_back
        flow = torch.where(flow.abs().amax(0) < NEGLIGIBLE, torch.zeros_like(flow), flow)
        return flow, hidden

    @property
    def drift(self) -> SliceDrift:
        """Where the slice lies against its neighbours, by the fold of which most was seen."""
        return max(self.fitted, key=lambda one: one.summed_precision).drift
