"""Read an image at displaced places."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

WarpMode = Literal["bilinear", "bicubic", "nearest"]


def warp(
    image: Tensor,
    flow: Tensor,
    mode: WarpMode = "bilinear",
    padding: Literal["border", "reflection", "zeros"] = "border",
) -> Tensor:
    """Return ``image(x + flow(x))``.

    Parameters
    ----------
    image : Tensor, (B, C, H, W)
        The image that is read.
    flow : Tensor, (B, 2, Y, X)
        Sampling offset (dy, dx) in pixels for each pixel of the result, whose
        top-left pixel is that of `image`.
    mode : {"bilinear", "bicubic", "nearest"}
        Interpolation; bicubic keeps the grain of the image.
    padding : {"border", "reflection", "zeros"}
        What lies outside the image.

    Returns
    -------
    Tensor, (B, C, Y, X)
        In the dtype of `image`.
    """
    height, width = flow.shape[-2:]
    y = torch.arange(height, device=flow.device, dtype=flow.dtype)
    x = torch.arange(width, device=flow.device, dtype=flow.dtype)
    return sample(image, y[:, None] + flow[:, 0], x[None, :] + flow[:, 1], mode, padding)


def sample(
    image: Tensor,
    y: Tensor,
    x: Tensor,
    mode: WarpMode = "bilinear",
    padding: Literal["border", "reflection", "zeros"] = "border",
) -> Tensor:
    """Return `image` (B, C, H, W) read at pixel places `y`, `x` (B, Y, X)."""
    height, width = image.shape[-2:]
    grid = torch.stack([x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1], dim=-1)
    return F.grid_sample(
        image, grid.to(image.dtype), mode=mode, padding_mode=padding, align_corners=True
    )
