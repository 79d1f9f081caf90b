"""Undoing what folds did to a slice, by their own law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sff_napari.folds import (
    Curve,
    Fold,
    FoldLaw,
    unfold_displacement,
)
from sff_napari.folds.curve import grid_points
from sff_napari.folds.law import interpolate
from sff_napari.restoration.lawfit import SideFit
from sff_napari.restoration.slice_drift import SliceDrift

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
    uniform : bool
        Whether the paper's simple law was found to be enough.
    score : float
        Mean correlation with the neighbours after unfolding, 0 if unknown.
    """

    fold: Fold
    curve: Curve
    law: FoldLaw
    fits: tuple[SideFit, SideFit]
    drift: SliceDrift
    uniform: bool
    score: float


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
    here = curve.on_grid(shape, origin, step)
    along = torch.tensor(curve.vertices_along, dtype=curve.dtype, device=curve.device)
    widths = along.new_tensor(fold.half_widths or [fold.half_width] * len(along))
    beside = here.distance.abs() - interpolate(along, widths, here.along)
    beyond = torch.maximum(-here.along, here.along - curve.length)
    return torch.maximum(beside, beyond)


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
            here = one.curve.on_grid(shape, origin, step)
            if index:
                here = one.curve.project(points + flow, here.along)
            hidden |= one.law.is_hidden(here.along, here.distance)
            flow = flow + unfold_displacement(one.law, here)
        flow = torch.where(flow.abs().amax(0) < NEGLIGIBLE, torch.zeros_like(flow), flow)
        return flow, hidden

    @property
    def drift(self) -> SliceDrift:
        """Where the slice lies against its neighbours, by the fold that was fitted best."""
        return max(self.fitted, key=lambda one: one.score).drift
