"""A whole stack that shows something else on some of its slices, read lazily."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.napari_plugin.layers.lazy_array import LazyArray
from sff_napari.sessions.records import Index

LookUp = Callable[[Index], NDArray[Any] | None]


class PatchedStack(LazyArray):
    """An array-like of shape (..., Y, X) or (..., Y, X, C) for an image layer.

    Parameters
    ----------
    shape : tuple of int
        Its shape.
    dtype : numpy dtype
        Its data type.
    look_up : callable
        Gives the plane (Y, X) or (Y, X, C) of a slice, or None.
    base : array_like, optional
        What the other slices show; `fill` without it.
    fill : number
        Value of the other slices when there is no base.
    channels : int
        Number of trailing colour channels; 0 for grey.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: Any,
        look_up: LookUp,
        base: Any = None,
        fill: float = 0,
        channels: int = 0,
    ) -> None:
        self.shape = (*shape, channels) if channels else tuple(shape)
        self.dtype = np.dtype(dtype)
        self._look_up = look_up
        self.base = base
        self._fill = fill
        self._inner = 3 if channels else 2

    def __getitem__(self, key: Any) -> NDArray[Any]:
        outer, inner = self._split(key)
        for axis, part in enumerate(outer):
            if isinstance(part, slice | list | np.ndarray):
                if isinstance(part, slice):
                    places = list(range(*part.indices(self.shape[axis])))
                else:
                    places = [int(i) for i in np.asarray(part).ravel()]
                planes = [self[(*outer[:axis], i, *outer[axis + 1 :], *inner)] for i in places]
                if not planes:
                    one = self[(*outer[:axis], 0, *outer[axis + 1 :], *inner)]
                    return np.empty((0, *one.shape), dtype=self.dtype)
                return np.stack(planes)
        index = tuple(
            int(i) + (n if int(i) < 0 else 0) for i, n in zip(outer, self.shape, strict=False)
        )
        return self._plane(index, inner)

    def _split(self, key: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        key = key if isinstance(key, tuple) else (key,)
        if any(part is Ellipsis for part in key):
            at = next(i for i, part in enumerate(key) if part is Ellipsis)
            missing = self.ndim - len(key) + 1
            key = (*key[:at], *(slice(None),) * missing, *key[at + 1 :])
        key = (*key, *(slice(None),) * (self.ndim - len(key)))
        count = self.ndim - self._inner
        return key[:count], key[count:]

    def _plane(self, index: Index, inner: tuple[Any, ...]) -> NDArray[Any]:
        plane = self._look_up(index)
        if plane is not None:
            return np.asarray(plane[inner], dtype=self.dtype)
        if self.base is not None:
            return np.asarray(self.base[(*index, *inner)])
        empty = np.broadcast_to(np.asarray(self._fill, self.dtype), self.shape[-self._inner :])
        return np.array(empty[inner])


class PatchedLevel(PatchedStack):
    """One level of a pyramid that shows other planes where slices have a result.

    Parameters
    ----------
    level : array_like, (..., Y, X)
        The level; coarser than the finest one on any axis.
    finest : array_like, (..., Y, X)
        The finest level.
    dtype : numpy dtype
        Data type of both.
    look_up : callable
        Gives the plane (Y, X) of a slice of the finest level, or None.
    """

    def __init__(self, level: Any, finest: Any, dtype: Any, look_up: LookUp) -> None:
        super().__init__(tuple(int(n) for n in level.shape), dtype, self._coarse, base=level)
        self._finest = finest
        self._result = look_up

    def _coarse(self, index: Index) -> NDArray[Any] | None:
        """Return the mean of the slices that a plane of this level stands for, shrunk."""
        planes: list[NDArray[Any]] = []
        covered = self._covered(index)
        results = [self._result(i) for i in covered]
        if all(plane is None for plane in results):
            return None
        shape = (self.shape[-2], self.shape[-1])
        for i, plane in zip(covered, results, strict=True):
            whole = np.asarray(self._finest[i]) if plane is None else plane
            planes.append(whole if whole.shape == shape else shrink(whole, shape))
        if len(planes) == 1:
            return planes[0]
        mean = np.asarray(np.mean(planes, axis=0, dtype=np.float64))
        return mean if self.dtype.kind == "f" else np.asarray(np.rint(mean))

    def _covered(self, index: Index) -> list[Index]:
        """Return the slices of the finest level that a plane of this level stands for."""
        ranges = []
        for place, coarse, fine in zip(index, self.shape, self._finest.shape, strict=False):
            factor = max(1, round(fine / coarse))
            first = min(place * factor, fine - 1)
            ranges.append(range(first, min(first + factor, fine)))
        return [tuple(i) for i in product(*ranges)]


def shrink(plane: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Return a plane (Y, X) as the mean of blocks, cut or padded to a coarser `shape`."""
    height, width = plane.shape
    fy, fx = max(1, round(height / shape[0])), max(1, round(width / shape[1]))
    padded = np.pad(
        plane[: shape[0] * fy, : shape[1] * fx],
        ((0, max(0, shape[0] * fy - height)), (0, max(0, shape[1] * fx - width))),
        mode="edge",
    )
    blocks = padded.reshape(shape[0], fy, shape[1], fx).mean(axis=(1, 3))
    return (
        blocks.astype(plane.dtype)
        if plane.dtype.kind == "f"
        else np.rint(blocks).astype(plane.dtype)
    )
