"""Whatever array a layer holds as one that the core understands, read lazily.

This is the only place where the plugin deals with the layers' array types.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.napari_plugin.layers.lazy_array import LazyArray

_CORE_DTYPES = ("uint8", "uint16", "float16", "float32", "float64")


def dtype_of(array: Any) -> np.dtype[Any]:
    """Return the data type of an array in the byte order of this machine."""
    kind = array.dtype
    # tensorstore has data types of its own.
    kind = getattr(kind, "numpy_dtype", kind)
    return np.dtype(kind).newbyteorder("=")


def as_native(array: Any) -> Any:
    """Return an array whose parts are read as NumPy arrays in native byte order.

    Parameters
    ----------
    array : array_like
        NumPy, dask, zarr, tensorstore or anything else that napari shows.

    Returns
    -------
    array_like
        The array itself where nothing has to be converted, else a `NativeArray`.
    """
    if isinstance(array, NativeArray):
        return array
    is_plain = isinstance(getattr(array, "dtype", None), np.dtype)
    if is_plain and array.dtype.isnative and not hasattr(array, "domain"):
        return array
    return NativeArray(array)


class NativeArray(LazyArray):
    """A lazy view of an array of another kind or byte order.

    Parameters
    ----------
    array : array_like
        With ``shape``, ``dtype`` and indexing.
    """

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape = tuple(int(n) for n in array.shape)
        self.dtype = dtype_of(array)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return np.asarray(self._array[key]).astype(self.dtype, copy=False)


def as_core_input(image: NDArray[Any]) -> NDArray[Any]:
    """Return a slice in a data type that the core takes: other integers become float32."""
    return image if image.dtype.name in _CORE_DTYPES else image.astype(np.float32)


def as_stored(image: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a result in the stack's data type, rounded and clipped for integers."""
    if image.dtype == dtype:
        return image
    if dtype.kind == "b":
        return image > 0.5
    if dtype.kind in "ui" and image.dtype.kind == "f":
        info = np.iinfo(dtype)
        return np.clip(np.rint(np.nan_to_num(image)), info.min, info.max).astype(dtype)
    return image.astype(dtype)
