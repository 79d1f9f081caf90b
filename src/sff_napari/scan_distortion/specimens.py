"""Draw clean synthetic specimens as scanning microscopes look at them.

Lattices at atomic resolution with dislocations, grains, nanoparticles and amorphous
surroundings; fringes; particles; facets; blobs; band-limited noise; tissue; and
structures that are no distortion: folds, cracks, borders of tiles.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from sff_napari.errors import InputError
from sff_napari.simulation import neuropil

Image = NDArray[np.float32]


def specimen(kind: str, shape: tuple[int, int] = (256, 256), seed: int = 0) -> Image:
    """Return a clean image of a synthetic specimen.

    Parameters
    ----------
    kind : str
        One of `SPECIMENS`.
    shape : (Y, X)
        Rows and columns.
    seed : int
        The same seed gives the same image.

    Returns
    -------
    ndarray, (Y, X) float32
        Grey values from 0 to 1.

    Raises
    ------
    InputError
        If there is no such kind.

    See Also
    --------
    sff_napari.simulate_scan : Scans it.

    Examples
    --------
    >>> from sff_napari.scan_distortion import specimen
    >>> specimen("lattice", (64, 64), seed=3).shape
    (64, 64)
    """
    if kind not in SPECIMENS:
        raise InputError(f"There is no specimen {kind!r}: use one of {', '.join(SPECIMENS)}.")
    rng = np.random.default_rng(seed)
    return _toned(SPECIMENS[kind](shape, rng), rng)


def _toned(image: Image, rng: np.random.Generator) -> Image:
    """Return an image with a random gamma, contrast, pedestal, shading and polarity, in [0, 1]."""
    low, high = float(image.min()), float(image.max())
    unit = (image - low) / max(high - low, 1e-6)
    if rng.random() < 0.4:
        unit = unit ** np.float32(np.exp(rng.uniform(-0.6, 0.6)))
    if rng.random() < 0.4:
        unit = 1 - unit
    if rng.random() < 0.4:
        unit = unit + rng.uniform(0.1, 0.8) * _shading(unit.shape, rng)
        unit = (unit - unit.min()) / max(float(np.ptp(unit)), 1e-6)
    pedestal = rng.uniform(0, 0.6) if rng.random() < 0.6 else 0.0
    return (pedestal + (1 - pedestal) * unit).astype(np.float32)


def _shading(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """Return a slow change of brightness or thickness, in about [0, 1]."""
    y, x = _grid(shape)
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        return np.asarray(
            (np.cos(angle) * (x / shape[1] - 0.5) + np.sin(angle) * (y / shape[0] - 0.5)) + 0.5,
            np.float32,
        )
    return _waves(shape, rng, max(shape) * rng.uniform(0.15, 0.6))


def _grid(shape: tuple[int, int]) -> tuple[Image, Image]:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return y, x


def _waves(shape: tuple[int, int], rng: np.random.Generator, length: float) -> Image:
    """Return smooth noise of this correlation length, about in [0, 1]."""
    factor = max(1.0, length / 3)
    small = [max(4, int(np.ceil(side / factor)) + 4) for side in shape]
    coarse = cv2.GaussianBlur(rng.standard_normal(small).astype(np.float32), (0, 0), 1.5)
    big = cv2.resize(
        coarse, (round(small[1] * factor), round(small[0] * factor)), interpolation=cv2.INTER_CUBIC
    )
    part = big[: shape[0], : shape[1]]
    return np.asarray(np.clip(0.5 + 0.2 * (part - part.mean()) / max(part.std(), 1e-6), -0.2, 1.2))


def _splat(
    shape: tuple[int, int], points: NDArray[np.float64], heights: NDArray[np.float64], sigma: float
) -> Image:
    """Return Gaussian peaks at places (N, 2); overlapping ones add up."""
    reach = int(np.ceil(3 * sigma)) + 1
    canvas = np.zeros((shape[0] + 2 * reach, shape[1] + 2 * reach), np.float32)
    inside = ((points > -reach + 1) & (points < np.array(shape) + reach - 2)).all(axis=1)
    points, heights = points[inside], heights[inside]
    base = np.floor(points).astype(int)
    part = points - base
    steps = np.arange(-reach + 1, reach + 1)
    gy, gx = (
        np.exp(-((steps[None] - part[:, axis, None]) ** 2) / (2 * sigma**2)) for axis in (0, 1)
    )
    patch = (heights[:, None, None] * gy[:, :, None] * gx[:, None, :]).astype(np.float32)
    rows = base[:, 0, None, None] + steps[None, :, None] + reach
    columns = base[:, 1, None, None] + steps[None, None, :] + reach
    keep = (rows >= 0) & (rows < canvas.shape[0]) & (columns >= 0) & (columns < canvas.shape[1])
    places = np.where(keep, rows * canvas.shape[1] + columns, 0)
    total = np.bincount(places.ravel(), np.where(keep, patch, 0).ravel(), canvas.size)
    return total.reshape(canvas.shape)[reach:-reach, reach:-reach].astype(np.float32)


def _lattice_points(
    shape: tuple[int, int], rng: np.random.Generator, spacing: float, angle: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return places (N, 2) of atom columns and their brightness (N,)."""
    ratio = rng.choice([1.0, 1.0, rng.uniform(1.0, 1.7)])
    skew = np.deg2rad(rng.choice([90, 90, 60, 60, rng.uniform(60, 100)]))
    first = spacing * np.array([np.sin(angle), np.cos(angle)])
    second = spacing * ratio * np.array([np.sin(angle + skew), np.cos(angle + skew)])
    extent = int(1.2 * np.hypot(*shape) / spacing) + 3
    n = np.arange(-extent, extent + 1)
    i, j = (values.ravel() for values in np.meshgrid(n, n, indexing="ij"))
    basis = [(0.0, 0.0)]
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
        basis.append(tuple(rng.choice([0.5, 1 / 3, 0.25, rng.random()], 2)))
    middle = np.array(shape) / 2 + rng.uniform(-spacing, spacing, 2)
    places, bright = [], []
    for u, v in basis:
        z = rng.uniform(0.15, 1.0) if (u, v) != (0.0, 0.0) else 1.0
        places.append(middle + (i + u)[:, None] * first + (j + v)[:, None] * second)
        bright.append(np.full(i.size, z))
    points, heights = np.concatenate(places), np.concatenate(bright)
    near = ((points > -3 * spacing) & (points < np.array(shape) + 3 * spacing)).all(axis=1)
    return points[near], heights[near]


