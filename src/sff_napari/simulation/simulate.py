"""Fold a clean slice, with the exact way back (paper, Algorithm 1, made exact)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sff_napari.arrays import GreyScale, as_slice
from sff_napari.errors import FoldError
from sff_napari.folds import Curve, Fold, FoldLaw, fold_displacement, unfold_displacement
from sff_napari.folds.law import MAX_DECAY
from sff_napari.simulation.appearance import paint_black, paint_realistic
from sff_napari.simulation.plan import (
    FoldPlan,
    RealisticRanges,
    random_realistic,
    random_straight,
)
from sff_napari.warp import warp

Painter = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Simulation:
    """A clean slice after folding, with the truth.

    Parameters
    ----------
    damaged : ndarray, (Y, X)
        The folded slice, in the dtype and value range of the clean one.
    flow : ndarray, (2, Y, X) float32
        Sampling offset (dy, dx) in pixels: ``clean(x) = damaged(x + flow(x))``;
        NaN in the corrupted region.
    corrupted : ndarray, (Y, X) bool
        Pixels of the clean slice that have no source in the damaged one.
    folds : tuple of Fold
        The lines as they appear in the damaged slice.

    See Also
    --------
    sff_napari.simulate_fold : Makes one.

    Examples
    --------
    >>> import sff_napari as sff
    >>> from sff_napari.simulation import neuropil
    >>> clean = neuropil((1, 256, 256), seed=1)[0]
    >>> simulated = sff.simulate_fold(clean, sff.Fold([(0, 120), (255, 140)], 6), 20, 0.05)
    >>> bool((simulated.damaged == clean).all())
    False
    >>> simulated.fold.half_width
    6.0
    """

    damaged: NDArray[Any]
    flow: NDArray[np.float32]
    corrupted: NDArray[np.bool_]
    folds: tuple[Fold, ...]

    @property
    def fold(self) -> Fold:
        """The first fold line."""
        return self.folds[0]


def simulate_fold(
    image: Any,
    fold: Fold,
    hidden_half_width: float = 40.0,
    decay: float = 0.02,
    device: torch.device | str = "cpu",
) -> Simulation:
    """Fold a clean slice along a line, as the paper's Algorithm 1 does.

    Parameters
    ----------
    image : array_like, (Y, X)
        The clean slice.
    fold : Fold
        The dark line as it will appear; its half width is w1.
    hidden_half_width : float
        w2, px: tissue within this distance of the line is swallowed.
    decay : float
        alpha, 1/px: how much smaller the displacement gets a pixel farther away.
    device : torch.device or str
        Where to compute.

    Returns
    -------
    Simulation
        With one fold.

    Raises
    ------
    InputError
        If the slice or the fold cannot be used.
    FoldError
        If `hidden_half_width` is smaller than the fold's half width or `decay`
        lies outside [0, 0.9].

    See Also
    --------
    sff_napari.simulation.simulate_realistic : Folds as real ones look.
    sff_napari.restore : Undoes it.

    Examples
    --------
    >>> import sff_napari as sff
    >>> from sff_napari.simulation import neuropil
    >>> clean = neuropil((1, 256, 256), seed=1)[0]
    >>> fold = sff.Fold([(0, 120), (255, 140)], half_width=6)
    >>> simulated = sff.simulate_fold(clean, fold, hidden_half_width=20, decay=0.05)
    >>> simulated.damaged.shape, simulated.flow.shape
    ((256, 256), (2, 256, 256))
    """
    array = as_slice(image)
    fold.check_inside((array.shape[0], array.shape[1]))
    if not np.isfinite(hidden_half_width) or hidden_half_width < fold.widest:
        raise FoldError(
            f"The hidden half width is {hidden_half_width:g} px, but the dark line already reaches "
            f"{fold.widest:g} px: give a hidden half width at least as large."
        )
    if not 0 <= decay <= MAX_DECAY:
        raise FoldError(f"The decay is {decay:g} per px: it must lie between 0 and {MAX_DECAY:g}.")
    curve = Curve.of(fold)
    law = FoldLaw.uniform(curve, fold.half_width, hidden_half_width, decay)
    if fold.half_widths is not None:
        law = law.with_dark_line(curve.vertices_along, fold.half_widths, hidden_half_width)
    law = law.with_ends(curve, (array.shape[0], array.shape[1]))
    return simulate(array, [FoldPlan(fold, law)], device=device)


def simulate_straight(
    image: Any, rng: np.random.Generator, device: torch.device | str = "cpu"
) -> Simulation:
    """Fold a clean slice (Y, X) once with random parameters of the paper."""
    array = as_slice(image)
    return simulate(array, [random_straight((array.shape[0], array.shape[1]), rng)], device=device)


def simulate_realistic(
    image: Any,
    rng: np.random.Generator,
    count: int = 1,
    ranges: RealisticRanges | None = None,
    device: torch.device | str = "cpu",
) -> Simulation:
    """Fold a clean slice (Y, X) `count` times as real folds do, one after the other.

    See `random_realistic` for their geometry and `paint_realistic` for their look.
    """
    array = as_slice(image)
    shape = (array.shape[0], array.shape[1])
    plans = [random_realistic(shape, rng, ranges) for _ in range(count)]
    return simulate(array, plans, lambda im, a, w: paint_realistic(im, a, w, rng), device=device)


def simulate(
    image: NDArray[Any],
    plans: Sequence[FoldPlan],
    paint: Painter | None = None,
    device: torch.device | str = "cpu",
) -> Simulation:
    """Fold a slice along each plan in turn; later folds drag the lines of earlier ones along.

    Parameters
    ----------
    image : ndarray, (Y, X)
        The clean slice; see `as_slice`.
    plans : sequence of FoldPlan
        At least one; each in the frame of the slice that it folds.
    paint : callable, optional
        ``paint(image, distance, half_width)`` draws the dark line; black if not given.
    device : torch.device or str
        Where to compute.
    """
    grey = GreyScale.of(image)
    clean = torch.from_numpy(np.nan_to_num(grey.to_unit(image), nan=0.0)).to(device)
    height, width = clean.shape
    degraded = clean
    flow = torch.zeros((2, height, width), device=device)
    corrupted = torch.zeros((height, width), dtype=torch.bool, device=device)
    lines: list[Fold] = []
    for plan in plans:
        curve = Curve.of(plan.fold, device)
        law = plan.law.to(device, torch.float32)
        fold_coordinates = curve.on_grid((height, width))
        push = fold_displacement(law, fold_coordinates)
        degraded = warp(degraded[None, None], push[None], "bicubic", "reflection")[0, 0].clamp(0, 1)
        half_width = law.half_width(fold_coordinates.along)
        if paint is None:
            degraded = paint_black(
                degraded,
                law.is_dark(fold_coordinates.along, fold_coordinates.distance) & (half_width > 0),
            )
        else:
            degraded = paint(degraded, fold_coordinates.distance.abs(), half_width)
        # Way back: first undo the folds made earlier, then this one.
        if lines:
            at = _displaced_grid(flow)
            place = curve.project(at, fold_coordinates.along)
        else:
            place = fold_coordinates
        back = unfold_displacement(law, place)
        corrupted |= law.is_hidden(place.along, place.distance)
        flow = flow + back
        lines = [_carried_along(line, curve, law) for line in lines]
        lines.append(plan.fold)
    at = _displaced_grid(flow)
    outside = (at[0] < 0) | (at[0] > height - 1) | (at[1] < 0) | (at[1] > width - 1)
    corrupted |= outside
    flow[:, corrupted] = torch.nan
    return Simulation(
        grey.from_unit(degraded.cpu().numpy()),
        flow.cpu().numpy(),
        corrupted.cpu().numpy(),
        tuple(lines),
    )


def apply_flow(image: NDArray[Any], flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``image(x + flow(x))``, NaN where the flow is NaN; bicubic, float32.

    Parameters
    ----------
    image : ndarray, (Y, X)
        Any supported dtype.
    flow : ndarray, (2, Y, X)
        Sampling offset (dy, dx) in pixels.
    """
    known = np.isfinite(flow).all(axis=0)
    offsets = torch.from_numpy(np.where(known, flow, 0).astype(np.float32))
    tensor = torch.from_numpy(image.astype(np.float32))
    out = warp(tensor[None, None], offsets[None], "bicubic")[0, 0].numpy()
    return np.where(known, out, np.float32(np.nan))


