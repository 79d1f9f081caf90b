"""Measure along and across a fold line: position along it, signed distance from it, normals.

Everything runs on torch tensors, so that a whole slice can be mapped on a GPU.
Points are (y, x) in pixels.  A line is used beyond its ends as the straight
continuation of its end tangents, so that every point of a slice has a place
``(along, distance)`` in the line's own coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, make_smoothing_spline
from torch import Tensor

from sff_napari.folds.fold import Fold

_SAMPLE = 0.25
"""Arc length between the samples that stand for a curved line, in pixels; linear in between,
so that a bend of radius R is off by at most _SAMPLE^2 / (8 R)."""
_COARSE = 16
"""Grid step, in pixels, on which the nearest point of a curve is searched for exhaustively."""


@dataclass(frozen=True)
class LineCoordinates:
    """Places of points in the coordinates of a fold line.

    Parameters
    ----------
    along : Tensor, (...)
        Arc length of the nearest point of the line, in pixels; negative before
        its first vertex, above `Curve.length` after its last.
    distance : Tensor, (...)
        Signed distance from the line in pixels, positive on the side its normal
        points to.
    normal : Tensor, (2, ...)
        Unit normal (dy, dx) of the line at the nearest point.
    """

    along: Tensor
    distance: Tensor
    normal: Tensor


class Curve:
    """The centre line of a fold as a smooth curve.

    Parameters
    ----------
    vertices : ndarray, (N, 2)
        Points (y, x) in pixels; two for a straight line, more for a natural
        cubic spline through them (centripetal parameter).
    device : torch.device
        Where the curve's tensors live.
    dtype : torch.dtype
        float32, or float64 where exactness matters more than speed.
    """

    def __init__(
        self,
        vertices: NDArray[np.floating] | list[tuple[float, float]],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        points = np.asarray(vertices, dtype=np.float64)
        self.device = torch.device(device)
        self.dtype = dtype
        self.is_straight = len(points) == 2
        if self.is_straight:
            self.length = float(np.linalg.norm(points[1] - points[0]))
            tangent = (points[1] - points[0]) / self.length
            samples, tangents, bends = points, np.stack([tangent, tangent]), np.zeros(2)
            self.vertices_along = np.array([0.0, self.length])
            self._step = self.length
        else:
            samples, tangents, bends, self.length, self.vertices_along = _sample_spline(points)
            self._step = self.length / (len(samples) - 1)
        self._points = self._tensor(samples)
        self._tangents = self._tensor(tangents)
        self._bends = self._tensor(bends)
        table = torch.cat([self._points.T, self._tangents.T, self._bends[None]])
        self._table = table[:, None].contiguous()

    @classmethod
    def of(
        cls, fold: Fold, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Curve:
        """Return the centre line of `fold`."""
        return cls(np.asarray(fold.vertices, dtype=np.float64), device, dtype)

    def smoothed(self, wavelength: float = 300.0) -> Curve:
        """Return the line without bends shorter than a wavelength.

        A fold cannot bend the film more tightly than the film's stiffness lets
        it; a line measured to a pixel can, and a pixel of jitter puts centres of
        curvature into the slice, where no place has one nearest point.

        Parameters
        ----------
        wavelength : float
            Bends of this wavelength are halved, px.

        Returns
        -------
        Curve
            A natural cubic smoothing spline; the line itself if it is straight.
        """
        count = int(self.length / 10)
        if self.is_straight or count < 8:
            return self
        along = np.linspace(0, self.length, count)
        points, _ = self.at(self._tensor(along))
        # Sampled every h px, the spline damps a wave by 1 / (1 + lam h (2 pi / wavelength)^4).
        lam = (wavelength / (2 * np.pi)) ** 4 / (along[1] - along[0])
        kept = np.linspace(0, self.length, max(3, count // 5))
        rows = points.cpu().numpy().astype(np.float64)
        smooth = [make_smoothing_spline(along, row, lam=lam)(kept) for row in rows]
        return Curve(np.stack(smooth, axis=1), self.device, self.dtype)

    def _tensor(self, array: NDArray[np.floating]) -> Tensor:
        return torch.as_tensor(array, dtype=self.dtype, device=self.device)

    def at(self, along: Tensor) -> tuple[Tensor, Tensor]:
        """Return the points and unit tangents at arc lengths.

        Parameters
        ----------
        along : Tensor, (...)
            Arc lengths in pixels; outside [0, length] the end tangents go on.

        Returns
        -------
        points, tangents : Tensor, (2, ...)
            (y, x) in pixels, and unit vectors.
        """
        points, tangents, _ = self._frame(along)
        return points, tangents

    def _frame(self, along: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return points (2, ...), unit tangents (2, ...) and bends (...) at arc lengths."""
        inside = along.clamp(0.0, self.length)
        beyond = along - inside
        if self.is_straight:
            ones = [1] * along.ndim
            tangent = self._table[2:4, 0, 0].reshape(2, *ones)
            point = self._table[:2, 0, 0].reshape(2, *ones) + along * tangent
            return point, tangent.expand_as(point), torch.zeros_like(along)
        # One linear look-up of everything; the samples are dense enough for that.
        grid = torch.stack([inside.reshape(1, 1, -1) * (2 / self.length) - 1] * 2, dim=-1)
        grid[..., 1] = 0
        row = F.grid_sample(self._table[None], grid, "bilinear", "border", align_corners=True)
        row = row[0, :, 0].reshape(5, *along.shape)
        tangent = row[2:4]
        point = row[:2] + beyond * tangent
        return point, tangent, torch.where(beyond == 0, row[4], torch.zeros_like(beyond))

    def place(self, along: Tensor, distance: Tensor) -> Tensor:
        """Return the points (2, ...) at arc length `along` and signed distance `distance`."""
        point, tangent = self.at(along)
        return point + distance * _normal_of(tangent)

    def project(self, points: Tensor, guess: Tensor | None = None) -> LineCoordinates:
        """Return the line coordinates of points.

        Parameters
        ----------
        points : Tensor, (2, ...)
            (y, x) in pixels.
        guess : Tensor, (...), optional
            Arc lengths near the answer; without it every point is compared with
            the whole curve, which is slow for many points.
        """
        if self.is_straight:
            tangent = self._tangents[0]
            offset = points - self._points[0].reshape(2, *[1] * (points.ndim - 1))
            along = offset[0] * tangent[0] + offset[1] * tangent[1]
            distance = offset[0] * tangent[1] - offset[1] * tangent[0]
            normal = _normal_of(tangent).reshape(2, *[1] * (points.ndim - 1))
            return LineCoordinates(along, distance, normal.expand_as(points))
        along = self._nearest_sample(points) if guess is None else guess
        return self._converged(points, along)

    def _converged(self, points: Tensor, along: Tensor) -> LineCoordinates:
        """Return the line coordinates of points from a good guess, by Newton's method."""
        enough = 2e-3 if self.dtype == torch.float32 else 1e-8
        for _ in range(6):
            foot, tangent, bend = self._frame(along)
            offset = points - foot
            ahead = offset[0] * tangent[0] + offset[1] * tangent[1]
            across = offset[0] * tangent[1] - offset[1] * tangent[0]
            # Newton's step for "the offset is perpendicular to the tangent"; the clamp
            # keeps it sane near the centre of curvature, where no foot is unique.
            step = (ahead / (1 - bend * across).clamp(0.25, 4.0)).clamp(-64, 64)
            if float(step.abs().max()) < enough:
                return LineCoordinates(along, across, _normal_of(tangent))
            along = along + step
        foot, tangent, _ = self._frame(along)
        offset = points - foot
        distance = offset[0] * tangent[1] - offset[1] * tangent[0]
        return LineCoordinates(along, distance, _normal_of(tangent))

    def on_grid(
        self, shape: tuple[int, int], origin: tuple[float, float] = (0.0, 0.0), step: float = 1.0
    ) -> LineCoordinates:
        """Return the line coordinates of every pixel of a grid.

        Parameters
        ----------
        shape : (height, width)
            Number of grid points.
        origin : (y, x)
            Pixel coordinates of the first grid point.
        step : float
            Distance between grid points in pixels.

        Returns
        -------
        LineCoordinates
            ``along`` and ``distance`` of shape (height, width).
        """
        points = grid_points(shape, origin, step, self.device, self.dtype)
        if self.is_straight:
            return self.project(points)
        height, width = shape
        centre = (_COARSE - 1) / 2
        coarse = grid_points(
            (-(-height // _COARSE), -(-width // _COARSE)),
            (origin[0] + centre * step, origin[1] + centre * step),
            step * _COARSE,
            self.device,
            self.dtype,
        )
        guess = self._converged(coarse, self._nearest_sample(coarse)).along
        if self._is_smooth(guess, step):
            # Between exact values on the coarse grid one round is mostly enough.
            size = (guess.shape[0] * _COARSE, guess.shape[1] * _COARSE)
            fine = F.interpolate(guess[None, None], size=size, mode="bilinear", align_corners=False)
            return self._converged(points, fine[0, 0, :height, :width])
        # Near a centre of curvature the nearest point jumps: no interpolation there.
        guess = guess.repeat_interleave(_COARSE, 0).repeat_interleave(_COARSE, 1)
        return self._converged(points, guess[:height, :width])

    def _is_smooth(self, along: Tensor, step: float) -> bool:
        """Tell whether arc lengths on the coarse grid change hardly faster than space does."""
        jumps = [along.diff(dim=axis).abs().max() for axis in (0, 1) if along.shape[axis] > 1]
        return all(float(jump) < 2 * _COARSE * step for jump in jumps)

    def _nearest_sample(self, points: Tensor) -> Tensor:
        """Return the arc length of the nearest sample, the straight continuations included."""
        stride = max(1, round(8 / self._step))
        index = torch.arange(0, len(self._points), stride, device=self.device)
        candidates = self._points[index]
        flat = points.reshape(2, -1).T
        nearest = torch.empty(len(flat), dtype=torch.long, device=self.device)
        chunk = max(1, 8_000_000 // len(candidates))
        for begin in range(0, len(flat), chunk):
            part = flat[begin : begin + chunk]
            nearest[begin : begin + chunk] = torch.cdist(part, candidates).argmin(dim=1)
        along = (index[nearest] * self._step).reshape(points.shape[1:]).to(self.dtype)
        # A point past an end belongs to the straight continuation.
        for end, tangent, sign, length in (
            (self._points[0], self._tangents[0], -1.0, 0.0),
            (self._points[-1], self._tangents[-1], 1.0, self.length),
        ):
            beyond = sign * ((flat - end) @ tangent).reshape(points.shape[1:])
            at_end = (along - length).abs() <= stride * self._step * 1.5
            along = torch.where(at_end & (beyond > 0), length + sign * beyond, along)
        return along

    @cached_property
    def largest_bend(self) -> float:
        """Largest curvature of the line, in 1/px."""
        return float(self._bends.abs().max())


def grid_points(
    shape: tuple[int, int],
    origin: tuple[float, float] = (0.0, 0.0),
    step: float = 1.0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the (y, x) coordinates of a regular grid, shape (2, height, width)."""
    y = origin[0] + step * torch.arange(shape[0], device=device, dtype=dtype)
    x = origin[1] + step * torch.arange(shape[1], device=device, dtype=dtype)
    return torch.stack(torch.meshgrid(y, x, indexing="ij"))


def _normal_of(tangent: Tensor) -> Tensor:
    """Return tangents (2, ...) turned by 90 degrees: the side of positive distance."""
    return torch.stack([tangent[1], -tangent[0]])


def _sample_spline(
    points: NDArray[np.float64],
) -> tuple[
    NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float, NDArray[np.float64]
]:
    """Return samples, tangents, curvatures, length and the vertices' arc lengths."""
    chords = np.linalg.norm(np.diff(points, axis=0), axis=1)
    # Centripetal parameter: no loops or overshoot where vertices are unevenly spaced.
    parameter = np.concatenate([[0.0], np.cumsum(np.sqrt(chords))])
    spline = CubicSpline(parameter, points, bc_type="natural")
    fine = np.unique(
        np.concatenate(
            [np.linspace(parameter[0], parameter[-1], int(8 * chords.sum()) + 65), parameter]
        )
    )
    speed = np.linalg.norm(spline(fine, 1), axis=1)
    arc = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * np.diff(fine))])
    length = float(arc[-1])
    count = max(3, int(np.ceil(length / _SAMPLE)) + 1)
    at = np.interp(np.linspace(0, length, count), arc, fine)
    first, second = spline(at, 1), spline(at, 2)
    speed = np.linalg.norm(first, axis=1, keepdims=True)
    tangents = first / speed
    # With normal (ty', -tx') as in `_normal_of`, positive bend curves towards positive distance.
    bends = (second[:, 0] * first[:, 1] - second[:, 1] * first[:, 0]) / speed[:, 0] ** 3
    return spline(at), tangents, bends, length, np.interp(parameter, fine, arc)
