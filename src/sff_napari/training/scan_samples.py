"""Draw pairs of distorted and clean images to train scan restoration on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sff_napari.arrays import GreyScale
from sff_napari.errors import InputError
from sff_napari.scan_distortion.ranges import ScanRanges
from sff_napari.scan_distortion.simulation import distort
from sff_napari.scan_distortion.specimens import specimen, with_structures
from sff_napari.stacks import open_stack
from sff_napari.training.settings import DataSpec

Image = NDArray[np.float32]

BLUR = 1.2
"""Gaussian, px, that takes a micrograph's own noise before it is halved."""
SIDE = 256
_SPECIMENS = {
    "lattice": 0.38,
    "fringes": 0.15,
    "particles": 0.13,
    "facets": 0.1,
    "blobs": 0.08,
    "noise": 0.06,
    "tissue": 0.03,
    "structures": 0.07,
}
_OWN_SHARE = 0.4
"""Share of pairs that are tissue, where there is any."""
_RENEW_EVERY = 4
_STRENGTHS: tuple[tuple[float, ScanRanges], ...] = (
    (
        0.04,
        ScanRanges(
            jitter=(0, 0), pixel_jitter=(0, 0), drift_share=0, flyback_share=0,
            counts=(1e6, 1e6), detector_share=0, noise=(0, 0), row_offset_share=0,
            dead_pixels=(0, 0), dead_segments=(0, 0), interlaced_share=0,
        ),
    ),
    (
        0.08,
        ScanRanges(
            jitter=(0.03, 0.5), pixel_jitter=(0, 0.1), drift_share=0.2, flyback_share=0.1,
            counts=(100, 10_000), detector_share=0.2, noise=(0, 0.02), row_offset=(0, 0.01),
            dead_segments=(0, 0.3), interlaced_share=0,
        ),
    ),
    (0.53, replace(ScanRanges(), drift=(0, 0.01), flyback_share=0.15, interlaced_share=0.05)),
    (
        0.35,
        ScanRanges(
            jitter=(0.1, 5), drift=(0, 0.01), flyback_share=0.1, interlaced_share=0.05,
            counts=(0.5, 30), noise=(0, 0.5),
            detector=(0.3, 5), row_offset=(0, 0.08),
        ),
    ),
)  # fmt: skip
"""How often scans of these ranges are drawn: clean, mild, usual, few electrons."""


def read_clean(specs: Sequence[DataSpec]) -> list[Image]:
    """Return the slices of stacks, blurred and halved, in [0, 1].

    Raises
    ------
    InputError
        If a slice does not exist.
    StackError
        If a stack cannot be read.
    """
    images = []
    for spec in specs:
        stack = open_stack(spec.path)
        depth = len(stack)
        ranges = spec.slices or ((0, depth - 1),)
        for z in sorted({z for first, last in ranges for z in range(first, last + 1)}):
            if z >= depth:
                raise InputError(
                    f"{spec.path} has slices 0 to {depth - 1}, but slice {z} was asked for."
                )
            images.append(clean_slice(np.asarray(stack[z])))
    return images