def _displaced_grid(flow: Tensor) -> Tensor:
    height, width = flow.shape[-2:]
    y = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None] + flow[0]
    x = torch.arange(width, device=flow.device, dtype=flow.dtype)[None, :] + flow[1]
    return torch.stack([y, x])


def _carried_along(line: Fold, curve: Curve, law: FoldLaw) -> Fold:
    """Return an earlier fold line as it lies after the fold (curve, law) was made."""
    own = Curve.of(line, curve.device)
    count = max(len(line.vertices), int(own.length / 40) + 2)
    along = torch.linspace(0, own.length, count, device=curve.device)
    points, _ = own.at(along)
    place = curve.project(points)
    moved = points + unfold_displacement(law, place)
    if float((moved - points).abs().max()) < 0.25:
        return line
    keep = ~law.is_hidden(place.along, place.distance)
    if int(keep.sum()) < 2:
        return line
    half_widths = None
    if line.half_widths is not None:
        widths = np.interp(along.cpu().numpy(), own.vertices_along, line.half_widths)
        half_widths = [float(w) for w in widths[keep.cpu().numpy()]]
    vertices = [(float(y), float(x)) for y, x in moved[:, keep].T.cpu()]
    return line.with_changes(vertices=vertices, half_widths=half_widths)


__all__ = [
    "Painter",
    "Simulation",
    "apply_flow",
    "simulate",
    "simulate_fold",
    "simulate_realistic",
    "simulate_straight",
]
