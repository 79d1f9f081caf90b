"""Compute what a fold does to the tissue beside its line: displacement and its exact inverse.

The law is written in the fold's own coordinates: arc length ``t`` along the
line and distance ``a`` from it, each side on its own (METHOD: Algorithm 1 of
the paper, made exact).  On side ``s`` a damaged pixel at distance ``a`` shows
the tissue that lies at ``r = a + u_s(t, a)`` in the clean slice, where

    u_s(t, a) = g_s(t) * phi(decay_s * (a - w1(t)) / g_s(t)),   a > w1(t)

``w1`` is the half width of the dark line, ``g = w2 - w1`` the width that is
hidden beyond it, and phi falls from 1 with slope -1: linearly to zero for
``tail = 0`` (the paper), like exp(-x) for ``tail = 1``, in between for values
in between.  Because decay < 1, ``r`` grows with ``a`` and the inverse exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from sff_napari.folds.curve import Curve, LineCoordinates

MAX_DECAY = 0.9
"""Largest decay per pixel for which the inverse is well conditioned."""


@dataclass(frozen=True)
class FoldLaw:
    """Displacement of one fold, on knots along its line.

    Parameters
    ----------
    knots : Tensor, (K,)
        Arc lengths in pixels, increasing.  Values are linear between knots and
        constant beyond the first and the last.
    dark : Tensor, (K,)
        Half width w1 of the dark line, in pixels.
    gap : Tensor, (2, K)
        Width g = w2 - w1 >= 0 hidden beyond the dark line, in pixels, on the
        side of negative (0) and positive (1) distance.
    decay : Tensor, (2, K)
        Loss of displacement per pixel of distance, in [0, 0.9], a side.
    tail : Tensor, (2,) or (2, K)
        Shape of the fall, from 0 (linear to zero) to 1 (exponential), a side.
    """

    knots: Tensor
    dark: Tensor
    gap: Tensor
    decay: Tensor
    tail: Tensor

    @classmethod
    def uniform(
        cls,
        curve: Curve,
        half_width: float,
        hidden_half_width: float,
        decay: float,
    ) -> FoldLaw:
        """Return the paper's law: the same everywhere along the line, linear, both sides equal.

        Parameters
        ----------
        curve : Curve
            The centre line.
        half_width : float
            w1, in pixels.
        hidden_half_width : float
            w2 >= w1, in pixels.
        decay : float
            alpha, per pixel.
        """
        knots = torch.tensor([0.0, curve.length], dtype=curve.dtype, device=curve.device)
        ones = torch.ones_like(knots)
        sides = torch.ones((2, 2), dtype=curve.dtype, device=curve.device)
        return cls(
            knots,
            ones * half_width,
            sides * (hidden_half_width - half_width),
            sides * decay,
            torch.zeros(2, dtype=curve.dtype, device=curve.device),
        )

    def with_dark_line(
        self,
        along: Sequence[float] | np.ndarray,
        half_widths: Sequence[float],
        hidden_half_width: float,
    ) -> FoldLaw:
        """Return the law with w1 varying along the line and w2 as given, both sides equal.

        Parameters
        ----------
        along : (N,)
            Arc lengths at which the half widths hold, px.
        half_widths : (N,)
            w1 there, px.
        hidden_half_width : float
            w2, px, at least the largest w1.
        """
        knots = self.knots.new_tensor([float(t) for t in along])
        dark = self.knots.new_tensor([float(w) for w in half_widths])
        gap = (hidden_half_width - dark).expand(2, -1)
        decay = self.decay[:, :1].expand(2, len(knots))
        return FoldLaw(knots, dark, gap, decay, self.tail)

    def with_ends(self, curve: Curve, shape: tuple[int, int]) -> FoldLaw:
        """Return the law tapered to nothing where the line ends inside a slice (Y, X).

        An end counts as inside when it lies farther from the border than the
        dark line is wide; there the displacement fades over the last
        150 px of the line (or a third of it) and the line stops.
        """
        inside = ends_inside(curve, self, shape)
        if not any(inside):
            return self
        count = max(16, int(curve.length / 8))
        inner = torch.linspace(
            0, curve.length, count, dtype=self.knots.dtype, device=self.knots.device
        )
        reach = min(150.0, curve.length / 3)
        taper = torch.ones_like(inner)
        for is_inside, from_end in zip(inside, (inner, curve.length - inner), strict=True):
            if is_inside:
                x = (from_end / reach).clamp(0, 1)
                taper = torch.minimum(taper, x * x * (3 - 2 * x))
        kept = self.knots.new_tensor([0.0 if is_inside else 1.0 for is_inside in inside])
        step = 1e-2

        def with_rims(values: Tensor, rims: Tensor) -> Tensor:
            return torch.cat(
                [values[..., :1] * rims[0], values, values[..., -1:] * rims[1]], dim=-1
            )

        dark = interpolate(self.knots, self.dark, inner)
        gap = torch.stack([interpolate(self.knots, side, inner) for side in self.gap]) * taper
        decay = torch.stack([interpolate(self.knots, side, inner) for side in self.decay])
        knots = torch.cat([inner[:1] - step, inner, inner[-1:] + step])
        rims = torch.ones_like(kept)
        return FoldLaw(
            knots, with_rims(dark, kept), with_rims(gap, kept), with_rims(decay, rims), self.tail
        )

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> FoldLaw:
        """Return the law on another device or in another dtype."""
        return FoldLaw(*(getattr(self, part.name).to(device, dtype) for part in fields(self)))

    def half_width(self, along: Tensor) -> Tensor:
        """Return the half width w1 of the dark line at arc lengths, in pixels."""
        return interpolate(self.knots, self.dark, along)

    def hidden_half_width(self, along: Tensor, side: Tensor) -> Tensor:
        """Return w2 at arc lengths on sides (bool, True for positive distance), in pixels."""
        places = _Places(self.knots, along)
        return places.read(self.dark) + places.read_side(self.gap, side)

    def _terms(self, along: Tensor, side: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        places = _Places(self.knots, along)
        dark = places.read(self.dark)
        gap = places.read_side(self.gap, side)
        decay = places.read_side(self.decay, side)
        if self.tail.ndim == 2:
            tail = places.read_side(self.tail, side)
        else:
            tail = torch.where(side, self.tail[1], self.tail[0]).expand_as(along)
        return dark, gap, decay, tail

    def displacement(self, along: Tensor, distance: Tensor) -> Tensor:
        """Return how far away the tissue seen at a damaged pixel comes from.

        Parameters
        ----------
        along, distance : Tensor, (...)
            Line coordinates of damaged pixels.

        Returns
        -------
        Tensor, (...)
            u >= 0 in pixels: the clean slice is read at ``distance + sign * u``.
            Inside the dark line the value at its edge.
        """
        dark, gap, decay, tail = self._terms(along, distance > 0)
        beyond = (distance.abs() - dark).clamp_min(0)
        return _fall(gap, decay, tail, beyond)

    def is_dark(self, along: Tensor, distance: Tensor) -> Tensor:
        """Tell which damaged pixels lie on the dark line."""
        return distance.abs() <= self.half_width(along)

    def is_hidden(self, along: Tensor, distance: Tensor) -> Tensor:
        """Tell which clean pixels have no source in the damaged slice."""
        return distance.abs() <= self.hidden_half_width(along, distance > 0)

    def shift(self, along: Tensor, distance: Tensor) -> Tensor:
        """Return how far towards the line a clean pixel is found in the damaged slice.

        The exact inverse of `displacement` along the normal: closed form where
        the law is linear, else Newton's method on a monotone function.

        Parameters
        ----------
        along, distance : Tensor, (...)
            Line coordinates of clean pixels.

        Returns
        -------
        Tensor, (...)
            r - a >= 0 in pixels; for hidden pixels the value at the edge of the
            hidden band, so that the field stays continuous there.
        """
        dark, gap, decay, tail = self._terms(along, distance > 0)
        # s = a - w1 solves s + fall(s) = r - w1 =: target.
        target = (distance.abs() - dark).clamp_min(0)
        target = torch.maximum(target, gap)
        linear = (target - gap) / (1 - decay)
        linear = torch.where(gap - decay * linear <= 0, target, linear)
        if bool((tail > 0).any()):
            s = linear
            # Convex and increasing, so Newton converges from anywhere; mostly in five rounds.
            # Far from the line numbers are coarser than what is enough near it.
            coarse = 4 * torch.finfo(s.dtype).eps * float(target.max()) if s.numel() else 0.0
            enough = max(1e-4 if s.dtype == torch.float32 else 1e-10, coarse)
            for _ in range(40):
                value = s + _fall(gap, decay, tail, s) - target
                slope = 1 - decay * _fall_slope(gap, decay, tail, s)
                closer = (s - value / slope).clamp_min(0)
                done = float((closer - s).abs().max()) < enough
                s = closer
                if done:
                    break
            linear = torch.where(tail > 0, s, linear)
        return target - linear


def _fall(gap: Tensor, decay: Tensor, tail: Tensor, beyond: Tensor) -> Tensor:
    """Return u at `beyond` = a - w1 >= 0."""
    x = decay * beyond / gap.clamp_min(1e-6)
    straight = (1 - x).clamp_min(0)
    if not bool((tail > 0).any()):
        return gap * straight
    # phi = straight for tail 0, exp(-x) for tail 1, and (1 - q x)^(1/q) with q = 1 - tail between.
    q = (1 - tail).clamp_min(1e-3)
    curved = torch.where(tail >= 0.999, torch.exp(-x), (1 - q * x).clamp_min(0).pow(1 / q))
    return gap * torch.where(tail > 0, curved, straight)


def _fall_slope(gap: Tensor, decay: Tensor, tail: Tensor, beyond: Tensor) -> Tensor:
    """Return -phi'(x), in [0, 1], at `beyond` = a - w1 >= 0."""
    x = decay * beyond / gap.clamp_min(1e-6)
    q = (1 - tail).clamp_min(1e-3)
    curved = torch.where(tail >= 0.999, torch.exp(-x), (1 - q * x).clamp_min(0).pow((1 - q) / q))
    return torch.where(tail > 0, curved, (x < 1).to(x.dtype))


