"""Draw one picture of a demonstration: panels side by side, with captions."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from sff_napari.arrays import GreyScale
from sff_napari.flow_colours import colours_of
from sff_napari.folds import Curve, Fold
from sff_napari.io_atomic import write_bytes

PANEL = 480
"""Longer side of a panel in pixels."""
_GAP = 8
_CAPTION = 30
_LINE = (255, 176, 0)
_EDGE = (0, 200, 255)

Picture = NDArray[np.uint8]


def grey_panel(image: NDArray[Any], like: NDArray[Any] | None = None) -> Picture:
    """Return a slice (Y, X) as a picture (Y, X, 3), on the grey scale of `like` where given."""
    scale = GreyScale.of(image if like is None else like)
    unit = np.nan_to_num(scale.to_unit(image), nan=0.0)
    grey = np.clip(unit * 255, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def flow_panel(flow: NDArray[np.floating[Any]]) -> tuple[Picture, float]:
    """Return a flow (2, Y, X) in colours and its largest length in pixels.

    The hue is the direction, the saturation the length; grey where there is no
    source.
    """
    colours = colours_of(flow)
    known = colours[..., 3] > 0
    panel = np.where(known[..., None], colours[..., :3], np.uint8(128))
    return panel, float(np.hypot(*np.where(known, flow, 0)).max())


def fold_panel(image: NDArray[Any], folds: Sequence[Fold]) -> Picture:
    """Return a slice (Y, X) with fold lines and the edges of their dark lines drawn on it."""
    import torch

    base = Image.fromarray(grey_panel(image))
    draw = ImageDraw.Draw(base)
    weight = max(2, round(max(image.shape) / PANEL * 2))
    for fold in folds:
        curve = Curve.of(fold)
        along = torch.linspace(0, curve.length, max(2, int(curve.length / 4)))
        widths = fold.half_widths or [fold.half_width] * len(fold.vertices)
        half = np.interp(along.numpy(), curve.vertices_along, widths)
        thin = max(1, weight // 2)
        for sign, colour, thick in ((-1, _EDGE, thin), (1, _EDGE, thin), (0, _LINE, weight)):
            points = curve.place(along, torch.as_tensor(sign * half, dtype=along.dtype)).numpy()
            draw.line([(float(x), float(y)) for y, x in points.T], fill=colour, width=thick)
    return np.array(base)


def mark_panel(panel: Picture, share: NDArray[Any]) -> Picture:
    """Return a picture (Y, X, 3) with pixels coloured by a share (Y, X) in [0, 1]."""
    weight = 0.45 * np.clip(share, 0, 1)[..., None]
    mixed = panel * (1 - weight) + weight * np.array(_LINE)
    return np.rint(mixed).astype(np.uint8)


def difference_panels(
    images: Sequence[NDArray[Any]], neighbour: NDArray[Any], sigma: float = 1.5
) -> list[Picture]:
    """Return how slices (Y, X) differ from a neighbour, all on one scale.

    Both are smoothed; the neighbour gets the mean and spread of the first slice.
    Black is no difference, white three times what is usual over the first slice.
    """
    scale = GreyScale.of(images[0])
    units = [
        ndimage.gaussian_filter(np.nan_to_num(scale.to_unit(image)), sigma) for image in images
    ]
    other = np.nan_to_num(GreyScale.of(neighbour).to_unit(neighbour))
    other = ndimage.gaussian_filter(other, sigma)
    first = units[0]
    # Medians: the black of the line and of missing tissue says nothing about the tissue.
    middles = [float(np.median(one)) for one in (first, other)]
    spreads = [
        float(np.median(np.abs(one - middle)))
        for one, middle in zip((first, other), middles, strict=True)
    ]
    gain = spreads[0] / max(spreads[1], 1e-6)
    other = middles[0] + gain * (other - middles[1])
    differences = [np.abs(one - other) for one in units]
    white = 3 * max(float(np.median(differences[0])), 1e-6)
    return [
        np.repeat((np.clip(one / white, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)
        for one in differences
    ]


def side_by_side(panels: Sequence[tuple[str, Picture]]) -> Image.Image:
    """Return panels in a row, each scaled to the same size with its caption below."""
    font = _font(17)
    scaled = []
    for _, panel in panels:
        height, width = panel.shape[:2]
        factor = PANEL / max(height, width)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        way = Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.NEAREST
        scaled.append(Image.fromarray(panel).resize(size, way))
    width = sum(panel.width for panel in scaled) + _GAP * (len(scaled) + 1)
    height = max(panel.height for panel in scaled) + 2 * _GAP + _CAPTION
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    left = _GAP
    for (caption, _), panel in zip(panels, scaled, strict=True):
        canvas.paste(panel, (left, _GAP))
        draw.text((left, panel.height + 2 * _GAP), caption, fill="black", font=font)
        left += panel.width + _GAP
    return canvas


def write_png(path: Path, image: Image.Image) -> None:
    """Write a picture as PNG, atomically.

    Raises
    ------
    StackError
        If it cannot be written.
    """
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def _font(size: int) -> Any:
    try:
        return ImageFont.load_default(size)
    except (TypeError, OSError):  # a Pillow without FreeType has one small font only
        return ImageFont.load_default()
