"""Vote for straight lines: the Hough transform of binary slices, batched, on a GPU if there is one.

A pixel (y, x) votes for every line ``x cos(theta) + y sin(theta) = rho``.
Conventions are those of ``cv2.HoughLines``: theta in [0, pi), rho signed,
both in the frame of the slice with its origin at the top-left pixel centre,
votes counted in the nearest bin of rho.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sff_napari.devices import choose_device
from sff_napari.errors import InputError

Backend = Literal["auto", "torch", "opencv"]

_CHUNK = {"cpu": 1 << 20, "other": 1 << 26}
"""Votes cast at once: what stays in a CPU's cache, and what keeps a GPU busy."""


@dataclass(frozen=True)
class HoughSpace:
    """Votes of every slice for every line.

    Parameters
    ----------
    votes : Tensor, (B, T, R) int32
        Number of mask pixels on each line.
    theta : Tensor, (T,)
        Angle of the lines' normal from the x axis, in radians.
    rho : Tensor, (R,)
        Signed distance of the lines from the origin, in pixels.
    """

    votes: Tensor
    theta: Tensor
    rho: Tensor


@dataclass(frozen=True)
class HoughLine:
    """One peak of the Hough transform.

    Parameters
    ----------
    rho : float
        Signed distance from the centre of the top-left pixel, in pixels.
    theta : float
        Angle of the normal from the x axis, in radians, in [0, pi).
    votes : int
        Number of mask pixels on the line.
    """

    rho: float
    theta: float
    votes: int


def hough_votes(
    mask: Tensor | NDArray[Any],
    *,
    rho: float = 1.0,
    theta: float | Tensor = math.pi / 180,
    device: str | torch.device | None = None,
) -> HoughSpace:
    """Return the Hough transform of masks.

    Parameters
    ----------
    mask : Tensor or ndarray, (B, Y, X) or (Y, X)
        Pixels that vote are non-zero.
    rho : float
        Width of a bin of rho, in pixels.
    theta : float or Tensor, (T,)
        Step between angles in radians, or the angles themselves.
    device : str or torch.device, optional
        Where to compute; where the mask is if not given.

    Returns
    -------
    HoughSpace
        With B = 1 for a single mask.

    Raises
    ------
    InputError
        If the mask has another number of dimensions, or a step is not positive.
    """
    stack = _as_stack(mask, device)
    _check_steps(rho, theta)
    count, height, width = stack.shape
    angles = (
        theta.to(stack.device, torch.float64)
        if isinstance(theta, Tensor)
        else torch.arange(max(1, round(math.pi / theta)), dtype=torch.float64, device=stack.device)
        * theta
    )
    half = math.ceil(math.hypot(height - 1, width - 1) / rho) + 1
    bins = 2 * half + 1
    # In single precision as OpenCV does: double would only move ties.
    cosine = (torch.cos(angles) / rho).to(torch.float32)
    sine = (torch.sin(angles) / rho).to(torch.float32)
    lines = len(angles)
    points = torch.nonzero(stack)
    votes = torch.zeros(count * lines * bins, dtype=torch.int32, device=stack.device)
    if len(points):
        if stack.device.type == "cpu":
            _vote_on_cpu(points, cosine, sine, votes.view(count, lines, bins), half)
        else:
            _vote_at_once(points, cosine, sine, votes, lines, bins, half)
    distances = torch.arange(-half, half + 1, dtype=torch.float64, device=stack.device) * rho
    return HoughSpace(votes.view(count, lines, bins), angles, distances)


