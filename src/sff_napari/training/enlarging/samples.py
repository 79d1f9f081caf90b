"""Make the samples the enlarging networks learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sff_napari.alignment.features import gaussian
from sff_napari.arrays import GreyScale
from sff_napari.errors import InputError
from sff_napari.low_magnification.aligned import Aligned, align
from sff_napari.low_magnification.resampling import (
    back_project,
    band_of_low,
    enlarge_cubic,
    reduce_area,
)
from sff_napari.no_data import fill_no_data, find_no_data
from sff_napari.stacks import open_stack
from sff_napari.training.data import slice_numbers
from sff_napari.training.settings import DataSpec

_ZOOMED = 0.25
_ZOOMS = (0.8, 1.4)
"""Share of the samples that are seen at another size, and between which sizes."""

_ALONE = 0.05
"""Share of the samples of a stack at low magnification that have no neighbours."""


@dataclass(frozen=True)
class Target:
    """A slice of known truth with its neighbours already brought onto it.

    Parameters
    ----------
    images : ndarray, (1 + neighbours, Y, X) float16
        The true slice and its neighbours, mean 0 and spread 1 in the reduced true slice.
    factor : int
        By how much it was reduced to bring them onto it.
    spread : float
        What one unit is in grey values of 0 to 255.
    """

    images: NDArray[np.float16]
    factor: int
    spread: float


class Slices:
    """The slices of one stack, NaN-free and on the scale of 0 to 255.

    Parameters
    ----------
    spec : DataSpec
        Stack and slices.
    """

    def __init__(self, spec: DataSpec) -> None:
        self._stack = open_stack(spec.path)
        self.depth = len(self._stack)
        self.numbers = slice_numbers(spec, self.depth)
        self._grey: GreyScale | None = None
        self._kept: dict[int, NDArray[np.float32]] = {}

    def __getitem__(self, z: int) -> NDArray[np.float32]:
        if z not in self._kept:
            image = np.asarray(self._stack[z])
            self._grey = self._grey or GreyScale.of(image)
            filled = fill_no_data(image, find_no_data(image))
            self._kept[z] = 255 * self._grey.to_unit(filled)
        return self._kept[z]


def targets_of(
    specs: Sequence[DataSpec],
    reach: int,
    factors: Sequence[int],
    *,
    outer: bool = False,
    without: Sequence[DataSpec] = (),
) -> Iterator[Target]:
    """Yield every slice that has all its neighbours, once for each factor.

    Parameters
    ----------
    specs : sequence of DataSpec
        Stacks and slices.
    reach : int
        1: full neighbours on each side; 2: two on each side, all at low magnification.
    factors : sequence of int
        By how much slices are reduced.
    outer : bool
        Whether neighbours may lie outside of the slices named.
    without : sequence of DataSpec
        What is trained on: slices that are targets there are left out.
    """
    trained = {(spec.path, z) for spec in without for z in _inner(Slices(spec), reach)}
    for spec in specs:
        slices = Slices(spec)
        known = set(range(slices.depth) if outer else slices.numbers)
        for z in slices.numbers:
            others = [z + k for k in range(-reach, reach + 1) if k]
            if known.issuperset(others) and (spec.path, z) not in trained:
                for factor in sorted(set(factors)):
                    yield target(slices[z], [slices[k] for k in others], factor, reach > 1)


def _inner(slices: Slices, reach: int) -> list[int]:
    """Return the slices whose neighbours are also among those named."""
    known = set(slices.numbers)
    return [z for z in slices.numbers if known.issuperset(range(z - reach, z + reach + 1))]


def target(
    truth: NDArray[np.float32],
    others: Sequence[NDArray[np.float32]],
    factor: int,
    all_low: bool,
) -> Target:
    """Return a target, cut to a multiple of the factor; see `Target` and `targets_of`."""
    height, width = (side // factor * factor for side in truth.shape)
    whole = [torch.from_numpy(image[:height, :width])[None, None] for image in (truth, *others)]
    low = reduce_area(whole[0], factor)[0, 0].numpy()
    if all_low:
        whole[1:] = [band_of_low(image, factor) for image in whole[1:]]
    found = align(low, [image[0, 0].numpy() for image in whole[1:]], factor)
    true = (whole[0] - found.level) / found.spread
    images = torch.cat([true, *found.neighbours], dim=1)[0].numpy().astype(np.float16)
    return Target(images, factor, found.spread)


class Samples:
    """Random crops of targets, turned, mirrored, zoomed and made worse.

    Parameters
    ----------
    targets : sequence of Target
        What they are cut from, each as often as its area says.
    factors : sequence of int
        Each as often as it stands here.
    crop : int
        Side, px.
    varied, degraded : float
        Shares whose neighbours, and whose low slice, are made worse.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        factors: Sequence[int],
        crop: int,
        varied: float,
        degraded: float,
    ) -> None:
        self._by_factor = {f: [t for t in targets if t.factor == f] for f in set(factors)}
        self._factors, self._crop = list(factors), crop
        self._varied, self._degraded = varied, degraded
        smallest = min((min(t.images.shape[1:]) for t in targets), default=0)
        if smallest < crop:
            raise InputError(
                "There is no slice to train on that has its neighbours and holds the crop of "
                f"{crop} px: give more slices in a row, or a smaller --crop."
            )

    def batch(self, rng: np.random.Generator, count: int) -> tuple[list[Aligned], Tensor]:
        """Return samples of one factor, and their true slices (B, 1, crop, crop)."""
        factor = int(rng.choice(self._factors))
        given = self._by_factor[factor]
        areas = np.array([t.images[0].size for t in given], float)
        made, true = [], []
        for _ in range(count):
            picked = given[int(rng.choice(len(given), p=areas / areas.sum()))]
            images = torch.from_numpy(self._cut(picked.images, rng))
            if rng.random() < self._varied:
                images = _varied(images, rng)
            low = _low(images[:1], factor, rng if rng.random() < self._degraded else None)
            sample = as_aligned(images, low, factor)
            if len(images) > 3 and rng.random() < _ALONE:
                sample = replace(sample, neighbours=(sample.base,) * (len(images) - 1))
            made.append(sample)
            true.append(images[:1])
        return made, torch.stack(true)

    def _cut(self, images: NDArray[np.float16], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return a crop of all images, turned, mirrored, and maybe seen at another size."""
        zoom = 1.0
        if rng.random() < _ZOOMED:
            zoom = float(rng.uniform(*_ZOOMS))
        side = min(round(self._crop / zoom), *images.shape[1:])
        top, left = (int(rng.integers(full - side + 1)) for full in images.shape[1:])
        part = images[:, top : top + side, left : left + side].astype(np.float32)
        if side != self._crop:
            kind = cv2.INTER_AREA if side > self._crop else cv2.INTER_CUBIC
            size = (self._crop, self._crop)
            part = np.stack([cv2.resize(image, size, interpolation=kind) for image in part])
        part = np.rot90(part, int(rng.integers(4)), (1, 2))
        if rng.random() < 0.5:
            part = part[:, :, ::-1]
        if rng.random() < 0.5:
            # As the stack is seen from its other side.
            part = part[[0, *range(len(part) - 1, 0, -1)]]
        return np.ascontiguousarray(part)


def as_aligned(images: Tensor, low: Tensor, factor: int) -> Aligned:
    """Return the true slice and its neighbours (1 + N, Y, X), given its low slice (1, y, x)."""
    small = low[None]
    base = back_project(enlarge_cubic(small, factor), small, factor)
    neighbours = tuple(image[None, None] for image in images[1:])
    return Aligned(small, factor, base, neighbours, 0.0, 1.0)


def _low(true: Tensor, factor: int, rng: np.random.Generator | None) -> Tensor:
    """Return a true slice (1, Y, X) as a low one: area means, maybe blurred, moved and noisy."""
    if rng is None:
        return F.avg_pool2d(true, factor)
    blur, shift = rng.uniform(0, 0.7) * factor, rng.integers(-(factor // 4), factor // 4 + 1, 2)
    moved: Any = torch.roll(true, tuple(int(k) for k in shift), (-2, -1))
    low = F.avg_pool2d(gaussian(moved[None], blur)[0] if blur > 0.3 else moved, factor)
    noise = torch.from_numpy(rng.normal(0, rng.uniform(0, 0.1), low.shape).astype(np.float32))
    return low * float(rng.uniform(0.95, 1.05)) + noise


def _varied(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Return images of which all are smoother, or the neighbours differ, or one lacks."""
    out = images.clone()
    if rng.random() < 0.5:
        # Smooth data: adult fly volumes have less noise than larval ones.
        out = gaussian(out[:, None], float(rng.uniform(0.6, 1.8)))[:, 0]
    for k in range(1, len(out)):
        gain, offset = rng.uniform(0.8, 1.25), rng.normal(0, 0.15)
        out[k] = out[k] * float(gain) + float(offset)
        if rng.random() < 0.2:
            noise = rng.normal(0, rng.uniform(0.05, 0.25), out[k].shape)
            out[k] += torch.from_numpy(noise.astype(np.float32))
    if rng.random() < 0.1:
        half = (len(out) - 1) // 2
        for k in range(1, half + 1):
            out[k] = out[len(out) - k]
    return out
