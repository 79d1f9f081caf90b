"""Read and write slice numbers as people write them."""

from __future__ import annotations

from collections.abc import Iterable

from sff_napari.errors import InputError


def parse_slices(text: str | None, count: int, *, thing: str = "slice") -> list[int]:
    """Return the slices that a text such as ``"3,7-9"`` names, sorted, each once.

    Parameters
    ----------
    text : str or None
        Numbers and ranges with both ends included, from 0; None for all.
    count : int
        Number of slices there are.
    thing : str
        What sentences call one of them.

    Raises
    ------
    InputError
        If the text cannot be read or names a slice that does not exist.

    See Also
    --------
    sff_napari.stacks.open_stack : Opens the stack.

    Examples
    --------
    >>> from sff_napari.stacks import parse_slices
    >>> parse_slices("3,7-9", count=20)
    [3, 7, 8, 9]
    """
    if text is None or not text.strip():
        return list(range(count))
    chosen: set[int] = set()
    for part in text.split(","):
        ends = part.strip().split("-")
        if len(ends) > 2 or not all(end.strip().isdecimal() for end in ends):
            raise InputError(
                f"The {thing}s {text!r} cannot be read: write numbers and ranges such as 3,7-9."
            )
        first, last = int(ends[0]), int(ends[-1])
        if last < first:
            raise InputError(f"The range of {thing}s {part.strip()!r} runs backwards.")
        if last >= count:
            raise InputError(
                f"There is no {thing} {last}: the stack has {count}, numbered 0 to {count - 1}."
            )
        chosen.update(range(first, last + 1))
    return sorted(chosen)


def slice_ranges(numbers: Iterable[int]) -> str:
    """Return slice numbers as people write them, ``0-4,7``; `parse_slices` reads it.

    Parameters
    ----------
    numbers : iterable of int
        In any order; an empty one gives an empty text.
    """
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)
