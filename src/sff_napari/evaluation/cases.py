"""Make the folds that methods are judged on: clean slices, folded, and what is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from sff_napari.arrays import GreyScale, as_slice
from sff_napari.errors import InputError
from sff_napari.evaluation.injected import checked_drift, moved, random_drift, shifted
from sff_napari.folds import Curve, Fold
from sff_napari.simulation import (
    RealisticRanges,
    Simulation,
    simulate_realistic,
    simulate_straight,
)

Kind = Literal["straight", "realistic"]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Perturbation:
    """What is wrong with what a method is given; nothing by default.

    Parameters
    ----------
    line_offset : float
        The line lies this many px off the true one.
    width_factor : float
        The line is this much wider than the true one.
    brightness : float
        The neighbours' grey values are this many times the true ones, clipped
        to the range of integer data.
    blur : float
        Standard deviation, in px, of a Gaussian the neighbours are blurred with.
    shift : (dy, dx)
        The previous slice is moved by this many px, the following one by as many the
        other way.
    """

    line_offset: float = 0.0
    width_factor: float = 1.0
    brightness: float = 1.0
    blur: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        values = (self.line_offset, self.width_factor, self.brightness, self.blur, *self.shift)
        if not all(np.isfinite(values)):
            raise InputError("A perturbation must be made of finite numbers.")
        if self.width_factor <= 0 or self.brightness <= 0:
            raise InputError("Width and brightness can only be changed by a factor above 0.")
        if self.blur < 0:
            raise InputError(
                f"The neighbours cannot be blurred by {self.blur:g} px: use 0 or more."
            )

    @property
    def label(self) -> str:
        """What it is, in words."""
        parts = []
        if self.line_offset:
            parts.append(f"line {self.line_offset:g} px off")
        if self.width_factor != 1:
            parts.append(_more(self.width_factor, "wider", "narrower"))
        if self.brightness != 1:
            parts.append("neighbours " + _more(self.brightness, "brighter", "darker"))
        if self.blur:
            parts.append(f"neighbours blurred by {self.blur:g} px")
        if any(self.shift):
            parts.append("neighbours ±({:g}, {:g}) px off".format(*self.shift))
        return ", ".join(parts) or "nothing wrong"

    def drawn(self, fold: Fold) -> Fold:
        """Return a fold as a hurried person draws it: off the line, too wide or too narrow."""
        if self.line_offset == 0 and self.width_factor == 1:
            return fold
        curve = Curve.of(fold)
        along = [float(t) for t in curve.vertices_along]
        moved = curve.place(torch.tensor(along), torch.tensor(float(self.line_offset))).T
        widths = fold.half_widths
        return fold.with_changes(
            vertices=[(float(y), float(x)) for y, x in moved],
            half_width=fold.half_width * self.width_factor,
            half_widths=None if widths is None else [w * self.width_factor for w in widths],
            source="drawn",
        )

    def shown(self, neighbour: NDArray[Any], sign: int) -> NDArray[Any]:
        """Return a neighbour (Y, X), the previous (1) or the following (-1), in its dtype.

        As another exposure, focus or alignment shows it.
        """
        neighbour = shifted(neighbour, (sign * self.shift[0], sign * self.shift[1]))
        if self.brightness == 1 and self.blur == 0:
            return neighbour
        grey = GreyScale.of(neighbour)
        values = neighbour.astype(np.float64)
        if self.blur:
            values = ndimage.gaussian_filter(values, self.blur)
        values *= self.brightness
        if neighbour.dtype.kind in "ui":
            values = np.clip(np.rint(values), grey.low, grey.high)
        return values.astype(neighbour.dtype)


def _more(factor: float, more: str, less: str) -> str:
    return f"{abs(factor - 1) * 100:.0f} % {more if factor > 1 else less}"


@dataclass(frozen=True)
class Case:
    """One simulated fold with everything a method may use, and the truth.

    Parameters
    ----------
    previous, clean, following : ndarray, (Y, X)
        Three consecutive slices, the neighbours as the methods are given them.
    simulation : Simulation
        The middle one, folded.
    folds : tuple of Fold
        The lines the methods are given.
    z : int
        Slice that was folded.
    """

    previous: NDArray[Any]
    clean: NDArray[Any]
    following: NDArray[Any]
    simulation: Simulation
    folds: tuple[Fold, ...]
    z: int = 0

    def with_perturbation(self, perturbation: Perturbation) -> Case:
        """Return the same fold with something wrong about what the methods are given."""
        return Case(
            perturbation.shown(self.previous, 1),
            self.clean,
            perturbation.shown(self.following, -1),
            self.simulation,
            tuple(perturbation.drawn(fold) for fold in self.folds),
            self.z,
        )


def make_case(
    stack: Any,
    z: int,
    kind: str,
    seed: int,
    number: int,
    ranges: RealisticRanges | None = None,
    inject_drift: float = 0.0,
) -> Case:
    """Return the fold with a number, simulated on slice `z`.

    Parameters
    ----------
    stack : Stack or array_like, (Z, Y, X)
        Clean slices.
    z : int
        The slice to fold; it has both neighbours.
    kind : {"straight", "realistic"}
        Of the fold.
    seed, number : int
        The fold depends on these, `kind` and the size of the slice alone.
    ranges : RealisticRanges, optional
        What realistic folds are drawn from.
    inject_drift : float
        Root mean square, px, of a random drift the slice is moved by before it is
        folded; the fold is the same with any.  See `random_drift`.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind), number])
    previous, clean, following = (
        as_slice(np.asarray(stack[i]), f"slice {i}") for i in (z - 1, z, z + 1)
    )
    if inject_drift:
        own = np.random.default_rng([seed, len(KINDS), number])
        shape = (clean.shape[0], clean.shape[1])
        clean = moved(clean, random_drift(shape, inject_drift, own))
    if kind == "straight":
        simulation = simulate_straight(clean, rng)
    else:
        simulation = simulate_realistic(clean, rng, ranges=ranges)
    return Case(previous, clean, following, simulation, simulation.folds, z)