def clean_slice(image: NDArray[np.generic]) -> Image:
    """Return a slice (Y, X) in [0, 1], its noise taken by a blur and by halving."""
    unit = np.clip(np.nan_to_num(GreyScale.of(image).to_unit(image)), 0, 1)
    smooth = cv2.GaussianBlur(unit, (0, 0), BLUR)
    height, width = (side // 2 * 2 for side in smooth.shape)
    half = cv2.resize(
        smooth[:height, :width], (width // 2, height // 2), interpolation=cv2.INTER_AREA
    )
    return np.asarray(half, np.float32)


class ScanPairs:
    """Endless pairs, half of tissue (where there is any) and half of synthetic specimens.

    Parameters
    ----------
    tissue : sequence of ndarray, (Y, X)
        Clean images in [0, 1].
    crop : int
        Side of a pair, px.
    seed : int
        The same seed gives the same pairs.
    bank : int
        How many specimens are kept, once so many were drawn; then new ones take their places.
    """

    def __init__(self, tissue: Sequence[Image], crop: int, seed: int, bank: int = 256) -> None:
        self._tissue = [image for image in tissue if min(image.shape) >= crop]
        if tissue and not self._tissue:
            raise InputError(f"Every slice is smaller than the crop of {crop}: choose a smaller.")
        self._crop = crop
        self._rng = np.random.default_rng(seed)
        self._bank: list[Image] = []
        self._most = bank

    def batch(self, count: int) -> tuple[Image, Image]:
        """Return distorted and clean images, each (count, crop, crop)."""
        if self._rng.random() < 1 / _RENEW_EVERY:
            self.renew()
        pairs = [self.pair() for _ in range(count)]
        return np.stack([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs])

    def pair(self, own_share: float = _OWN_SHARE) -> tuple[Image, Image]:
        """Return one distorted and one clean image, (crop, crop), this share being tissue."""
        rng = self._rng
        clean = self._clean(own_share)
        shares = [share for share, _ in _STRENGTHS]
        ranges = _STRENGTHS[rng.choice(len(shares), p=shares)][1]
        made = distort(clean, rng, ranges)
        distorted, truth = made.distorted, made.truth
        if rng.random() < 0.2:
            distorted, truth = _with_inset(distorted, truth, rng)
        if rng.random() < 0.5:
            distorted, truth = distorted[::-1], truth[::-1]
        return distorted, truth

    def renew(self) -> None:
        """Put a new specimen in the place of one."""
        if len(self._bank) == self._most:
            self._bank[self._rng.integers(self._most)] = self._new_specimen()

    def _new_specimen(self) -> Image:
        kind = self._rng.choice(list(_SPECIMENS), p=list(_SPECIMENS.values()))
        return specimen(str(kind), (SIDE, SIDE), int(self._rng.integers(1 << 62)))

    def _clean(self, own_share: float) -> Image:
        rng, crop = self._rng, self._crop
        own = bool(self._tissue) and rng.random() < own_share
        if not own and len(self._bank) < self._most:
            self._bank.append(self._new_specimen())
        source = self._tissue if own else self._bank
        image = source[rng.integers(len(source))]
        top, left = (int(rng.integers(side - crop + 1)) for side in image.shape)
        part = image[top : top + crop, left : left + crop]
        part = np.rot90(part, int(rng.integers(4)))
        part = part[:, ::-1] if rng.random() < 0.5 else part
        part = np.ascontiguousarray(part)
        if own:
            contrast = rng.uniform(0.3, 1.0)
            part = contrast * part + rng.uniform(0, 1 - contrast)
            part = 1 - part if rng.random() < 0.3 else part
            if rng.random() < 0.12:
                part = np.clip(with_structures(part.astype(np.float32), rng), 0, 1)
        return np.ascontiguousarray(part, np.float32)


def _with_inset(distorted: Image, truth: Image, rng: np.random.Generator) -> tuple[Image, Image]:
    """Return a pair with something that was not scanned: a label, or no image at all."""
    height, width = truth.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    if rng.random() < 0.5:
        angle, part = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.45)
        place = np.cos(angle) * (x / width - 0.5) + np.sin(angle) * (y / height - 0.5)
        where = place > part
        value = np.full_like(truth, rng.uniform(0, 1))
    else:
        box = [int(side * rng.uniform(0.08, 0.4)) + 2 for side in truth.shape]
        top, left = rng.integers(0, height - box[0] + 1), rng.integers(0, width - box[1] + 1)
        where = np.zeros(truth.shape, np.bool_)
        where[top : top + box[0], left : left + box[1]] = True
        value = np.full_like(truth, rng.uniform(0, 1))
        if rng.random() < 0.6:
            word = "".join(chr(code) for code in rng.integers(48, 123, 6))
            place = (int(left) + 2, int(top) + box[0] - 4)
            ink = np.zeros(truth.shape, np.uint8)
            size, thick = float(rng.uniform(0.3, 0.9)), int(rng.integers(1, 3))
            cv2.putText(ink, word, place, int(rng.integers(0, 5)), size, 255, thick, cv2.LINE_AA)
            share = ink.astype(np.float32) / 255
            value += share * (np.float32(rng.uniform(0, 1)) - value)
    return np.where(where, value, distorted), np.where(where, value, truth)
