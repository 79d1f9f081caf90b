"""Read the coarser levels of a stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sff_napari.errors import SffError

if TYPE_CHECKING:
    from sff_napari.stacks.stack import Stack


@dataclass(frozen=True)
class Level:
    """A coarser version of a stack, with as many slices.

    Parameters
    ----------
    rows, columns : float
        How many pixels of the stack one of its pixels stands for, along y and
        along x.  The centre of its pixel (y, x) lies at
        ``((y + 0.5) * rows - 0.5, (x + 0.5) * columns - 0.5)`` of the stack.
    stack : Stack
        Its slices.
    """

    rows: float
    columns: float
    stack: Stack


def coarser_levels(
    shape: tuple[int, int, int], openers: Sequence[Callable[[], Stack]]
) -> tuple[Level, ...]:
    """Return the coarser levels of a stack that can be used slice by slice.

    Parameters
    ----------
    shape : (Z, Y, X)
        Of the stack.
    openers : sequence of callable
        Each opens one level.

    Returns
    -------
    tuple of Level
        Finer ones first; without those that merge slices, and without those
        that cannot be opened: all that they say the stack says as well.
    """
    return tuple(sorted(_usable(shape, openers), key=lambda level: level.rows * level.columns))


def _usable(shape: tuple[int, int, int], openers: Sequence[Callable[[], Stack]]) -> Iterator[Level]:
    for opener in openers:
        try:
            stack = opener()
        except (SffError, LookupError, ValueError, TypeError):
            continue
        rows = _factor(shape[1], stack.shape[1])
        columns = _factor(shape[2], stack.shape[2])
        if stack.shape[0] == shape[0] and rows * columns > 1 and min(rows, columns) >= 1:
            yield Level(rows, columns, stack)


def _factor(fine: int, coarse: int) -> float:
    """Return how much larger a pixel is; a whole number where the sizes allow it.

    Halving 7 pixels gives 3 or 4: the ratio of the sizes is not what was meant.
    """
    ratio = fine / coarse
    whole = round(ratio)
    if whole >= 1 and fine // whole <= coarse <= -(-fine // whole):
        return float(whole)
    # A level made by halving again and again has lost or gained a pixel each time.
    power = 2 ** max(0, round(ratio).bit_length() - 1)
    for factor in (power, 2 * power):
        if abs(fine / factor - coarse) <= 1 + 1e-9:
            return float(factor)
    return ratio
