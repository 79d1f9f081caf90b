"""Choose which of an array's axes are the slices, rows and columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import InputError, StackError
from sff_napari.stacks.array_readers import ReadBlock, ReadRegion

SLICES = -1
"""What is chosen on the axis that counts the slices, where the user names it."""
_MOST_CHANNELS = 4
"""Of an image with a z axis of one slice, so many positions on c are channels and no slices."""


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
        Index on axes that are none of the three, 0 where not given; `SLICES`
        on the axis that counts the slices.
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
    unknown = set(select) - {axes[i] for i in others}
    if unknown:
        raise StackError(
            f"{path} has axes {axes!r}: there is no further axis {sorted(unknown)[0]!r} "
            "to choose on."
        )
    slices = _slice_axis(axes, shape, others, select, path)
    if slices is not None and select.get(axes[slices], SLICES) != SLICES:
        raise StackError(
            f"The slices of {path} lie on axis {axes[slices]!r} (axes {axes!r}): choose them with "
            "--slices, or name another axis of slices with --axis."
        )
    fixed = {}
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
    # q and i are what TIFF files call pages of which nothing is said.
    if slices is not None and axes[slices] not in "zqi":
        details["slices on axis"] = axes[slices]
    depth = 1 if slices is None else shape[slices]
    return ChosenAxes(slices, rows, columns, fixed, (depth, shape[rows], shape[columns]), details)


def _slice_axis(
    axes: str,
    shape: tuple[int, ...],
    others: list[int],
    select: Mapping[str, int],
    path: Path | str,
) -> int | None:
    """Return the position of the axis that counts the slices; None for a single slice."""
    named = [axis for axis, place in select.items() if place == SLICES]
    if len(named) > 1:
        raise StackError(f"Two axes of slices are named: {' and '.join(sorted(named))}.")
    if named:
        return axes.index(named[0])
    free = [i for i in others if axes[i] not in select]
    if "z" in axes and axes.index("z") in free and shape[axes.index("z")] > 1:
        return axes.index("z")
    # Saved without a z axis, or with one of a single slice: the axis that is long.
    long = [i for i in free if shape[i] > 1]
    few = [i for i in long if axes[i] == "c" and shape[i] <= _MOST_CHANNELS and "z" in axes]
    found = [i for i in long if i not in few]
    if len(found) > 1:
        found = [i for i in found if axes[i] != "c"] or found
    if len(found) > 1:
        sizes = ", ".join(f"{axes[i]} ({shape[i]})" for i in found)
        raise StackError(
            f"{path} has axes {axes!r}, of which several could count the slices: {sizes}.  Name "
            f"one with --axis, or choose on the others with --select {axes[found[-1]]}=0."
        )
    if found:
        return found[0]
    if "z" in axes and axes.index("z") in free:
        return axes.index("z")
    return free[0] if free else None


def parse_select(text: str | None, axis: str | None = None) -> dict[str, int]:
    """Return what is chosen on further axes.

    Parameters
    ----------
    text : str, optional
        As people write it, ``"c=0,t=1"``.
    axis : str, optional
        The axis that counts the slices, one letter.

    Returns
    -------
    dict of str to int
        As `choose_axes` takes it.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    select: dict[str, int] = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        name, _, value = part.partition("=")
        name, value = name.strip().lower(), value.strip()
        if len(name) != 1 or not name.isalpha() or not value.isdecimal():
            raise InputError(f"The choice {text!r} cannot be read: write axes such as c=0,t=1.")
        if name in "yx":
            raise InputError(f"The axis {name!r} is a side of the slices: choose on others.")
        select[name] = int(value)
    if axis is not None:
        letter = axis.strip().lower()
        if len(letter) != 1 or not letter.isalpha() or letter in "yx":
            raise InputError(f"The axis {axis!r} cannot be used: name it by a letter, e.g. t.")
        if letter in select:
            raise InputError(f"The axis {letter!r} counts the slices: nothing is chosen on it.")
        select[letter] = SLICES
    return select