@dataclass(frozen=True)
class Trials:
    """Which folds methods are tried on, and with what.

    Parameters
    ----------
    slices : sequence of int, optional
        Slices to fold; each needs both neighbours in the stack, and those that
        lack one are left out.  All slices if not given.
    folds : int
        How many folds to simulate, in turn on the slices.
    kind : {"straight", "realistic"}
        Folds of the paper (section 3.2), or ones like real folds.
    seed : int
        The same seed gives the same folds.
    ranges : RealisticRanges, optional
        What realistic folds are drawn from.
    inject_drift : float
        Root mean square, px, of a known drift the slices are moved by before they
        are folded, see `random_drift`.  What was moved counts as the true slice.
    given : Perturbation
        What is wrong with what the methods are given.
    weights : path, optional
        Folder of weights for the networks; the bundled ones if not given.
    device : str
        Where to compute.

    Raises
    ------
    InputError
        If a choice is unknown or makes no sense.
    """

    slices: Sequence[int] | None = None
    folds: int = 30
    kind: Kind = "straight"
    seed: int = 0
    ranges: RealisticRanges | None = None
    inject_drift: float = 0.0
    given: Perturbation = Perturbation()
    weights: str | Path | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        checked_kind(self.kind, self.ranges)
        checked_drift(self.inject_drift)
        if self.folds < 1:
            raise InputError(f"{self.folds} folds cannot be evaluated: use at least one.")

    def usable(self, stack: Any) -> list[int]:
        """Return the slices of a stack that can be folded."""
        return with_both_neighbours(self.slices, len(stack))

    def case(self, stack: Any, number: int) -> Case:
        """Return the fold with a number, and what the methods are given."""
        usable = self.usable(stack)
        z = usable[number % len(usable)]
        made = make_case(stack, z, self.kind, self.seed, number, self.ranges, self.inject_drift)
        return made.with_perturbation(self.given)

    @property
    def title(self) -> str:
        """What is special about them, in words; empty if nothing is."""
        parts = []
        if self.inject_drift:
            parts.append(f"drift of {self.inject_drift:g} px rms injected")
        if self.given != Perturbation():
            parts.append(self.given.label)
        return "; ".join(parts)


def checked_kind(kind: str, ranges: RealisticRanges | None = None) -> str:
    """Return a kind of fold that exists and can be drawn from the ranges.

    Raises
    ------
    InputError
        If it is none of `KINDS`, or there are ranges and the folds are straight.
    """
    if kind not in KINDS:
        raise InputError(f"There is no kind of fold called {kind!r}: use straight or realistic.")
    if ranges is not None and kind == "straight":
        raise InputError("Ranges are those of realistic folds: use them with --kind realistic.")
    return kind


def with_both_neighbours(slices: Sequence[int] | None, depth: int) -> list[int]:
    """Return the slices that have two neighbours in a stack of `depth` slices, all if None.

    Raises
    ------
    InputError
        If a slice does not exist or none has two neighbours.
    """
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
