"""Lay the grid of a low-magnification slice over that of the stack.

The *frame* is the low slice's own grid at full resolution: `factor` pixels a side for
each of its pixels.  A placement, a `Similarity`, says where in the frame the stack's
pixels lie; without one, the two share their first pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from sff_napari.alignment import Similarity
from sff_napari.errors import InputError
from sff_napari.low_magnification.resampling import enlarge_cubic

LARGEST_FACTOR = 32
_LEAST_OVERLAP = 0.05
"""Share of the stack's slice that the low one has to show."""
_STEPS = 4

Grey = NDArray[np.float32]


def in_place(shape: tuple[int, int]) -> Similarity:
    """Return the placement of a low slice that lies as the stack's slices (Y, X) do.

    Examples
    --------
    >>> from sff_napari.low_magnification.frame import in_place
    >>> in_place((64, 64)).displacement
    0.0
    """
    return Similarity(0.0, 1.0, (0.0, 0.0), 1.0, shape)


@dataclass(frozen=True)
class Frame:
    """A low slice's grid at full resolution, over a stack's.

    Parameters
    ----------
    low_shape : (y, x)
        Of the low slice.
    factor : int
        Pixels of the stack along the side of one of the low slice.
    stack_shape : (Y, X)
        Of the stack's slices.
    placement : Similarity
        Where in the frame the stack's pixels lie.

    Raises
    ------
    InputError
        If the two do not overlap.
    """

    low_shape: tuple[int, int]
    factor: int
    stack_shape: tuple[int, int]
    placement: Similarity

    def __post_init__(self) -> None:
        if self.covered().mean() < _LEAST_OVERLAP:
            raise InputError(
                "The low-magnification slice does not overlap the stack's slices where it is "
                "placed: place it anew, or let it be found."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.low_shape[0] * self.factor, self.low_shape[1] * self.factor

    @property
    def is_straight(self) -> bool:
        """Whether pixels of the stack are pixels of the frame."""
        move = self.placement
        return move.rotation_degrees == 0 and move.scale == 1 and move.shift == (0.0, 0.0)

    def covered(self) -> NDArray[np.bool_]:
        """Return which of the stack's pixels the low slice shows, (Y, X)."""
        if self.is_straight:
            mask = np.zeros(self.stack_shape, np.bool_)
            mask[: self.shape[0], : self.shape[1]] = True
            return mask
        share = self._moved(np.ones(self.shape, np.float32), self.stack_shape, cv2.INTER_LINEAR)
        return np.asarray(share > 1 - 1e-3)

    def to_frame(self, image: Grey, *, fill: bool = True) -> Grey:
        """Return a slice of the stack (Y, X) in the frame, mirrored beyond its border.

        Parameters
        ----------
        image : ndarray, (Y, X) float32
            NaN-free.
        fill : bool
            Whether it is mirrored; else zero lies beyond.
        """
        if self.is_straight:
            rows, columns = (
                max(0, wanted - given)
                for wanted, given in zip(self.shape, self.stack_shape, strict=True)
            )
            mode: Any = "symmetric" if fill else "constant"
            padded = np.pad(image, ((0, rows), (0, columns)), mode=mode)
            return np.ascontiguousarray(padded[: self.shape[0], : self.shape[1]])
        kind = cv2.INTER_CUBIC if fill else cv2.INTER_LINEAR
        border = cv2.BORDER_REFLECT if fill else cv2.BORDER_CONSTANT
        size = (self.shape[1], self.shape[0])
        matrix = self.placement.matrix()
        return np.asarray(cv2.warpAffine(image, matrix, size, flags=kind, borderMode=border))

    def to_stack(self, image: Grey) -> Grey:
        """Return what the frame shows (Y', X') in the stack's grid (Y, X), NaN where nothing."""
        out: Grey
        if self.is_straight:
            out = np.full(self.stack_shape, np.nan, np.float32)
            part = image[: self.stack_shape[0], : self.stack_shape[1]]
            out[: part.shape[0], : part.shape[1]] = part
            return out
        out = self._moved(image, self.stack_shape, cv2.INTER_CUBIC)
        out[~self.covered()] = np.nan
        return out

    def reduce(self, image: Grey) -> tuple[Grey, NDArray[np.bool_]]:
        """Return a slice of the stack (Y, X) as the low one would show it, and where it can.

        Returns
        -------
        low : ndarray, (y, x) float32
            Means of blocks.
        whole : ndarray, (y, x) bool
            Where the block lies in the stack's slice.
        """
        known = self.to_frame(np.ones(self.stack_shape, np.float32), fill=False)
        return self._means(self.to_frame(image)), self._means(known) > 1 - 1e-3

    def agree(self, image: Grey, low: Grey) -> Grey:
        """Return a slice of the stack (Y, X), NaN-free, changed so that it reduces to `low`."""
        for _ in range(_STEPS):
            found, whole = self.reduce(image)
            rest = torch.from_numpy(np.where(whole, low - found, 0).astype(np.float32))
            smooth = enlarge_cubic(rest[None, None], self.factor)[0, 0].numpy()
            image = image + np.nan_to_num(self.to_stack(smooth))
        return image

    def _moved(self, image: Grey, shape: tuple[int, int], kind: int) -> Grey:
        flags = kind | cv2.WARP_INVERSE_MAP
        border = cv2.BORDER_CONSTANT if kind == cv2.INTER_LINEAR else cv2.BORDER_REFLECT
        matrix = self.placement.matrix()
        size = (shape[1], shape[0])
        return np.asarray(cv2.warpAffine(image, matrix, size, flags=flags, borderMode=border))

    def _means(self, image: Grey) -> Grey:
        rows, columns = self.low_shape
        blocks = image.reshape(rows, self.factor, columns, self.factor)
        return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))


def check_factor(
    low_shape: tuple[int, int], factor: float, stack_shape: tuple[int, int] | None
) -> int:
    """Return the factor as an integer if a low slice can lie in a stack's with it.

    Parameters
    ----------
    low_shape : (y, x)
        Of the low slice.
    factor : float
        Pixels of the stack along the side of one of the low slice.
    stack_shape : (Y, X), optional
        Of the stack's slices.

    Raises
    ------
    InputError
        If it is no whole number from 2 to 32, or the low slice so enlarged is more
        than a quarter larger or smaller than the stack's slices.
    """
    if not (float(factor).is_integer() and 2 <= factor <= LARGEST_FACTOR):
        raise InputError(
            f"The factor is {factor:g}: give a whole number from 2 to {LARGEST_FACTOR}, how many "
            "pixels of the stack lie along the side of one of the low-magnification slice."
        )
    if stack_shape is None:
        return int(factor)
    ratios = [full / part for full, part in zip(stack_shape, low_shape, strict=True)]
    if all(0.8 < ratio / factor < 1.25 for ratio in ratios):
        return int(factor)
    wanted = round(math.sqrt(ratios[0] * ratios[1]))
    fits = max(ratios) / min(ratios) < 1.2 and 2 <= wanted <= LARGEST_FACTOR and wanted != factor
    advice = f"the factor is about {wanted}" if fits else "cut it to what the stack shows"
    raise InputError(
        f"The low-magnification slice has {low_shape[0]} x {low_shape[1]} px: {int(factor)} times "
        f"enlarged that is {low_shape[0] * int(factor)} x {low_shape[1] * int(factor)} px, but the "
        f"stack's slices have {stack_shape[0]} x {stack_shape[1]}: {advice}."
    )
