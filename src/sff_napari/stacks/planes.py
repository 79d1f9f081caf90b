"""Read parts of slices that can only be read whole, each slice once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.stacks.stack import Stack

KEPT = 512 * 2**20
"""Whole slices kept in memory, in bytes; one at least."""


class Planes:
    """Parts of the slices of a stack; several threads may read at once.

    Where the stack cannot read a part alone (a compressed TIFF, an image file),
    the slices read last are kept, as parts of a slice are asked for one after
    another.

    Parameters
    ----------
    stack : Stack
        The stack.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, z: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Return a part of slice `z` as a new array; see `Stack.read`."""
        if self.stack.reads_parts:
            return self.stack.read(z, rows, columns)
        with self._lock:
            plane = self._kept.pop(z, None)
            if plane is None:
                plane = self.stack[z]
            self._kept[z] = plane
            while len(self._kept) > 1 and plane.nbytes * len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return np.array(plane[rows, columns])
