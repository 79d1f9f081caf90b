"""Take from the names of slices their order, gaps between them, and doubles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sff_napari.errors import StackError

_NUMBER = re.compile(r"(?:(?<![A-Za-z0-9.)\]])-)?(?:(?<![\d.])\d+\.\d+(?![\d.]*\.\d)|\d+)")
"""A number in a name; a hyphen is a sign where no letter or digit stands before it."""
_MOST_GAPS = 5
"""Gaps that are named at most."""


def tokens(name: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return the text between the numbers of a name, and the numbers.

    Parameters
    ----------
    name : str
        Without its ending: ``z=-80nm``, ``s_0.5``, ``slice-10``.
    """
    return tuple(_NUMBER.split(name.lower())), tuple(float(n) for n in _NUMBER.findall(name))


def natural_key(path: Path) -> list[tuple[int, float, str]]:
    """Return a sort key that puts ``slice_10`` after ``slice_9`` and ``z=-40`` before ``z=0``."""
    texts, numbers = tokens(path.stem)
    key: list[tuple[int, float, str]] = []
    for i, text in enumerate(texts):
        key.append((1, 0.0, text))
        if i < len(numbers):
            key.append((0, numbers[i], ""))
    return [*key, (1, 0.0, path.suffix.lower())]


def positions_of(names: Sequence[str]) -> tuple[float, ...] | None:
    """Return where slices lie by their names, the first at 0, in steps from slice to slice.

    Parameters
    ----------
    names : sequence of str
        In order, without endings.

    Returns
    -------
    tuple of float or None
        None where the names do not tell: not one number alone that grows.
    """
    found = [tokens(name) for name in names]
    if len(found) < 3 or len({texts for texts, _ in found}) > 1:
        return None
    numbers = np.array([values for _, values in found], dtype=np.float64)
    growing = [
        column
        for column in numbers.T
        if (column != column[0]).any() and (np.diff(column) > 0).all()
    ]
    varying = [column for column in numbers.T if (column != column[0]).any()]
    if len(varying) != 1 or len(growing) != 1:
        return None
    steps = np.diff(growing[0])
    unit = float(np.median(steps))
    # Steps that are no whole multiples of the usual one are no count of slices.
    if np.abs(steps / unit - np.round(steps / unit)).max() > 0.05 or steps.min() < 0.5 * unit:
        return None
    places = np.concatenate([[0.0], np.cumsum(np.round(steps / unit))])
    return tuple(float(place) for place in places)


def gaps_in(names: Sequence[str], positions: Sequence[float]) -> str:
    """Return what is missing between slices, in words; nothing if nothing is.

    Parameters
    ----------
    names : sequence of str
        Of the slices.
    positions : sequence of float
        What `positions_of` returned.
    """
    found = []
    for i in range(len(names) - 1):
        count = round(positions[i + 1] - positions[i]) - 1
        if count:
            found.append(f"{count} between {names[i]} and {names[i + 1]}")
    more = [f"and {len(found) - _MOST_GAPS} more gaps"] if len(found) > _MOST_GAPS else []
    return ", ".join([*found[:_MOST_GAPS], *more])


def check_doubles(files: Sequence[Path]) -> None:
    """Check that no two images of a folder are of one slice.

    Raises
    ------
    StackError
        If some are, e.g. each slice with a preview beside it.
    """
    groups: dict[tuple[str, ...], dict[tuple[float, ...], Path]] = {}
    seen: dict[tuple[tuple[str, ...], tuple[float, ...]], Path] = {}
    for file in files:
        texts, numbers = tokens(file.stem)
        other = seen.get((texts, numbers))
        if other is not None:
            raise _double(other, file)
        seen[texts, numbers] = file
        groups.setdefault((*texts, file.suffix.lower()), {})[numbers] = file
    ordered = sorted(groups.values(), key=lambda group: -len(group))
    for number, group in enumerate(ordered):
        for smaller in ordered[number + 1 :]:
            shared = [key for key in smaller if key in group and key]
            # Two series of the same numbers, not one odd file.
            if len(shared) >= 2 and 2 * len(shared) > len(smaller):
                raise _double(group[shared[0]], smaller[shared[0]])


def _double(one: Path, other: Path) -> StackError:
    return StackError(
        f"{one.parent} holds two images of one slice, {one.name} and {other.name}: "
        "move the series that does not belong to the stack to a folder of its own."
    )
