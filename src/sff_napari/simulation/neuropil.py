"""Make synthetic neuropil: slices that look enough like nerve tissue to try things on.

Cells are a warped, anisotropic Voronoi partition of space, so that they
continue from slice to slice; membranes are their borders.  Mitochondria and
vesicles lie inside them.  Two noises are added: grain that differs in every
slice, and tissue that moves a few pixels between slices as real sections do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from sff_napari.errors import InputError

_SECTION = 11.0
"""Thickness of a slice in pixels (50 nm at about 4.5 nm a pixel)."""


def neuropil(
    shape: tuple[int, int, int] = (5, 512, 512),
    seed: int = 0,
    cell_size: float = 46.0,
    noise: float = 0.06,
) -> NDArray[np.uint8]:
    """Return a synthetic stack of neuropil.

    Parameters
    ----------
    shape : (Z, Y, X)
        Number of slices, rows and columns.
    seed : int
        The same seed gives the same stack.
    cell_size : float
        Typical distance between cells in pixels.
    noise : float
        Spread of the grain, as a share of the grey range.

    Returns
    -------
    ndarray, (Z, Y, X) uint8
        Membranes dark, as in TEM; neighbouring slices correlate by about 0.4
        to 0.5 after a Gaussian of 1 px.

    Raises
    ------
    InputError
        If a side is not positive.

    See Also
    --------
    sff_napari.simulation.simulate_realistic : Folds a slice of it.

    Examples
    --------
    >>> from sff_napari.simulation import neuropil
    >>> neuropil((3, 64, 64), seed=1).shape
    (3, 64, 64)
    """
    depth, height, width = shape
    if min(shape) < 1:
        raise InputError(f"The shape {shape} has no pixels: give (Z, Y, X), each at least 1.")
    rng = np.random.default_rng(seed)
    margin = 2 * cell_size
    extent = np.array([depth * _SECTION, height, width]) + 2 * margin
    # Cells are elongated: neurites run through the sections at an angle.
    stretch = np.array([0.75, 1.0, 1.0])
    count = max(8, int(np.prod(extent * stretch) / cell_size**3 * 1.1))
    centres = rng.uniform(size=(count, 3)) * extent * stretch
    tree = cKDTree(centres)
    shade = rng.normal(0.62, 0.05, size=count)
    warps = [_field((height, width), scale, rng) for scale in (90, 90, 35, 35)]
    drift = [[_field((height, width), 110, rng) for _ in range(2)] for _ in range(depth)]
    bodies = _bodies(extent, rng)
    stack = np.empty(shape, dtype=np.uint8)
    yy, xx = np.mgrid[0:height, 0:width].astype(np.float32)
    for z in range(depth):
        y = yy + 14 * warps[0] + 5 * warps[2] + 2.2 * drift[z][0] + margin
        x = xx + 14 * warps[1] + 5 * warps[3] + 2.2 * drift[z][1] + margin
        at_z = (z + 0.5) * _SECTION + margin
        image = _slice_at(at_z, y, x, tree, shade, stretch, bodies)
        grain = ndimage.gaussian_filter(rng.normal(size=(height, width)), 0.7)
        image += noise * grain / grain.std()
        image *= 1 + rng.normal(0, 0.015)
        stack[z] = np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)
    return stack


def _slice_at(
    z: float,
    y: NDArray[np.float32],
    x: NDArray[np.float32],
    tree: cKDTree,
    shade: NDArray[np.float64],
    stretch: NDArray[np.float64],
    bodies: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.float64]:
    places = np.stack([np.full(y.size, z), y.ravel(), x.ravel()], axis=1) * stretch
    distances, owners = tree.query(places, k=2, eps=0.0)
    gap = (distances[:, 1] - distances[:, 0]).reshape(y.shape)
    cell = owners[:, 0].reshape(y.shape)
    image = shade[cell]
    # An oblique membrane is blurred through the thickness of the section; the
    # distance to the border of two cells is about gap / 2 where it stands upright.
    membrane = np.exp(-((gap / 5.5) ** 2))
    image = image - 0.36 * membrane
    centres, radii, kinds = bodies
    near = np.abs(centres[:, 0] - z) < radii
    for (cz, cy, cx), radius, kind in zip(centres[near], radii[near], kinds[near], strict=True):
        _draw_body(image, y, x, gap, (cz - z, cy, cx), radius, kind)
    return image


def _bodies(
    extent: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return centres (N, 3), radii (N,) and kinds (N,) of mitochondria and vesicles."""
    volume = float(np.prod(extent))
    large, small = int(volume / 350_000) + 1, int(volume / 16_000) + 1
    centres = rng.uniform(size=(large + small, 3)) * extent
    radii = np.concatenate([rng.uniform(11, 22, large), rng.uniform(2.5, 4.5, small)])
    kinds = np.concatenate([rng.uniform(0.5, 1.0, large), rng.uniform(0.0, 0.5, small)])
    return centres, radii, kinds


def _draw_body(
    image: NDArray[np.float64],
    y: NDArray[np.float32],
    x: NDArray[np.float32],
    gap: NDArray[np.float64],
    place: tuple[float, float, float],
    radius: float,
    kind: float,
) -> None:
    dz, cy, cx = place
    # The sampling places are warped by less than this, so the window holds the body.
    reach = radius + 60
    offset_y, offset_x = float(y[0, 0]), float(x[0, 0])
    rows = slice(max(0, int(cy - offset_y - reach)), max(0, int(cy - offset_y + reach)))
    columns = slice(max(0, int(cx - offset_x - reach)), max(0, int(cx - offset_x + reach)))
    part = image[rows, columns]
    if part.size == 0:
        return
    squared = dz * dz + (y[rows, columns] - cy) ** 2 + (x[rows, columns] - cx) ** 2
    distance = np.sqrt(squared) / radius
    inside = 1 / (1 + np.exp((distance - 1) * radius))
    inside = inside * (gap[rows, columns] > 5)
    if kind > 0.5:
        cristae = 0.06 * np.sin((y[rows, columns] * kind + x[rows, columns]) * 0.9)
        target = 0.36 + cristae - 0.08 * np.exp(-(((distance - 0.93) * radius / 2) ** 2))
    else:
        target = np.full_like(part, 0.40 + 0.2 * kind)
    part += inside * (target - part)


def _field(shape: tuple[int, int], scale: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a smooth random field of unit spread, correlated over about `scale` px."""
    size = (int(shape[0] / scale) + 4, int(shape[1] / scale) + 4)
    coarse = rng.normal(size=size).astype(np.float32)
    zoomed = ndimage.zoom(coarse, scale, order=3, mode="nearest", grid_mode=True)
    top, left = (int(v * scale) for v in rng.uniform(0.5, 1.5, size=2))
    return np.asarray(zoomed[top : top + shape[0], left : left + shape[1]], dtype=np.float32)
