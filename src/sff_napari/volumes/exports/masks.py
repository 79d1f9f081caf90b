"""Mark which pixels of a slice belong to a fold, part by part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from sff_napari.errors import InputError
from sff_napari.folds import Curve, Fold

TILE = 1024
"""Side of the parts in which masks are made, px of the mask."""


class FoldMasks:
    """Masks of the folds of a volume.

    Parameters
    ----------
    folds : mapping of int to sequence of Fold
        The folds of each slice.
    shape : (Z, Y, X)
        Of the volume, px.
    margin : float
        How far beyond the edges of the dark line the mask reaches, px.

    Raises
    ------
    InputError
        If the margin is negative.
    """

    def __init__(
        self,
        folds: Mapping[int, Sequence[Fold]],
        shape: tuple[int, int, int],
        margin: float = 0.0,
    ) -> None:
        if not margin >= 0:
            raise InputError(f"The margin is {margin:g} px: it must be 0 or larger.")
        self.shape = shape
        self._margin = float(margin)
        self._folds = {z: tuple(found) for z, found in sorted(folds.items()) if found}

    @property
    def slices(self) -> list[int]:
        """The slices that have folds, in order."""
        return list(self._folds)

    def size(self, mip: int = 0) -> tuple[int, int]:
        """Return the size (Y, X) of a mask reduced by ``2**mip``, rounded up."""
        return -(-self.shape[1] >> mip), -(-self.shape[2] >> mip)

    def tiles(self, z: int, mip: int = 0, side: int = TILE) -> Iterator[tuple[slice, slice]]:
        """Yield the tiles of slice `z` that a fold may touch, as rows and columns of the mask.

        Parameters
        ----------
        z : int
            The slice.
        mip : int
            The mask is reduced by ``2**mip``.
        side : int
            Of the tiles, px of the mask; they begin at multiples of it.
        """
        height, width = self.size(mip)
        wanted: set[tuple[int, int]] = set()
        for fold in self._folds.get(z, ()):
            reach = (fold.widest + self._margin) / 2**mip + 2
            points = _sampled(fold, side * 2.0**mip / 4) / 2**mip
            # Points lie a quarter of a tile apart: what is between them is near one of them.
            low = np.floor((points - reach - side / 8) / side).astype(int)
            high = np.floor((points + reach + side / 8) / side).astype(int)
            for (y0, x0), (y1, x1) in zip(low, high, strict=True):
                wanted |= {(y, x) for y in range(y0, y1 + 1) for x in range(x0, x1 + 1)}
        for y, x in sorted(wanted):
            rows = slice(y * side, min((y + 1) * side, height))
            columns = slice(x * side, min((x + 1) * side, width))
            if 0 <= rows.start < height and 0 <= columns.start < width:
                yield rows, columns

    def read(self, z: int, rows: slice, columns: slice, mip: int = 0) -> NDArray[np.bool_]:
        """Return a part of the mask of slice `z`.

        A pixel of a reduced mask is True if any of the pixels is that it
        stands for, as masks must be reduced.

        Parameters
        ----------
        z : int
            The slice.
        rows, columns : slice
            The part, px of the reduced mask.
        mip : int
            The mask is reduced by ``2**mip``.
        """
        factor = 1 << mip
        top, bottom = rows.start * factor, min(rows.stop * factor, self.shape[1])
        left, right = columns.start * factor, min(columns.stop * factor, self.shape[2])
        fine = self._fine(z, top, bottom, left, right)
        below, beside = (-side % factor for side in fine.shape)
        padded = np.pad(fine, ((0, below), (0, beside)))
        shape = (padded.shape[0] // factor, factor, padded.shape[1] // factor, factor)
        return np.asarray(padded.reshape(shape).any(axis=(1, 3)))

    def _fine(self, z: int, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        folds = self._folds.get(z, ())
        # Around the part, so that no shape that touches it is cut off at the border of the
        # canvas: cut shapes are filled a pixel differently.
        around = int(max((4 * (fold.widest + self._margin) for fold in folds), default=0)) + 16
        canvas = np.zeros((bottom - top + 2 * around, right - left + 2 * around), np.uint8)
        for fold in folds:
            _draw(canvas, fold, self._margin, (top - around, left - around))
        return canvas[around:-around, around:-around] > 0


def _draw(canvas: NDArray[np.uint8], fold: Fold, margin: float, origin: tuple[int, int]) -> None:
    """Fill the band of a fold: the polygon between its two edges."""
    curve = Curve.of(fold, dtype=torch.float64)
    along = torch.linspace(0, curve.length, max(2, int(curve.length / 4) + 1), dtype=torch.float64)
    points, ways = curve.at(along)
    points_, ways_ = points.T.numpy(), ways.T.numpy()
    widths = np.full(len(points_), fold.half_width)
    if fold.half_widths is not None:
        widths = np.interp(along.numpy(), curve.vertices_along, fold.half_widths)
    normals = np.stack([ways_[:, 1], -ways_[:, 0]], axis=1)
    reach = (widths + margin)[:, None]
    one, two = points_ + reach * normals, points_ - reach * normals
    height, width = canvas.shape
    shift = 4
    # Quadrilaterals one after another: a bend sharper than the band is wide is filled as well.
    for i in range(len(points_) - 1):
        corners = np.stack([one[i], one[i + 1], two[i + 1], two[i]]) - origin
        if (corners.min(axis=0) < 0).any() or (corners.max(axis=0) >= (height, width)).any():
            continue
        # OpenCV has x first, and whole numbers with `shift` binary places.
        polygon = np.rint(corners[:, ::-1] * (1 << shift)).astype(np.int32)
        cv2.fillConvexPoly(canvas, polygon, 1, lineType=cv2.LINE_8, shift=shift)


def _sampled(fold: Fold, step: float) -> NDArray[np.float64]:
    curve = Curve.of(fold, dtype=torch.float64)
    count = max(2, int(curve.length / step) + 2)
    along = torch.linspace(0, curve.length, count, dtype=torch.float64)
    return np.asarray(curve.at(along)[0].T.numpy())
