"""Which of an array's axes are the slices, rows and columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import StackError
from sff_napari.stacks.array_readers import ReadBlock, ReadRegion


@dataclass(frozen=True)
class ChosenAxes:
    """The axes of a stack within an array of more dimensions.

    Parameters
    ----------
    slices : int or None
        Position of the slice axis; None for a single slice.
    rows, columns : int
        Positions of y and x.
    fixed : mapping of int to int
        Index on each of the other axes.
    shape : (Z, Y, X)
        Of the stack.
    details : dict
        What was fixed, for people.
    """

    slices: int | None
    rows: int
    columns: int
    fixed: Mapping[int, int]
    shape: tuple[int, int, int]
    details: dict[str, Any]

    def index(
        self, z: int | slice, rows: slice = slice(None), columns: slice = slice(None)
    ) -> tuple[int | slice, ...]:
        """Return the index that takes slice `z` or several, or parts of them, out of the array."""
        count = 2 + len(self.fixed) + (self.slices is not None)
        whole: list[int | slice] = [slice(None)] * count
        for axis, place in self.fixed.items():
            whole[axis] = place
        if self.slices is not None:
            whole[self.slices] = z
        whole[self.rows], whole[self.columns] = rows, columns
        return tuple(whole)

    def reader(self, load: Callable[[tuple[Any, ...]], Any]) -> Callable[[int], NDArray[Any]]:
        """Return a function that reads slice z (Y, X) through `load`, which takes a full index."""
        region = self.region_reader(load)
        return lambda z: region(z, slice(None), slice(None))

    def block_reader(self, load: Callable[[tuple[Any, ...]], Any], depth: int) -> ReadBlock | None:
        """Return a function that reads parts of several slices at once; `load` as in `reader`.

        None where `depth`, the slices that a chunk holds, is 1: then it is no quicker.
        """
        if self.slices is None or depth <= 1:
            return None
        places = (self.slices, self.rows, self.columns)
        order = [sorted(places).index(place) for place in places]

        def read(slices: slice, rows: slice, columns: slice) -> NDArray[Any]:
            return np.asarray(load(self.index(slices, rows, columns))).transpose(order)

        return read

    def region_reader(self, load: Callable[[tuple[Any, ...]], Any]) -> ReadRegion:
        """Return a function that reads a part of slice z; `load` as in `reader`."""

        def read(z: int, rows: slice, columns: slice) -> NDArray[Any]:
            image = np.asarray(load(self.index(z, rows, columns)))
            return image.T if self.columns < self.rows else image

        return read


def choose_axes(
    axes: str, shape: tuple[int, ...], select: Mapping[str, int], path: Path | str
) -> ChosenAxes:
    """Return the slice, row and column axes of an array.

    Parameters
    ----------
    axes : str
        One lower-case letter an axis.
    shape : tuple of int
        Sizes of the axes.
    select : mapping of str to int
        Index on axes that are none of the three; 0 where not given.
    path : Path or str
        What error messages name.

    Raises
    ------
    StackError
        If there are no y and x axes, or `select` names an axis or index that
        does not exist.
    """
    if len(axes) != len(shape):
        raise StackError(f"{path} names {len(axes)} axes but has {len(shape)} dimensions.")
    if "y" not in axes or "x" not in axes:
        raise StackError(f"{path} has axes {axes!r}: a stack needs y and x among them.")
    rows, columns = axes.index("y"), axes.index("x")
    others = [i for i in range(len(axes)) if i not in (rows, columns)]
    slices: int | None = None
    if "z" in axes:
        slices = axes.index("z")
    elif others:
        # A stack saved without a z axis: its only long axis counts the slices.
        slices = max(others, key=lambda i: (shape[i] > 1, axes[i] != "c", -i))
    fixed = {}
    unknown = set(select) - {axes[i] for i in others if i != slices}
    if unknown:
        raise StackError(
            f"{path} has axes {axes!r}: there is no further axis {sorted(unknown)[0]!r} "
            "to choose on."
        )
    for i in others:
        if i == slices:
            continue
        place = select.get(axes[i], 0)
        if not 0 <= place < shape[i]:
            raise StackError(
                f"{path} has {shape[i]} positions on axis {axes[i]!r}: there is no {place}."
            )
        fixed[i] = place
    details = {f"axis {axes[i]}": f"{at} of {shape[i]}" for i, at in fixed.items() if shape[i] > 1}
    depth = 1 if slices is None else shape[slices]
    return ChosenAxes(slices, rows, columns, fixed, (depth, shape[rows], shape[columns]), details)
