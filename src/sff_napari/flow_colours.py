"""Show a flow field in colours: hue is direction, saturation is length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def wheel(angle: NDArray[np.floating], strength: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return RGB (..., 3) in [0, 1]: hue from the angle in radians, paler when weak."""
    hue = (angle / (2 * np.pi)) % 1.0
    ramp = np.stack([np.abs((hue * 6 + shift) % 6 - 3) - 1 for shift in (0, 4, 2)], axis=-1)
    pure = np.clip(ramp, 0, 1)
    share = np.clip(strength, 0, 1)[..., None]
    return np.asarray(1 - share * (1 - pure), dtype=np.float32)


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
