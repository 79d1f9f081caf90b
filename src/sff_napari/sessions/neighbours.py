"""Choose the slices that a damaged slice is restored from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sff_napari.sessions.records import Index

REACH = 3
"""How many slices away a stand-in for a damaged neighbour may lie."""


@dataclass(frozen=True)
class Neighbours:
    """The neighbours chosen for one slice.

    Parameters
    ----------
    previous, following : tuple of int or None
        Their indices; None where the stack ends or every candidate is damaged.
    note : str
        One sentence when they are not simply the slice before and the slice after.
    """

    previous: Index | None
    following: Index | None
    note: str = ""


def choose_neighbours(
    index: Index,
    axis: int,
    count: int,
    damaged: Collection[Index],
    *,
    skip_damaged: bool = True,
    reach: int = REACH,
    positions: Sequence[float] | None = None,
) -> Neighbours:
    """Choose the nearest slices, on both sides, that can be trusted.

    Parameters
    ----------
    index : tuple of int
        The damaged slice.
    axis : int
        Position in `index` that counts along the slice axis.
    count : int
        Number of slices on that axis.
    damaged : collection of tuple of int
        Slices marked damaged.
    skip_damaged : bool
        Whether to go on to the nearest undamaged slice.
    reach : int
        How many slices away to look.
    positions : sequence of float, optional
        Where each slice lies, in slices, where some are missing in between.
    """
    if not index:
        return Neighbours(None, None, "A single image has no neighbouring slices.")
    place = index[axis]

    def look(step: int) -> tuple[Index | None, bool]:
        passed, far = False, False
        for distance in range(1, reach + 1):
            z = place + step * distance
            if not 0 <= z < count:
                break
            far = far or _apart(place, z, positions) > reach
            if far:
                break
            candidate = (*index[:axis], z, *index[axis + 1 :])
            if not skip_damaged or candidate not in damaged:
                return candidate, passed
            passed = True
        return None, passed or far

    previous, skipped_back = look(-1)
    following, skipped_on = look(+1)
    notes = []
    for name, chosen, skipped in (
        ("previous", previous, skipped_back),
        ("next", following, skipped_on),
    ):
        away = 0.0 if chosen is None else _apart(place, chosen[axis], positions)
        if chosen is not None and skipped:
            notes.append(f"slice {chosen[axis]} stands in for the damaged {name} slice")
        elif chosen is not None and away > abs(chosen[axis] - place):
            notes.append(
                f"the {name} slice that is there, {chosen[axis]}, lies {away:g} slices away"
            )
        elif chosen is None and skipped:
            notes.append(f"no undamaged {name} slice lies within {reach} slices")
        elif chosen is None:
            notes.append(f"the stack has no {name} slice")
    note = "; ".join(notes)
    return Neighbours(previous, following, note[:1].upper() + note[1:] + "." if note else "")


def _apart(one: int, other: int, positions: Sequence[float] | None) -> float:
    return abs(other - one) if positions is None else abs(positions[other] - positions[one])


def clean_pairs(
    index: Index,
    axis: int,
    count: int,
    damaged: Collection[Index],
    most: int = 2,
    reach: int = 6,
    positions: Sequence[float] | None = None,
) -> tuple[tuple[Index, Index], ...]:
    """Return pairs of neighbouring undamaged slices near `index`, the nearest first.

    They tell how much clean slices of this stack resemble each other.
    """
    if not index:
        return ()
    place = index[axis]

    def at(z: int) -> Index:
        return (*index[:axis], z, *index[axis + 1 :])

    starts = sorted(
        (z for z in range(max(0, place - reach), min(count - 1, place + reach))),
        key=lambda z: abs(z + 0.5 - place),
    )
    pairs = [
        (at(z), at(z + 1))
        for z in starts
        if place not in (z, z + 1)
        and at(z) not in damaged
        and at(z + 1) not in damaged
        and _apart(z, z + 1, positions) <= 1
    ]
    return tuple(pairs[:most])
