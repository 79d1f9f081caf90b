"""Check slices that come from users, and keep their dtype."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import InputError
from sff_napari.no_data import robust_range

MIN_SIDE = 32
"""Smallest side of a slice, in pixels, that a fold can be looked for in."""

_LEAST_SHARE = 0.1
"""Share of a usual range (0 to 1, 0 to 255) that floats in it must fill to be taken for it."""
_BEYOND = 0.5
_SUPPORTED = "uint8, uint16, float32 or float64"


def as_slice(image: Any, name: str = "image", least: int = MIN_SIDE) -> NDArray[Any]:
    """Return `image` as a checked two-dimensional NumPy array.

    Parameters
    ----------
    image : array_like, (Y, X)
        NumPy, dask or zarr array; uint8, uint16, float16, float32 or float64.
        dask and zarr arrays are read here.
    name : str
        What the error message calls the array.
    least : int
        Smallest side that will do, px.

    Returns
    -------
    ndarray, (Y, X)
        In the input's own dtype.  NaN is allowed only in part of the array.

    Raises
    ------
    InputError
        If it has another number of dimensions, another dtype, is empty or too
        small, or holds no finite value.
    """
    shape = getattr(image, "shape", None)
    if shape is not None and len(shape) != 2:
        raise InputError(
            f"The {name} has {len(shape)} dimensions, but one slice with (Y, X) is needed: "
            "choose a single slice of the stack."
        )
    if hasattr(image, "compute"):
        image = image.compute()
    array = np.asarray(image)
    if array.ndim != 2:
        raise InputError(
            f"The {name} has {array.ndim} dimensions, but one slice with (Y, X) is needed: "
            "choose a single slice of the stack."
        )
    if array.size == 0:
        raise InputError(f"The {name} is empty (shape {array.shape}): choose a slice with pixels.")
    if array.dtype.newbyteorder("=") == np.float16:
        array = array.astype(np.float32)
    if array.dtype.newbyteorder("=") not in (np.uint8, np.uint16, np.float32, np.float64):
        raise InputError(
            f"The {name} has dtype {array.dtype}, which is not supported: "
            f"convert it to {_SUPPORTED}."
        )
    if min(array.shape) < least:
        raise InputError(
            f"The {name} is only {array.shape[0]} x {array.shape[1]} pixels: "
            f"at least {least} x {least} are needed."
        )
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype.kind == "f" and not np.isfinite(array).any():
        raise InputError(f"The {name} holds no finite value: it is NaN or infinite everywhere.")
    return array


@dataclass(frozen=True)
class GreyScale:
    """How the grey values of one slice map to the working range [0, 1].

    Parameters
    ----------
    dtype : numpy dtype
        What results are given back in.
    low, high : float
        Grey values that map to 0 and 1: the dtype's own range for integers; for
        floats the range in use (0 and 1 or 0 and 255 when it fits, else the
        data's own, outliers left out), so that 8-bit data behave alike in
        every dtype and neither a hot pixel nor the units matter.
    """

    dtype: np.dtype[Any]
    low: float
    high: float

    @classmethod
    def of(cls, array: NDArray[Any], no_data: NDArray[np.bool_] | None = None) -> GreyScale:
        """Return the grey scale that fits `array` (Y, X), pixels without data left out."""
        if array.dtype.kind in "ui":
            info = np.iinfo(array.dtype)
            return cls(array.dtype, 0.0, float(info.max))
        low, high = robust_range(array, no_data)
        for usual in (1.0, 255.0):
            if 0 <= low < high <= usual and high - low >= _LEAST_SHARE * usual:
                return cls(array.dtype, 0.0, usual)
        if high <= low:
            high = low + max(1.0, abs(low))
        return cls(array.dtype, low, high)

    def to_unit(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Return `array` as float32 with `low` at 0 and `high` at 1; NaN stays NaN.

        Outliers of a float array are cut off half of the range below and above it.
        """
        # In double precision where that matters: values around 1e9, or around 1e-40.
        exact = array.dtype == np.float64
        out: Any = array.astype(np.float64 if exact else np.float32)
        if self.low:
            out -= out.dtype.type(self.low)
        with np.errstate(over="ignore"):
            out *= out.dtype.type(1.0 / (self.high - self.low))
        if array.dtype.kind == "f":
            out[~np.isfinite(array)] = np.nan
            np.clip(out, -_BEYOND, 1 + _BEYOND, out=out)
        return np.asarray(out, dtype=np.float32)

    def from_unit(self, unit: NDArray[np.float32]) -> NDArray[Any]:
        """Return working values as grey values in `dtype`, rounded and clipped for integers."""
        exact = self.dtype == np.float64
        grey: Any = unit.astype(np.float64 if exact else np.float32, copy=True)
        grey *= grey.dtype.type(self.high - self.low)
        if self.low:
            grey += grey.dtype.type(self.low)
        if self.dtype.kind in "ui":
            np.rint(grey, out=grey)
            limits = np.iinfo(self.dtype)
            np.clip(grey, limits.min, limits.max, out=grey)
        return np.asarray(grey, dtype=self.dtype)


def is_constant(array: NDArray[Any]) -> bool:
    """Tell whether every finite value of `array` is the same."""
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    return finite.size == 0 or bool(finite.min() == finite.max())
