"""Pair clean slices with the reference that the interpolation network makes.

The unfolding network at a scale above 1 sees large crops; to interpolate each of them anew
would take far longer than to unfold them.  So every slice is interpolated once, as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sff_napari.progress import ProgressCallback
from sff_napari.tiling import grown, tiles
from sff_napari.training.data import Source, TripleSet

_TILE = 1024
_HALO = 64
_ALIGN = 32


class PairSource:
    """Pairs (clean, reference) of one stack, reduced some times and kept in memory.

    Parameters
    ----------
    name : str
        What messages call the stack.
    shape : (height, width)
        Of the reduced slices.
    images : dict of int to ndarray, (2, height, width) float16
        For each slice number.
    """

    def __init__(
        self, name: str, shape: tuple[int, int], images: dict[int, NDArray[np.float16]]
    ) -> None:
        self.name, self.shape, self._images = name, shape, images
        self.centres = tuple(sorted(images))

    def crop(self, z: int, top: int, left: int, size: int) -> NDArray[np.float32]:
        """Return a square of the clean slice and its reference, (2, size, size), in [0, 1]."""
        part = self._images[z][:, top : top + size, left : left + size]
        return part.astype(np.float32)

    def close(self) -> None:
        """Do nothing: no file is open."""


def paired(
    triples: TripleSet,
    interpolation: nn.Module,
    step: int,
    device: torch.device,
    context: Callable[[], AbstractContextManager[object]],
    progress: ProgressCallback | None = None,
) -> TripleSet:
    """Return the clean slices of triples with their references.

    Parameters
    ----------
    triples : TripleSet
        Where the slices come from.
    interpolation : Module
        The interpolation network, in evaluation mode, on `device`.
    step : int
        How many times both are reduced.
    device : torch.device
        Where to compute.
    context : callable
        Makes the context that the network runs in.
    progress : callable, optional
        Called as ``progress(share, text)``.

    Returns
    -------
    TripleSet
        Of as many slices; takes 4 bytes a pixel of them over the square of `step`.
    """
    sources: list[Source] = []
    done = 0
    for source in triples.sources:
        images = {}
        height, width = (side // step * step for side in source.shape)
        for z in source.centres:
            if progress is not None:
                progress(done / triples.count, f"interpolating slice {done + 1} of {triples.count}")
            triple = torch.from_numpy(_whole(source, z))[:, None, None].to(device)
            pair = torch.cat([triple[1], _interpolated(triple, interpolation, context)], dim=1)
            pair = functional.avg_pool2d(pair[..., :height, :width], step)
            images[z] = pair[0].to("cpu", torch.float16).numpy()
            done += 1
        sources.append(PairSource(source.name, (height // step, width // step), images))
    return TripleSet(sources)


def _whole(source: Source, z: int) -> NDArray[np.float32]:
    """Return three whole slices (3, Y, X)."""
    height, width = source.shape
    # A crop is a square: what lies beyond the slice is cut off by its reading.
    return source.crop(z, 0, 0, max(height, width))


def _interpolated(
    triple: Tensor, network: nn.Module, context: Callable[[], AbstractContextManager[object]]
) -> Tensor:
    """Return what the network makes of the outer two of three slices, (1, 1, Y, X)."""
    made = torch.empty_like(triple[1])
    shape = (made.shape[-2], made.shape[-1])
    for rows, columns in tiles(shape, _TILE):
        outer, inner = grown(rows, columns, shape, _HALO, _ALIGN)
        first, second = (triple[k][..., outer[0], outer[1]] for k in (0, 2))
        with torch.inference_mode(), context():
            out = network(first, second).float().clamp(0, 1)
        made[..., rows, columns] = out[..., inner[0], inner[1]]
    return made
