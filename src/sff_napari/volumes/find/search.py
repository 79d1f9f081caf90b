"""Find the folds of slices of any size: coarse first, then measured along the lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sff_napari.detection import detect_folds
from sff_napari.errors import InputError
from sff_napari.folds import Fold
from sff_napari.stacks import Stack
from sff_napari.volumes.find.coarse import CoarseReader
from sff_napari.volumes.find.full_resolution import refined
from sff_napari.volumes.find.line_merging import Course, joined

WHOLE = 4096
"""Slices whose longer side is at most this are searched whole at full scale, px."""
WINDOW = 2048
"""Side of the windows in which larger slices are searched, in reduced pixels."""
_OVERLAP = 512
"""Least overlap of the windows, in reduced pixels: a corner cut off one lies whole in another."""
_SLAB = 8
"""Most slices that are read together where chunks hold several."""
_DEFAULT_COARSE = 2
"""Reduction of larger slices; a line of 10 px is 5 px wide then, which is still measured well."""


@dataclass(frozen=True)
class Search:
    """How folds are searched.

    Parameters
    ----------
    threshold : float, optional
        See `sff_napari.detection.detect_folds`.
    max_folds : int
        Most folds of a slice, or of a window of a large slice.
    coarse : int, optional
        Reduction at which lines are looked for; chosen from the size where not
        given: 1 up to `WHOLE`, else 2.
    device : str
        Where to compute; not part of what decides the result.
    """

    threshold: float | None = None
    max_folds: int = 8
    coarse: int | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.coarse is not None and not 1 <= self.coarse <= 16:
            raise InputError(f"The reduction {self.coarse} must lie between 1 and 16.")

    def parameters(self, shape: tuple[int, int, int]) -> dict[str, Any]:
        """Return what decides the result on a stack of this shape (Z, Y, X), plain JSON types."""
        return {
            "threshold": self.threshold,
            "max_folds": self.max_folds,
            "coarse": self.factor(shape),
        }

    def factor(self, shape: tuple[int, int, int]) -> int:
        """Return the reduction for a stack of this shape (Z, Y, X)."""
        if self.coarse is not None:
            return self.coarse
        return 1 if max(shape[1:]) <= WHOLE else _DEFAULT_COARSE

    def to_dict(self) -> dict[str, Any]:
        """Return the choices as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Search:
        """Return the choices that `to_dict` described."""
        return cls(**record)


def search_slices(stack: Stack, slices: Sequence[int], search: Search) -> dict[int, list[Fold]]:
    """Return the folds of each of some slices, best first.

    A slice of up to 4096 px is searched whole.  A larger one is searched in
    overlapping windows of 2048 px at a reduced scale; lines that go on from
    window to window are joined, and each is measured at full scale in the
    tissue along it.  Memory depends on the window alone where the stack can
    read parts of slices; see `Stack.reads_parts`.

    Parameters
    ----------
    stack : Stack
        The volume.
    slices : sequence of int
        The slices: one, or several that follow each other and lie in the same
        chunks, which are then read once.
    search : Search
        How.

    Raises
    ------
    InputError
        If a slice holds no finite value or an argument cannot be used.
    StackError
        If one cannot be read.
    """
    factor = search.factor(stack.shape)
    options: dict[str, Any] = {
        "threshold": search.threshold,
        "max_folds": search.max_folds,
        "device": search.device,
    }
    if factor == 1 and max(stack.shape[1:]) <= WHOLE:
        return {z: _search_whole(stack, z, options) for z in slices}
    if not stack.reads_parts:
        return {z: _search_windows(_in_memory(stack, z), [0], factor, options)[0] for z in slices}
    return _search_windows(stack, slices, factor, options)


def _search_whole(stack: Stack, z: int, options: dict[str, Any]) -> list[Fold]:
    image = stack[z]
    # What the pixels themselves tell is found by the detection.
    declared = stack.fill_value is not None or stack.absent_parts(z)
    return detect_folds(image, no_data=stack.no_data(z, image) if declared else None, **options)


def slabs(stack: Stack, slices: Sequence[int]) -> list[list[int]]:
    """Return slices in groups that lie in the same chunks and follow each other.

    Parameters
    ----------
    stack : Stack
        The volume.
    slices : sequence of int
        In order.
    """
    groups: list[list[int]] = []
    for z in slices:
        last = groups[-1] if groups else []
        same = (
            last and z == last[-1] + 1 and z // stack.stored_depth == last[0] // stack.stored_depth
        )
        if same and len(last) < _SLAB:
            last.append(z)
        else:
            groups.append([z])
    return groups


def _search_windows(
    stack: Stack, slices: Sequence[int], factor: int, options: dict[str, Any]
) -> dict[int, list[Fold]]:
    reader = CoarseReader(stack, factor)
    courses: dict[int, list[Course]] = {z: [] for z in slices}
    finite: set[int] = set()
    for top, left in windows(reader.shape):
        part = (slice(top, top + WINDOW), slice(left, left + WINDOW))
        for z, image in zip(slices, reader.read(slices[0], slices[-1], *part), strict=True):
            known = image[np.isfinite(image)] if image.dtype.kind == "f" else image
            if not known.size:
                continue
            finite.add(z)
            if known.min() == known.max():
                continue
            courses[z] += [Course.of(fold, (top, left)) for fold in detect_folds(image, **options)]
    if len(finite) < len(slices):
        raise InputError("The image holds no finite value: it is NaN or infinite everywhere.")
    return {z: _refined(stack, z, found, factor) for z, found in courses.items()}


def _refined(stack: Stack, z: int, courses: list[Course], factor: int) -> list[Fold]:
    """Return the folds that the lines found in the windows of a slice are."""
    lines = [course.scaled(factor) for course in joined(courses)]
    found = [refined(stack, z, line, factor) for line in lines]
    return sorted(
        (fold for fold in found if fold is not None),
        key=lambda fold: (-(fold.score or 0.0), -fold.length),
    )


def windows(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the corners (y, x) of the windows that cover an image (Y, X), overlapping."""
    rows, columns = (_starts(side) for side in shape)
    return [(y, x) for y in rows for x in columns]


def _starts(side: int) -> list[int]:
    if side <= WINDOW:
        return [0]
    count = -(-(side - _OVERLAP) // (WINDOW - _OVERLAP))
    return [round(i * (side - WINDOW) / (count - 1)) for i in range(count)]


def _in_memory(stack: Stack, z: int) -> Stack:
    """Return one slice of a stack that can only be read whole, as a stack of its own."""
    return Stack.from_array(stack[z], name=stack.name)
