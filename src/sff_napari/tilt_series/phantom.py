"""Random volumes of known density, to measure reconstructions on."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import InputError

PhantomKind = Literal["shells", "virions", "cells"]
PHANTOM_KINDS: tuple[PhantomKind, ...] = ("shells", "virions", "cells")

_FINER = 2
"""Samples a voxel along each axis, so that surfaces are not jagged."""


def make_phantom(
    shape: tuple[int, int, int] = (48, 80, 80),
    *,
    kind: PhantomKind = "shells",
    seed: int = 0,
) -> NDArray[np.float32]:
    """Return a random volume of density in [0, 1], empty at its faces.

    Parameters
    ----------
    shape : (Z, Y, X)
        In voxels.
    kind : {"shells", "virions", "cells"}
        Ellipsoidal shells of random axes, turn, wall and density with a few
        small virions, as in the paper; virions alone; or shells and grains in
        a slab of thin, textured ground.
    seed : int
        The same seed gives the same volume.

    Returns
    -------
    ndarray, (Z, Y, X) float32
        The density.

    Raises
    ------
    InputError
        If the kind is unknown or the shape smaller than 8 along an axis.

    Examples
    --------
    >>> make_phantom((16, 32, 32), seed=3).shape
    (16, 32, 32)
    """
    if kind not in PHANTOM_KINDS:
        raise InputError(f"There is no phantom {kind!r}: use one of {', '.join(PHANTOM_KINDS)}.")
    if len(shape) != 3 or min(shape) < 8:
        raise InputError("A phantom needs three axes of at least 8 voxels each.")
    rng = np.random.default_rng([seed, PHANTOM_KINDS.index(kind)])
    canvas = _Canvas(shape)
    smallest = min(shape)
    if kind == "cells":
        canvas.add_ground(rng)
    if kind != "virions":
        for _ in range(6):
            canvas.add_shell(rng, rng.uniform(0.12, 0.3, 3) * smallest)
    for _ in range({"shells": 4, "virions": 12, "cells": 2}[kind]):
        canvas.add_virion(rng, float(rng.uniform(0.09, 0.15)) * smallest)
    if kind == "cells":
        for _ in range(30):
            canvas.add_grain(rng, float(rng.uniform(0.02, 0.05)) * smallest)
    return canvas.finished()


class _Canvas:
    """A volume sampled finer than its voxels, on which bodies are drawn."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape
        self._data = np.zeros(tuple(n * _FINER for n in shape), np.float32)

    def _place(self, rng: np.random.Generator, reach: float) -> NDArray[np.float64]:
        """Return a random centre, `reach` voxels from the faces where there is room."""
        sizes = np.asarray(self._shape, float)
        margin = np.minimum(reach + 1, sizes / 2)
        return rng.uniform(margin, sizes - margin)

    def _around(
        self, centre: NDArray[np.float64], reach: float
    ) -> tuple[tuple[slice, ...], NDArray[np.float64]]:
        """Return the window around a centre and the offsets of its samples, (3, z, y, x)."""
        low = np.maximum(np.floor((centre - reach) * _FINER).astype(int), 0)
        high = np.minimum(np.ceil((centre + reach) * _FINER).astype(int) + 1, self._data.shape)
        grids = [
            (np.arange(a, b) + 0.5) / _FINER - c for a, b, c in zip(low, high, centre, strict=True)
        ]
        window = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return window, np.stack(np.meshgrid(*grids, indexing="ij"))

    def add_shell(self, rng: np.random.Generator, axes: NDArray[np.float64]) -> None:
        """Draw an ellipsoidal shell with a thinner filling."""
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        reach = float(axes.max())
        window, offsets = self._around(self._place(rng, reach), reach + 1)
        radius = np.sqrt(
            (np.einsum("ij,jzyx->izyx", turn, offsets) ** 2 / (axes**2)[:, None, None, None]).sum(0)
        )
        wall = rng.uniform(1.5, 3.5) / axes.min()
        density, filling = rng.uniform(0.25, 0.8), rng.choice([0.0, rng.uniform(0.05, 0.3)])
        region = self._data[window]
        shell = (radius <= 1) & (radius > 1 - wall)
        region[radius <= 1 - wall] = filling
        region[shell] = density

    def add_virion(self, rng: np.random.Generator, radius: float) -> None:
        """Draw a dense core in a membrane with a knobbly coat."""
        window, offsets = self._around(self._place(rng, radius), radius + 1)
        distance = np.sqrt((offsets**2).sum(0))
        axes = rng.normal(size=(15, 3))
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)
        knobs = np.abs(np.einsum("ij,jzyx->izyx", axes, offsets)).max(0) / np.maximum(
            distance, 1e-6
        )
        region = self._data[window]
        coat = (distance <= radius) & (distance > radius * 0.78)
        region[coat] = np.where(knobs > 0.9, 0.95, 0.6)[coat]
        region[(distance <= radius * 0.78) & (distance > radius * 0.55)] = 0.15
        region[distance <= radius * 0.55] = 0.75

    def add_grain(self, rng: np.random.Generator, radius: float) -> None:
        """Draw a small full ball."""
        radius = max(radius, 1.0)
        window, offsets = self._around(self._place(rng, radius), radius + 1)
        self._data[window][(offsets**2).sum(0) <= radius**2] = rng.uniform(0.5, 1.0)

    def add_ground(self, rng: np.random.Generator) -> None:
        """Fill a slab, smaller than the volume, with smooth texture."""
        from scipy import ndimage

        rough = ndimage.gaussian_filter(
            rng.normal(size=self._data.shape).astype(np.float32), 3 * _FINER
        )
        rough = 0.12 + 0.03 * rough / rough.std()
        z, y, x = (n * _FINER for n in self._shape)
        inner = (slice(z // 8, -z // 8), slice(y // 10, -y // 10), slice(x // 10, -x // 10))
        self._data[inner] = np.clip(rough[inner], 0, 1)

    def finished(self) -> NDArray[np.float32]:
        """Return the volume, averaged to its voxels."""
        z, y, x = self._shape
        blocks = self._data.reshape(z, _FINER, y, _FINER, x, _FINER)
        return blocks.mean((1, 3, 5)).astype(np.float32)
