"""Paint how a real fold looks: dark but not black, with debris and weak contrast beside it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


def paint_black(image: Tensor, dark: Tensor) -> Tensor:
    """Return `image` (Y, X) with the dark line at zero, as the paper simulates it."""
    return torch.where(dark, torch.zeros_like(image), image)


def paint_realistic(
    image: Tensor,
    distance: Tensor,
    half_width: Tensor,
    rng: np.random.Generator,
) -> Tensor:
    """Return `image` with a fold painted as real ones look.

    Parameters
    ----------
    image : Tensor, (Y, X)
        The folded slice before the line is drawn, in [0, 1].
    distance, half_width : Tensor, (Y, X)
        Unsigned distance from the line and w1 at the nearest point of it, px.
        A half width of zero or less means that no line is there.
    rng : Generator
        Source of randomness.

    Returns
    -------
    Tensor, (Y, X)
        With lower contrast beside the line and in square blocks on it, a dark
        line with soft edges and grain, and debris.
    """
    present = half_width > 0
    beyond = (distance - half_width).clamp_min(0)
    image = _weaken_beside(image, beyond, present, rng)
    image = _weaken_blocks(image, beyond, present, rng)
    level = rng.uniform(0.02, 0.14)
    grain = _smooth_noise(image.shape, 4.0, rng, image) * rng.uniform(0.005, 0.025)
    soft = rng.uniform(0.8, 1.6)
    cover = torch.sigmoid((half_width - distance) / (0.5 * soft)) * present
    image = image + cover * ((level + grain).clamp(0, 1) - image)
    return _scatter_debris(image, distance, half_width, present, rng).clamp(0, 1)


def _weaken_beside(
    image: Tensor, beyond: Tensor, present: Tensor, rng: np.random.Generator
) -> Tensor:
    loss = rng.uniform(0.1, 0.45) * torch.exp(-beyond / rng.uniform(15, 60)) * present
    target = image.mean() + rng.uniform(-0.05, 0.05)
    return image + loss * (target - image)


def _weaken_blocks(
    image: Tensor, beyond: Tensor, present: Tensor, rng: np.random.Generator
) -> Tensor:
    """Lower the contrast in some of the square blocks the line passes through."""
    height, width = image.shape
    side = int(rng.integers(64, 161))
    top, left = (int(rng.integers(0, side)) for _ in range(2))
    rows, columns = -(-(height + top) // side), -(-(width + left) // side)
    near = F.pad(((beyond < side / 3) & present).float(), (left, side, top, side))
    near = F.max_pool2d(near[None, None], side, stride=side)[0, 0, :rows, :columns]
    factors = torch.as_tensor(rng.uniform(0.45, 0.95, size=(rows, columns)), dtype=image.dtype)
    shifts = torch.as_tensor(rng.normal(0, 0.02, size=(rows, columns)), dtype=image.dtype)
    hit = torch.as_tensor(rng.uniform(size=(rows, columns)) < 0.6)
    weak = hit.to(image.device) & (near > 0)

    def spread(values: Tensor) -> Tensor:
        full = values.to(image.device).repeat_interleave(side, 0).repeat_interleave(side, 1)
        return full[top : top + height, left : left + width]

    factor = spread(torch.where(weak.cpu(), factors, torch.ones_like(factors)))
    shift = spread(torch.where(weak.cpu(), shifts, torch.zeros_like(shifts)))
    mean = image.mean()
    return mean + factor * (image - mean) + shift


def _scatter_debris(
    image: Tensor,
    distance: Tensor,
    half_width: Tensor,
    present: Tensor,
    rng: np.random.Generator,
) -> Tensor:
    """Add a few small dark or bright blobs on and next to the line."""
    count = int(rng.poisson(6))
    candidates = torch.nonzero((distance < half_width + 12) & present)
    if count == 0 or len(candidates) == 0:
        return image
    image = image.clone()
    for _ in range(count):
        y, x = (int(v) for v in candidates[int(rng.integers(len(candidates)))])
        radius = float(rng.uniform(1.5, 7))
        reach = int(3 * radius) + 1
        rows = slice(max(0, y - reach), min(image.shape[0], y + reach + 1))
        columns = slice(max(0, x - reach), min(image.shape[1], x + reach + 1))
        yy = torch.arange(rows.start, rows.stop, device=image.device)[:, None] - y
        xx = torch.arange(columns.start, columns.stop, device=image.device)[None, :] - x
        blob = torch.exp(-(yy**2 + xx**2).to(image.dtype) / (2 * (radius / 1.5) ** 2))
        level = float(rng.uniform(0.0, 0.15) if rng.uniform() < 0.75 else rng.uniform(0.5, 0.8))
        part = image[rows, columns]
        image[rows, columns] = part + blob * (level - part)
    return image


def _smooth_noise(
    shape: tuple[int, ...] | torch.Size, scale: float, rng: np.random.Generator, like: Tensor
) -> Tensor:
    """Return noise of unit spread that is correlated over about `scale` px."""
    height, width = shape[-2:]
    size = (int(height / scale) + 2, int(width / scale) + 2)
    coarse: NDArray[np.float64] = rng.normal(size=size)
    noise = torch.as_tensor(coarse, dtype=like.dtype, device=like.device)[None, None]
    return F.interpolate(noise, size=(height, width), mode="bilinear")[0, 0]