def ends_inside(curve: Curve, law: FoldLaw, shape: tuple[int, int]) -> tuple[bool, bool]:
    """Tell which ends of a line lie inside a slice (Y, X), clear of its border."""
    ends, _ = curve.at(torch.tensor([0.0, curve.length], dtype=curve.dtype, device=curve.device))
    result = []
    for y, x, width in zip(
        ends[0].tolist(), ends[1].tolist(), law.dark[[0, -1]].tolist(), strict=True
    ):
        margin = min(y, x, shape[0] - 1 - y, shape[1] - 1 - x)
        result.append(margin > max(2 * width, 8.0))
    return result[0], result[1]


def interpolate(knots: Tensor, values: Tensor, at: Tensor) -> Tensor:
    """Return `values` (K,) on `knots` (K,) linearly interpolated at `at`, constant beyond."""
    return _Places(knots, at).read(values)


class _Places:
    """Places between knots, found once for everything that is read there.

    Parameters
    ----------
    knots : Tensor, (K,)
        Ascending.
    at : Tensor, (...)
        Arc lengths; those beyond the knots count as the last ones.
    """

    def __init__(self, knots: Tensor, at: Tensor) -> None:
        self._knots, self._at = knots, at
        self._found: tuple[Tensor, Tensor] | None = None

    def read(self, values: Tensor) -> Tensor:
        """Return `values` (K,) linearly interpolated."""
        if not values.requires_grad and bool((values == values[0]).all()):
            return values[0].expand_as(self._at)
        right, share = self._find()
        low = values[right - 1]
        return low + share * (values[right] - low)

    def read_side(self, values: Tensor, side: Tensor) -> Tensor:
        """Return `values` (2, K) interpolated on sides (bool, True for the second row)."""
        if not values.requires_grad and bool((values == values[:, :1]).all()):
            return torch.where(side, values[1, 0], values[0, 0])
        right, share = self._find()
        flat = values.reshape(-1)
        index = right + side * values.shape[1]
        low = flat[index - 1]
        return low + share * (flat[index] - low)

    def _find(self) -> tuple[Tensor, Tensor]:
        """Return the knot after each place, and the share of the way to it."""
        if self._found is None:
            knots = self._knots
            at = self._at.clamp(float(knots[0]), float(knots[-1]))
            right = torch.searchsorted(knots, at.contiguous(), right=True)
            right = right.clamp_(1, len(knots) - 1)
            low, high = knots[right - 1], knots[right]
            self._found = right, (at - low) / (high - low)
        return self._found


def fold_displacement(law: FoldLaw, at: LineCoordinates) -> Tensor:
    """Return the backward map of the fold: (dy, dx) from damaged pixels to clean ones.

    ``damaged(x) = clean(x + fold_displacement(x))``; shape (2, ...), in pixels.
    """
    u = law.displacement(at.along, at.distance)
    return torch.where(at.distance > 0, u, -u) * at.normal


def unfold_displacement(law: FoldLaw, at: LineCoordinates) -> Tensor:
    """Return the backward map of the unfolding: (dy, dx) from clean pixels to damaged ones.

    ``clean(x) = damaged(x + unfold_displacement(x))`` outside the hidden band;
    shape (2, ...), in pixels (METHOD section 2: ``flow = -s * (r - a) * n``).
    """
    shift = law.shift(at.along, at.distance)
    return torch.where(at.distance > 0, -shift, shift) * at.normal