def _dislocated(
    points: NDArray[np.float64], shape: tuple[int, int], rng: np.random.Generator, spacing: float
) -> NDArray[np.float64]:
    """Return places with edge dislocations (the elastic field of isotropic matter) and strain."""
    moved = points.copy()
    for _ in range(rng.choice([0, 0, 0, 1, 1, 2])):
        core = rng.uniform(0, 1, 2) * shape
        burgers = rng.uniform(0, 2 * np.pi)
        turn = np.array([[np.cos(burgers), -np.sin(burgers)], [np.sin(burgers), np.cos(burgers)]])
        y, x = ((points - core) @ turn).T
        r2 = x**2 + y**2 + 0.1
        nu = 0.3
        ux = np.arctan2(y, x) + x * y / (2 * (1 - nu) * r2)
        uy = -((1 - 2 * nu) / (4 * (1 - nu)) * np.log(r2) + (x**2 - y**2) / (4 * (1 - nu) * r2))
        moved += spacing / (2 * np.pi) * np.stack([uy - uy.mean(), ux], axis=1) @ turn.T
    if rng.random() < 0.3:
        amount, length = rng.uniform(0, 0.3) * spacing, rng.uniform(5, 20) * spacing
        direction = rng.uniform(0, 2 * np.pi)
        along = points @ np.array([np.sin(direction), np.cos(direction)])
        moved += amount * np.sin(2 * np.pi * along / length)[:, None] * rng.standard_normal(2)
    return moved + rng.uniform(0, 0.03) * spacing * rng.standard_normal(points.shape)


def _region(shape: tuple[int, int], rng: np.random.Generator, soft: float = 1.5) -> Image:
    """Return a particle or a half plane, 1 inside, with a soft border."""
    y, x = _grid(shape)
    if rng.random() < 0.4:
        angle = rng.uniform(0, 2 * np.pi)
        middle = rng.uniform(0.2, 0.8, 2) * shape
        inside = np.cos(angle) * (x - middle[1]) + np.sin(angle) * (y - middle[0])
    else:
        middle, radius = rng.uniform(0.2, 0.8, 2) * shape, rng.uniform(0.15, 0.5) * min(shape)
        angle = np.arctan2(y - middle[0], x - middle[1])
        shape_of = sum(
            rng.normal(0, 0.12 / k) * np.cos(k * angle + rng.uniform(0, 7)) for k in range(2, 7)
        )
        inside = radius * (1 + shape_of) - np.hypot(y - middle[0], x - middle[1])
    return np.asarray(1 / (1 + np.exp(-np.clip(inside / soft, -30, 30))), np.float32)


