"""Take grey values out of images that are stored as colours, by a palette, or upside down."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import StackError

JPEG_TOLERANCE = 4
"""How far the channels of a grey image lie apart after lossy compression."""


def grey_of_channels(array: NDArray[Any], name: str, tolerance: float = 0) -> NDArray[Any]:
    """Return the grey values of an image whose red, green and blue are the same.

    Parameters
    ----------
    array : ndarray, (Y, X, channels)
        Grey; grey and opacity; red, green and blue; or those and opacity.
    name : str
        What the error calls the image.
    tolerance : float
        How much they may differ.

    Returns
    -------
    ndarray, (Y, X)
        The first channel; opacity is left out.

    Raises
    ------
    StackError
        If it is in colour.
    """
    if array.shape[-1] >= 3:
        first = array[..., 0].astype(np.float64)
        apart = max(float(np.max(np.abs(first - array[..., i]))) for i in (1, 2))
        if not apart <= tolerance:
            raise StackError(f"{name} is a colour image: convert it to grey values.")
    return np.ascontiguousarray(array[..., 0])


def grey_of_palette(palette: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Return the grey value of each entry of a palette.

    Parameters
    ----------
    palette : ndarray, (entries, 3)
        Red, green and blue, 8 or 16 bits.
    name : str
        What the error calls the image.

    Raises
    ------
    StackError
        If it has colours.
    """
    values = np.asarray(palette)
    if (values != values[:, :1]).any():
        raise StackError(f"{name} is a colour image: convert it to grey values.")
    return np.asarray(values[:, 0] >> 8 if values.max() > 255 else values[:, 0], dtype=np.uint8)


def inverted(array: NDArray[Any]) -> NDArray[Any]:
    """Return an image with white and black exchanged; twice is the image itself.

    Parameters
    ----------
    array : ndarray
        Integers are subtracted from the largest of their dtype, floats from 0.
    """
    if array.dtype.kind == "u":
        return np.asarray(np.iinfo(array.dtype).max - array, dtype=array.dtype)
    return np.asarray(-array)
