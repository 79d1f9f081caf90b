"""Lay a line and the band of pixels along it out straight."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""A line as points (N, 2) with (y, x) in pixels, evenly spaced."""


def lengths_along(points: Points) -> NDArray[np.float64]:
    """Return the arc length at each point, from 0."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])


def resampled(points: Points, step: float) -> Points:
    """Return the line with points about `step` px apart, its ends kept."""
    along = lengths_along(points)
    count = max(2, round(along[-1] / step) + 1)
    at = np.linspace(0, along[-1], count)
    return np.stack([np.interp(at, along, points[:, i]) for i in range(2)], axis=1)


def normals_of(points: Points) -> Points:
    """Return unit normals (N, 2): the tangent (ty, tx) turned to (tx, -ty)."""
    tangent = np.gradient(points, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    return np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)


def extended(points: Points, before: float, after: float, step: float, reach: int = 12) -> Points:
    """Return the line continued straight at its ends by `before` and `after` px.

    The direction is taken over the last `reach` points.
    """
    parts = [points]
    reach = min(reach, len(points) - 1)
    for distance, end, inner, first in (
        (before, points[0], points[reach], True),
        (after, points[-1], points[-1 - reach], False),
    ):
        count = int(distance / step)
        if count <= 0:
            continue
        way = (end - inner) / max(float(np.linalg.norm(end - inner)), 1e-9)
        new = end + way * step * np.arange(1, count + 1)[:, None]
        parts = [new[::-1], *parts] if first else [*parts, new]
    return np.concatenate(parts)


def straighten(
    image: NDArray[Any], points: Points, offsets: NDArray[np.float64], outside: float = 0.0
) -> NDArray[np.float32]:
    """Return the pixels beside a line, (N, K): at each point, at each offset along its normal.

    Parameters
    ----------
    image : ndarray, (Y, X)
        uint8, uint16 or float32.
    points : ndarray, (N, 2)
        The line, (y, x) in pixels.
    offsets : ndarray, (K,)
        Signed distances from the line in pixels.
    outside : float
        Value beyond the border of the image.
    """
    normals = normals_of(points)
    y = (points[:, 0, None] + normals[:, 0, None] * offsets).astype(np.float32)
    x = (points[:, 1, None] + normals[:, 1, None] * offsets).astype(np.float32)
    # remap cannot address images of 32768 px or more: work on the part that is needed.
    top, left = (max(0, int(np.floor(v.min())) - 2) for v in (y, x))
    bottom, right = (int(np.ceil(v.max())) + 3 for v in (y, x))
    part = image[top:bottom, left:right]
    if 0 in part.shape:
        return np.full(y.shape, outside, np.float32)
    found = cv2.remap(
        part,
        x - left,
        y - top,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=outside,
    )
    return np.asarray(found, np.float32)


def inside_share(
    shape: tuple[int, int], points: Points, offsets: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return which samples of `straighten` lie inside an image (Y, X), shape (N, K)."""
    normals = normals_of(points)
    y = points[:, 0, None] + normals[:, 0, None] * offsets
    x = points[:, 1, None] + normals[:, 1, None] * offsets
    return np.asarray((y >= -0.5) & (y <= shape[0] - 0.5) & (x >= -0.5) & (x <= shape[1] - 0.5))


def smooth(values: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Return values (N,) or (N, K) after a Gaussian along the first axis, in samples.

    The ends keep their slope: values are reflected through the end point.
    """
    if sigma <= 0 or len(values) < 3:
        return values
    width = min(int(4 * sigma + 0.5), len(values) - 1)
    kernel = np.exp(-0.5 * (np.arange(-width, width + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    columns = values[:, None] if values.ndim == 1 else values
    head = 2 * columns[0] - columns[width:0:-1]
    tail = 2 * columns[-1] - columns[-2 : -width - 2 : -1]
    padded = np.concatenate([head, columns, tail])
    out = np.stack(
        [np.convolve(padded[:, i], kernel, mode="valid") for i in range(padded.shape[1])], axis=1
    )
    return out[:, 0] if values.ndim == 1 else out


def best_path(reward: NDArray[np.float32], most: int, penalty: float) -> NDArray[np.int64]:
    """Return the column (N,) of the best path down an array (N, K) of rewards.

    Dynamic programming: the path moves at most `most` columns a row, and a move
    of m columns costs ``penalty * m**2``.
    """
    count, width = reward.shape
    moves = np.arange(-most, most + 1)
    costs = (penalty * moves.astype(np.float32) ** 2)[:, None]
    total = reward[0].astype(np.float32)
    came = np.empty((count, width), np.int8)
    framed = np.full(width + 2 * most, -np.inf, np.float32)
    shifted = np.lib.stride_tricks.sliding_window_view(framed, width)
    columns = np.arange(width)
    for row in range(1, count):
        framed[most : most + width] = total
        options = shifted - costs
        choice = options.argmax(axis=0)
        came[row] = choice
        total = options[choice, columns] + reward[row]
    path = np.empty(count, np.int64)
    path[-1] = int(total.argmax())
    for row in range(count - 1, 0, -1):
        path[row - 1] = path[row] + moves[came[row, path[row]]]
    return path
