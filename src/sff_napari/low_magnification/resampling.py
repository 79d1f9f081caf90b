"""Reduce slices by area, enlarge them, and make an enlarged one agree with what it came from."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

STEPS = 3
"""Steps of back-projection that leave less than a tenth of a grey level."""


def reduce_area(image: Tensor, factor: int) -> Tensor:
    """Return means of blocks of pixels.

    Parameters
    ----------
    image : Tensor, (B, C, Y, X)
        Sides that are multiples of `factor`.
    factor : int
        Side of a block, px.

    Returns
    -------
    Tensor, (B, C, Y / factor, X / factor)
        In the dtype of `image`.
    """
    return F.avg_pool2d(image, factor)


def enlarge_cubic(low: Tensor, factor: int) -> Tensor:
    """Return `low` (B, C, y, x) enlarged by cubic interpolation, (B, C, y factor, x factor)."""
    return F.interpolate(low, scale_factor=factor, mode="bicubic", align_corners=False)


def back_project(
    image: Tensor, low: Tensor, factor: int, steps: int = STEPS, *, exact: bool = False
) -> Tensor:
    """Return `image` changed as smoothly as it needs to have `low` as its means.

    Parameters
    ----------
    image : Tensor, (B, C, Y, X)
        An enlarged slice.
    low : Tensor, (B, C, Y / factor, X / factor)
        What its means are to be.
    factor : int
        Side of the blocks that are averaged, px.
    steps : int
        How often what is missing is enlarged and added (Irani and Peleg, 1991).
    exact : bool
        Whether the rest, too small to be seen, is added to the blocks as wholes.

    Returns
    -------
    Tensor, (B, C, Y, X)
        In the dtype of `image`; differentiable.

    Examples
    --------
    >>> import torch
    >>> from sff_napari.low_magnification.resampling import back_project, reduce_area
    >>> low = torch.rand(1, 1, 8, 8)
    >>> image = back_project(torch.rand(1, 1, 32, 32), low, 4, exact=True)
    >>> bool((reduce_area(image, 4) - low).abs().max() < 1e-5)
    True
    """
    for _ in range(steps):
        image = image + enlarge_cubic(low - reduce_area(image, factor), factor)
    if exact:
        rest = low - reduce_area(image, factor)
        image = image + F.interpolate(rest, scale_factor=factor, mode="nearest")
    return image


def band_of_low(image: Tensor, factor: int) -> Tensor:
    """Return what a slice (B, C, Y, X) reduced by `factor` would still show, enlarged again."""
    low = reduce_area(image, factor)
    return back_project(enlarge_cubic(low, factor), low, factor)


def reduced_to(image: Tensor, side: int) -> tuple[Tensor, int]:
    """Return a slice reduced by a power of two until it is no larger than `side`, and by what."""
    step = 1
    while max(image.shape[-2:]) / step > side:
        step *= 2
    return (image if step == 1 else reduce_area(image, step)), step