def _vote_on_cpu(points: Tensor, cosine: Tensor, sine: Tensor, votes: Tensor, half: int) -> None:
    """Add votes slice by slice and angle by angle, in pieces that stay in the cache."""
    _, lines, bins = votes.shape
    per_slice = torch.bincount(points[:, 0], minlength=len(votes)).tolist()
    start = 0
    for index, number in enumerate(per_slice):
        if not number:
            continue
        y = points[start : start + number, 1].to(torch.float32)
        x = points[start : start + number, 2].to(torch.float32)
        start += number
        step = max(1, _CHUNK["cpu"] // number)
        for first in range(0, lines, step):
            c, s = cosine[first : first + step, None], sine[first : first + step, None]
            place = torch.addcmul(x * c, y, s).round_().to(torch.int32)
            place += (torch.arange(len(c), dtype=torch.int32) * bins + half)[:, None]
            found = torch.bincount(place.view(-1), minlength=len(c) * bins)
            votes[index, first : first + step] += found.view(len(c), bins).to(torch.int32)


def _vote_at_once(
    points: Tensor, cosine: Tensor, sine: Tensor, votes: Tensor, lines: int, bins: int, half: int
) -> None:
    """Add the votes of all slices together, some angles at a time."""
    slices = points[:, 0] * (lines * bins)
    y, x = points[:, 1].to(torch.float32), points[:, 2].to(torch.float32)
    step = max(1, _CHUNK["other"] // len(points))
    one = torch.ones((), dtype=torch.int32, device=votes.device)
    for first in range(0, lines, step):
        c, s = cosine[first : first + step, None], sine[first : first + step, None]
        place = torch.addcmul(x * c, y, s).round_().to(torch.int64)
        rows = torch.arange(first, first + len(c), device=votes.device)[:, None]
        place += rows * bins + (half + slices)
        flat = place.view(-1)
        votes.scatter_add_(0, flat, one.expand_as(flat))


def hough_lines(
    mask: Tensor | NDArray[Any],
    *,
    rho: float = 1.0,
    theta: float = math.pi / 180,
    threshold: int = 1,
    max_lines: int = 32,
    apart: tuple[float, float] = (0.0, 0.0),
    backend: Backend = "auto",
    device: str | torch.device = "auto",
) -> list[list[HoughLine]]:
    """Return the strongest straight lines in each mask.

    Parameters
    ----------
    mask : Tensor or ndarray, (B, Y, X) or (Y, X)
        Pixels that vote are non-zero.
    rho, theta : float
        Resolution in pixels and radians.
    threshold : int
        Lines have more votes than this.
    max_lines : int
        Most lines a slice.
    apart : (float, float)
        Of two peaks closer than this in rho (px) and theta (radians) only the
        stronger is kept.  With (0, 0) every local maximum is a line.
    backend : {"auto", "torch", "opencv"}
        ``"auto"`` takes OpenCV on a CPU and torch on a GPU.
    device : str or torch.device
        See `sff_napari.devices.choose_device`.

    Returns
    -------
    list of list of HoughLine
        One list a slice, most votes first.

    Raises
    ------
    InputError
        If an argument makes no sense.
    """
    if backend not in ("auto", "torch", "opencv"):
        raise InputError(f"There is no backend {backend!r}: use 'auto', 'torch' or 'opencv'.")
    _check_steps(rho, theta)
    place = choose_device(device)
    if backend == "opencv" or (backend == "auto" and place.type == "cpu"):
        found = _peaks_of_opencv(_as_stack(mask, "cpu"), rho, theta, threshold)
    else:
        space = hough_votes(mask, rho=rho, theta=theta, device=place)
        found = _peaks(space, threshold, max_lines if max(apart) <= 0 else 64 * max_lines)
    return [_apart(peaks, apart, max_lines) for peaks in found]


def _peaks_of_opencv(
    stack: Tensor, rho: float, theta: float, threshold: int
) -> list[NDArray[np.float64]]:
    """Return the local maxima OpenCV finds, (N, 3) with rho, theta and votes."""
    found = []
    for mask in stack.to(torch.uint8).numpy():
        lines = cv2.HoughLinesWithAccumulator(mask, rho, theta, max(1, threshold))
        empty = np.zeros((0, 3))
        found.append(empty if lines is None else np.asarray(lines, np.float64).reshape(-1, 3))
    return found


def _peaks(space: HoughSpace, threshold: int, most: int) -> list[NDArray[np.float64]]:
    """Return the local maxima of each slice, (N, 3) with rho, theta and votes, most votes first."""
    votes = torch.nn.functional.pad(space.votes, (1, 1, 1, 1))
    middle = votes[:, 1:-1, 1:-1]
    # Ties as in OpenCV: a plateau yields its first line only.
    best = (
        (middle > threshold)
        & (middle > votes[:, 1:-1, :-2])
        & (middle >= votes[:, 1:-1, 2:])
        & (middle > votes[:, :-2, 1:-1])
        & (middle >= votes[:, 2:, 1:-1])
    )
    where = torch.nonzero(best)
    strength = middle[best]
    found = []
    for index in range(len(space.votes)):
        of_slice = where[:, 0] == index
        order = torch.sort(strength[of_slice], descending=True, stable=True).indices[:most]
        rows = where[of_slice][order]
        columns = (
            space.rho[rows[:, 2]],
            space.theta[rows[:, 1]],
            strength[of_slice][order].to(torch.float64),
        )
        found.append(torch.stack(columns, dim=1).cpu().numpy())
    return found


def _apart(peaks: NDArray[np.float64], apart: tuple[float, float], most: int) -> list[HoughLine]:
    """Keep the strongest peaks apart; (rho, theta) and (-rho, theta +- pi) are one line."""
    kept: list[tuple[float, float, float]] = []
    for rho, theta, votes in peaks:
        if len(kept) == most:
            break
        if max(apart) > 0 and kept:
            others = np.asarray(kept)
            turn = np.abs(others[:, 1] - theta)
            wrapped = turn > math.pi / 2
            turn = np.where(wrapped, math.pi - turn, turn)
            shift = np.abs(np.where(wrapped, others[:, 0] + rho, others[:, 0] - rho))
            if bool(np.any((shift <= apart[0]) & (turn <= apart[1]))):
                continue
        kept.append((float(rho), float(theta), float(votes)))
    return [HoughLine(rho, theta, int(votes)) for rho, theta, votes in kept]


def _as_stack(mask: Tensor | NDArray[Any], device: str | torch.device | None) -> Tensor:
    tensor = mask if isinstance(mask, Tensor) else torch.from_numpy(np.ascontiguousarray(mask))
    if tensor.ndim == 2:
        tensor = tensor[None]
    if tensor.ndim != 3 or 0 in tensor.shape:
        raise InputError(
            f"A mask of shape {tuple(mask.shape)} cannot be searched for lines: "
            "give (Y, X), or (B, Y, X) for several slices."
        )
    if device is not None:
        tensor = tensor.to(device)
    return tensor if tensor.dtype == torch.bool else tensor != 0


def _check_steps(rho: float, theta: float | Tensor) -> None:
    if not rho > 0 or (not isinstance(theta, Tensor) and not 0 < theta <= math.pi):
        raise InputError(
            "The steps of rho (px) and theta (radians) must be larger than 0, theta at most pi."
        )
