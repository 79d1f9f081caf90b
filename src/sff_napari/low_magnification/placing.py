"""Lay a low-magnification slice on the stack by hand: placements as maps between pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sff_napari.alignment import Similarity

Matrix = NDArray[np.float64]


def low_to_stack(placement: Similarity, factor: int) -> Matrix:
    """Return where on the stack the pixels of a low-magnification slice lie.

    Parameters
    ----------
    placement : Similarity
        Where in the frame the stack's pixels lie; see `Frame`.
    factor : int
        Pixels of the stack along the side of one of the low slice.

    Returns
    -------
    ndarray, (3, 3)
        From (y, x, 1) in pixels of the low slice to (y, x, 1) in pixels of the stack.

    Examples
    --------
    >>> from sff_napari.low_magnification import in_place
    >>> from sff_napari.low_magnification.placing import low_to_stack
    >>> (low_to_stack(in_place((64, 64)), 8) @ [0, 0, 1]).tolist()
    [3.5, 3.5, 1.0]
    """
    # `Similarity.matrix` takes (x, y); here both sides are (y, x).
    a = placement.matrix()[::-1][:, [1, 0, 2]]
    into_frame = np.vstack([a, [0, 0, 1]])
    half = (factor - 1) / 2
    up = np.array([[factor, 0, half], [0, factor, half], [0, 0, 1]], float)
    return np.asarray(np.linalg.inv(into_frame) @ up)


def placement_of(matrix: Matrix, factor: int, shape: tuple[int, int]) -> Similarity:
    """Return the placement nearest to an affine map from the low slice to the stack.

    Parameters
    ----------
    matrix : ndarray, (3, 3)
        As `low_to_stack` gives it; stretch and shear are left out.
    factor : int
        Pixels of the stack along the side of one of the low slice.
    shape : (Y, X)
        Of the stack's slices.
    """
    half = (factor - 1) / 2
    up = np.array([[factor, 0, half], [0, factor, half], [0, 0, 1]], float)
    into_frame = up @ np.linalg.inv(matrix)
    # The nearest turn with scale: [[a, -b], [b, a]] in (y, x).
    (yy, yx), (xy, xx) = into_frame[0, :2], into_frame[1, :2]
    a, b = (yy + xx) / 2, (xy - yx) / 2
    centre = (np.array(shape) - 1) / 2
    shift = into_frame[:2, :2] @ centre + into_frame[:2, 2] - centre
    return Similarity(
        math.degrees(math.atan2(b, a)),
        math.hypot(a, b),
        (float(shift[0]), float(shift[1])),
        0.0,
        shape,
    )
