"""Pictures of a flow field: arrows on a grid, a colour-wheel image and its legend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sff_napari.napari_plugin.controller.result_store import ResultStore
    from sff_napari.napari_plugin.layers.image_source import ImageSource

ARROWS = 36
"""Arrows along the longer side of a slice."""
SMALL = 0.5
"""Displacements below this many pixels are not shown."""


def wheel(angle: NDArray[np.floating], strength: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return RGB (..., 3) in [0, 1]: hue from the angle in radians, paler when weak."""
    hue = (angle / (2 * np.pi)) % 1.0
    ramp = np.stack([np.abs((hue * 6 + shift) % 6 - 3) - 1 for shift in (0, 4, 2)], axis=-1)
    pure = np.clip(ramp, 0, 1)
    share = np.clip(strength, 0, 1)[..., None]
    return np.asarray(1 - share * (1 - pure), dtype=np.float32)


def arrows(
    store: ResultStore, source: ImageSource
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return vectors (N, 2, D) and their colours (N, 4) for all slices that have a flow.

    An arrow starts at a pixel of the restored slice and points to the place in
    the damaged slice from which it is read; lengths are in pixels.
    """
    step = max(4, max(source.plane) // ARROWS)
    vectors, colours = [], []
    for result in store.all():
        if result.state == "rejected":
            continue
        flow = store.array(result.index, "flow")
        if flow is None:
            continue
        thin = np.asarray(flow[:, step // 2 :: step, step // 2 :: step], dtype=np.float32)
        length = np.hypot(thin[0], thin[1])
        rows, columns = np.nonzero(np.isfinite(length) & (length >= SMALL))
        if not len(rows):
            continue
        part = np.zeros((len(rows), 2, source.ndim), dtype=np.float32)
        part[:, 0, :-2] = np.asarray(result.index, dtype=np.float32)
        part[:, 0, -2] = rows * step + step // 2
        part[:, 0, -1] = columns * step + step // 2
        part[:, 1, -2] = thin[0, rows, columns]
        part[:, 1, -1] = thin[1, rows, columns]
        angle = np.arctan2(part[:, 1, -2], part[:, 1, -1])
        rgb = wheel(angle, np.ones_like(angle))
        vectors.append(part)
        colours.append(np.concatenate([rgb, np.ones((len(rgb), 1), np.float32)], axis=1))
    if not vectors:
        return np.empty((0, 2, source.ndim), np.float32), np.empty((0, 4), np.float32)
    return np.concatenate(vectors), np.concatenate(colours)


def colours_of(flow: NDArray[np.floating], full: float | None = None) -> NDArray[np.uint8]:
    """Return a flow (2, Y, X) as RGBA (Y, X, 4): hue is direction, saturation is length.

    Transparent where there is no source; `full` is the length in pixels of a
    saturated colour, by default the largest in the flow.
    """
    known = np.isfinite(flow).all(axis=0)
    dy, dx = np.nan_to_num(flow[0]), np.nan_to_num(flow[1])
    length = np.hypot(dy, dx)
    top = full or max(float(length.max()), 1e-6)
    rgba = np.empty((*length.shape, 4), dtype=np.uint8)
    rgba[..., :3] = np.rint(wheel(np.arctan2(dy, dx), length / top) * 255)
    rgba[..., 3] = np.where(known, 255, 0)
    return rgba


def legend(size: int = 72) -> NDArray[np.uint8]:
    """Return the colour wheel as RGBA (size, size, 4); right is +x, down is +y."""
    half = (size - 1) / 2
    y, x = (np.mgrid[0:size, 0:size] - half) / half
    radius = np.hypot(y, x)
    rgba = np.empty((size, size, 4), dtype=np.uint8)
    rgba[..., :3] = np.rint(wheel(np.arctan2(y, x), radius) * 255)
    rgba[..., 3] = np.where(radius <= 1, 255, 0)
    return rgba