def _crystal(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    spacing = float(np.exp(rng.uniform(np.log(5.0), np.log(40.0))))
    sigma = spacing * rng.uniform(0.12, 0.32)
    points, heights = _lattice_points(shape, rng, spacing, rng.uniform(0, np.pi))
    points = _dislocated(points, shape, rng, spacing)
    heights = heights * (1 + rng.uniform(0, 0.15) * rng.standard_normal(heights.size))
    if rng.random() < 0.2:  # vacancies and foreign atoms
        heights[rng.random(heights.size) < 0.03] *= rng.choice([0.0, 0.3, 2.0])
    image = _splat(shape, points, heights, max(sigma, 0.9))
    if rng.random() < 0.35:  # columns have tails
        tail = cv2.GaussianBlur(image, (0, 0), spacing * rng.uniform(0.4, 0.8))
        image = image + rng.uniform(0.3, 2) * tail
    return image / max(float(image.max()), 1e-6)


def _lattice(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """Return a crystal, bicrystal, or particle in or on amorphous matter."""
    image = _crystal(shape, rng)
    kind = rng.random()
    if kind < 0.2:
        share = _region(shape, rng)
        image = share * image + (1 - share) * _crystal(shape, rng)
    elif kind < 0.5:
        share = _region(shape, rng, rng.uniform(0.5, 8))
        amorphous = rng.uniform(0, 0.5) * _waves(shape, rng, rng.uniform(2, 12))
        image = share * image + (1 - share) * amorphous + rng.uniform(0, 0.4) * share
    elif kind < 0.6:
        image = image + rng.uniform(0.2, 1) * _particles(shape, rng)
    elif kind < 0.75:
        image = image * np.clip(_shading(shape, rng), 0, None)
    if rng.random() < 0.3:
        image = image + rng.uniform(0.05, 0.6) * _waves(shape, rng, rng.uniform(3, 30))
    return image


def _fringes(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    y, x = _grid(shape)
    image = np.zeros(shape, np.float32)
    for _ in range(rng.integers(1, 4)):
        period, angle = np.exp(rng.uniform(np.log(4), np.log(40))), rng.uniform(0, np.pi)
        phase = 2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / period
        if rng.random() < 0.4:
            phase = phase + rng.uniform(0, 4) * _waves(shape, rng, rng.uniform(40, 120))
        wave = np.cos(phase + rng.uniform(0, 7))
        image += rng.uniform(0.2, 1) * np.sign(wave) * np.abs(wave) ** rng.choice([1, 0.5, 1, 3])
    if rng.random() < 0.6:
        image = image * np.clip(_shading(shape, rng), 0, None)
    if rng.random() < 0.6:
        image = image + rng.uniform(0.5, 4) * _shading(shape, rng)
    return image


def _particles(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """Return discs, soft balls and gaps of all sizes on a changing ground."""
    y, x = _grid(shape)
    ground = rng.uniform(0, 0.5) * _waves(shape, rng, np.exp(rng.uniform(1, 5)))
    image = np.asarray(ground, np.float32)
    largest = np.exp(rng.uniform(np.log(3), np.log(60)))
    count = int(np.clip(rng.uniform(0.05, 0.4) * image.size / (3 * largest**2), 2, 150))
    sharp, sign = rng.random(), rng.choice([-1, 1])
    for _ in range(count):
        radius = largest * rng.uniform(0.3, 1)
        middle = rng.uniform(-0.05, 1.05, 2) * shape
        half = int(3 * radius) + 4
        top, left = (max(0, int(m) - half) for m in middle)
        part = (slice(top, int(middle[0]) + half), slice(left, int(middle[1]) + half))
        if image[part].size == 0:
            continue
        flat = rng.uniform(0.6, 1)
        tilt = rng.uniform(0, np.pi)
        dy, dx = y[part] - middle[0], x[part] - middle[1]
        along, across = dx * np.cos(tilt) + dy * np.sin(tilt), dy * np.cos(tilt) - dx * np.sin(tilt)
        r = np.hypot(along, across / flat) / radius
        if rng.random() < sharp:
            edge = radius / rng.uniform(0.5, 2)
            ball = np.clip((1 - r) * edge + 0.5, 0, 1)
            if rng.random() < 0.5:  # thickness of a ball
                ball = ball * np.sqrt(np.clip(1.02 - r**2, 0, 1))
        else:
            ball = np.exp(-1.5 * r**2)
        height = sign * rng.uniform(0.2, 1) * (1 if rng.random() < 0.85 else -1)
        if rng.random() < 0.3:
            image[part] = image[part] * (1 - ball) + height * ball
        else:
            image[part] += height * ball
    return image


def _facets(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """Return grains: Voronoi cells, each with a grey value and a slope."""
    y, x = _grid(shape)
    count = int(np.exp(rng.uniform(np.log(4), np.log(200))))
    seeds = rng.uniform(-0.1, 1.1, (count, 2)) * shape
    bent = [4 * rng.random() * _waves(shape, rng, 30) for _ in range(2)]
    places = np.stack([y + bent[0], x + bent[1]], axis=-1).reshape(-1, 2)
    distance, owner = cKDTree(seeds).query(places, k=2)
    cell = owner[:, 0]
    slopes = rng.normal(0, rng.uniform(0, 1) / max(shape) * np.sqrt(count), (count, 2))
    image = rng.random(count)[cell] + ((places - seeds[cell]) * slopes[cell]).sum(axis=1)
    gap = distance[:, 1] - distance[:, 0]
    image += rng.choice([-0.7, 0, 0, 0.7]) * np.exp(-((gap / rng.uniform(1, 5)) ** 2))
    return cv2.GaussianBlur(
        image.reshape(shape).astype(np.float32), (0, 0), float(rng.uniform(0.4, 1.5))
    )


def _blobs(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    image = np.zeros(shape, np.float32)
    length = np.exp(rng.uniform(np.log(8), np.log(80)))
    for octave in range(rng.integers(1, 4)):
        image += 0.6**octave * _waves(shape, rng, max(length / 2**octave, 3.0))
    if rng.random() < 0.3:
        edge = rng.uniform(0.02, 0.3)
        image = 1 / (1 + np.exp(-(image - np.median(image)) / edge))
    return np.asarray(image, np.float32)


def _noise(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """Return noise limited to a band of frequencies, on something slow."""
    white = rng.standard_normal(shape).astype(np.float32)
    fine = float(np.exp(rng.uniform(np.log(0.9), np.log(6))))
    band = cv2.GaussianBlur(white, (0, 0), fine)
    if rng.random() < 0.7:
        band = band - cv2.GaussianBlur(white, (0, 0), fine * rng.uniform(1.3, 4))
    return np.asarray(band / band.std() + rng.uniform(0, 8) * _shading(shape, rng), np.float32)


def _tissue(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    stack = neuropil((1, *shape), int(rng.integers(1 << 30)), rng.uniform(15, 60), 0.0)
    return cv2.GaussianBlur(stack[0].astype(np.float32), (0, 0), float(rng.uniform(0.6, 1.2)))


def _structures(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """Return something with folds, cracks and borders of tiles across it."""
    base = (_tissue, _blobs, _particles, _facets)[rng.integers(4)](shape, rng)
    image = (base - base.min()) / max(float(np.ptp(base)), 1e-6)
    return with_structures(image.astype(np.float32), rng)


def with_structures(image: Image, rng: np.random.Generator) -> Image:
    """Return an image with steps, lines and offsets that are no scan distortion."""
    y, x = _grid((image.shape[0], image.shape[1]))
    out = image.copy()
    for _ in range(rng.integers(1, 4)):
        kind = rng.choice(["fold", "crack", "tile", "level"])
        angle = rng.uniform(0, np.pi) if rng.random() < 0.6 else rng.choice([0, np.pi / 2])
        middle = rng.uniform(0.1, 0.9, 2) * image.shape
        across = np.cos(angle) * (x - middle[1]) + np.sin(angle) * (y - middle[0])
        if kind != "tile":
            across = across + rng.uniform(0, 12) * (_waves(image.shape, rng, 60) - 0.5)
        if kind == "fold":
            line = np.exp(-((across / rng.uniform(1.5, 10)) ** 4))
            out = out * (1 - line * rng.uniform(0.5, 1))
        elif kind == "crack":
            line = np.exp(-((across / rng.uniform(0.7, 3)) ** 2))
            out = out * (1 - line) + rng.choice([0.0, 1.0]) * line
        elif kind == "tile":
            shift = rng.uniform(-8, 8, 2)
            there = cv2.warpAffine(
                out,
                np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32),
                (image.shape[1], image.shape[0]),
                flags=cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REFLECT_101,
            )
            out = np.where(across > 0, there * rng.uniform(0.85, 1.15), out)
        else:
            out = out + rng.uniform(-0.3, 0.3) * (across > 0)
    return np.asarray(out, np.float32)


SPECIMENS: dict[str, Callable[[tuple[int, int], np.random.Generator], Image]] = {
    "lattice": _lattice,
    "fringes": _fringes,
    "particles": _particles,
    "facets": _facets,
    "blobs": _blobs,
    "noise": _noise,
    "tissue": _tissue,
    "structures": _structures,
}
"""Names of the specimens, and what draws them."""
