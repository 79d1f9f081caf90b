"""Run a network over a slice of any size."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sff_napari.devices import autocast
from sff_napari.networks.weights import Network
from sff_napari.progress import Reporter

Image = NDArray[np.float32]
TILE = 512
OVERLAP = 64
"""Pixels over which two tiles are blended into one another."""


def run_network(
    network: Network, image: Image, device: torch.device, reporter: Reporter
) -> tuple[Image, Image]:
    """Return what a network makes of an image (Y, X), and how unsure it is.

    Parameters
    ----------
    network : Module
        In evaluation mode, on `device`.
    image : ndarray, (Y, X)
        Scanned along rows, in [0, 1].
    device : torch.device
        Where to compute.
    reporter : Reporter
        Told of each tile.

    Returns
    -------
    restored, difference : ndarray, (Y, X) float32
        The mean of what it makes of the image and of the image upside down (which a scan
        along rows may as well be), and half the difference of the two.
    """
    height, width = image.shape
    total = np.zeros((3, height, width), np.float32)
    places = [(y, x) for y in _starts(height) for x in _starts(width)]
    for number, (top, left) in enumerate(places):
        reporter(number / len(places), "restoring")
        part = image[top : top + TILE, left : left + TILE]
        weight = np.outer(
            _ramp(top, part.shape[0], height), _ramp(left, part.shape[1], width)
        ).astype(np.float32)
        found = _both_ways(network, part, device)
        tile = total[:, top : top + TILE, left : left + TILE]
        tile[0] += weight * found.mean(axis=0)
        tile[1] += weight * (found[0] - found[1]) / 2
        tile[2] += weight
    return total[0] / total[2], total[1] / total[2]


def _both_ways(network: Network, part: Image, device: torch.device) -> NDArray[np.float32]:
    read = torch.from_numpy(np.ascontiguousarray(part))[None, None].to(device)
    with torch.no_grad(), autocast(device):
        straight = network(read)
        turned = network(read.flip(2)).flip(2)
    return torch.cat([straight, turned])[:, 0].float().cpu().numpy()


def _starts(side: int) -> list[int]:
    """Return where tiles begin that cover a side, the last one at its end."""
    if side <= TILE:
        return [0]
    count = int(np.ceil((side - OVERLAP) / (TILE - OVERLAP)))
    return [round(start) for start in np.linspace(0, side - TILE, count)]


def _ramp(start: int, length: int, side: int) -> NDArray[np.float64]:
    """Return weights that fall to nearly 0 at those ends of a tile that others overlap."""
    place = np.arange(length) + 0.5
    weight = np.ones(length)
    if start > 0:
        weight = np.minimum(weight, place / OVERLAP)
    if start + length < side:
        weight = np.minimum(weight, (length - place) / OVERLAP)
    return np.maximum(weight, 1e-3)
