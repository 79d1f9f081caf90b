"""Read slices at a reduced scale: from a level of the pyramid, or averaged on the way."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import InputError
from sff_napari.no_data import find_no_data
from sff_napari.stacks import Stack

_BAND = 16 * 2**20
"""Pixels of the full scale that are averaged at a time."""


class CoarseReader:
    """The slices of a stack, reduced by a whole factor.

    Parameters
    ----------
    stack : Stack
        The volume.
    factor : int
        How many pixels of the stack one of its pixels stands for, along y and x.

    Raises
    ------
    InputError
        If the factor is not a whole number of at least 1.
    """

    def __init__(self, stack: Stack, factor: int) -> None:
        if isinstance(factor, bool) or int(factor) != factor or factor < 1:
            raise InputError(f"The reduction {factor!r} must be a whole number of at least 1.")
        self.factor = int(factor)
        self._stack, self._left = _nearest_level(stack, self.factor)
        height, width = stack.shape[1:]
        self.shape: tuple[int, int] = (-(-height // self.factor), -(-width // self.factor))

    @property
    def from_pyramid(self) -> bool:
        """Whether less is averaged here because the stack has a coarser level."""
        return self._left < self.factor

    def read(self, first: int, last: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Return a part of the slices from `first` to `last`, reduced.

        Memory depends on the part alone.

        Parameters
        ----------
        first, last : int
            The slices, both included.
        rows, columns : slice
            The part, in reduced pixels.

        Returns
        -------
        ndarray, (slices, rows, columns)
            In the dtype of the stack; float32 for float16.  NaN pixels count
            for nothing in the means.

        Raises
        ------
        StackError
            If it cannot be read.
        """
        top, bottom, _ = rows.indices(self.shape[0])
        left, right, _ = columns.indices(self.shape[1])
        scale = self._left
        wide = slice(left * scale, right * scale)
        step = max(1, _BAND // max(1, (last + 1 - first) * (right - left) * scale * scale))
        bands = [
            self._band(first, last, slice(y * scale, min(y + step, bottom) * scale), wide)
            for y in range(top, bottom, step)
        ]
        # A level made by another program may be a pixel smaller than the size rounded up.
        found = np.concatenate(bands, axis=1)
        missing = (0, bottom - top - found.shape[1], right - left - found.shape[2])
        if any(missing):
            found = np.pad(found, [(0, max(0, n)) for n in missing], mode="edge")
        return found

    def _band(self, first: int, last: int, rows: slice, columns: slice) -> NDArray[Any]:
        height, width = self._stack.shape[1:]
        rows = slice(min(rows.start, height - 1), rows.stop)
        columns = slice(min(columns.start, width - 1), columns.stop)
        block = self._stack.read_block(first, last, rows, columns)
        return np.stack([reduced(_without_gaps(image), self._left) for image in block])


def _without_gaps(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image with NaN where it holds no data: means must not mix the two."""
    mask = find_no_data(image)
    if mask is None:
        return image
    image = image.astype(np.float64 if image.dtype == np.float64 else np.float32)
    image[mask] = np.nan
    return image


def _nearest_level(stack: Stack, factor: int) -> tuple[Stack, int]:
    """Return the coarsest version that is fine enough, and what is left to be averaged."""
    best, left = stack, factor
    for level in stack.levels:
        if level.rows == level.columns and level.rows <= factor and factor % level.rows == 0:
            best, left = level.stack, factor // int(level.rows)
    return best, left


def reduced(image: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return an image (Y, X) reduced to the means of squares of pixels.

    Parameters
    ----------
    image : ndarray, (Y, X)
        Of any supported dtype; NaN counts for nothing.
    factor : int
        Side of the squares, px; the last row and column are repeated to whole ones.

    Returns
    -------
    ndarray, (ceil(Y / factor), ceil(X / factor))
        Rounded to the dtype of the image; float32 for float16.
    """
    if image.dtype == np.float16:
        image = image.astype(np.float32)
    if factor == 1:
        return image
    below, beside = (-side % factor for side in image.shape)
    if below or beside:
        image = np.pad(image, ((0, below), (0, beside)), mode="edge")
    size = (image.shape[1] // factor, image.shape[0] // factor)
    if image.dtype.kind in "ui":
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    known = np.isfinite(image)
    if known.all():
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    share = cv2.resize(known.astype(image.dtype), size, interpolation=cv2.INTER_AREA)
    filled = np.where(known, image, 0).astype(image.dtype)
    total = cv2.resize(filled, size, interpolation=cv2.INTER_AREA)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(share > 0, total / share, np.nan).astype(image.dtype))
