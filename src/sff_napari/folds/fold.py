"""Describe the fold line: the one thing a user draws and a detector finds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np

from sff_napari.errors import FoldError

FoldSource = Literal["drawn", "detected", "simulated"]
MAX_VERTICES = 10_000
"""More vertices than any person or detector makes: a file that has more is broken or hostile."""


@dataclass(frozen=True)
class Fold:
    """A support film fold seen as a dark line in one slice.

    Parameters
    ----------
    vertices : sequence of (y, x)
        Points of the centre line in pixels, origin at the centre of the
        top-left pixel.  Two make a straight line, more a smooth curve through
        all of them.
    half_width : float
        Distance from the centre line to the edge of the dark line, in pixels
        (half of the width that is seen).
    half_widths : sequence of float, optional
        One half width at each vertex, where the width varies along the line.
    score : float, optional
        How sure the detector is, in [0, 1].
    source : {"drawn", "detected", "simulated"}
        Where the line comes from.

    Raises
    ------
    FoldError
        If the line has no length, crosses itself, or a number makes no sense.

    See Also
    --------
    sff_napari.detect_folds : Finds the folds of a slice.
    sff_napari.simulate_fold : Folds a clean slice along a line.

    Examples
    --------
    >>> import sff_napari as sff
    >>> fold = sff.Fold([(0, 120), (255, 140)], half_width=6)
    >>> fold.is_straight
    True
    >>> round(fold.length)
    256
    >>> sff.Fold.from_json(fold.to_json()) == fold
    True
    """

    vertices: Sequence[tuple[float, float]]
    half_width: float
    half_widths: Sequence[float] | None = field(default=None, kw_only=True)
    score: float | None = field(default=None, kw_only=True)
    source: FoldSource = field(default="drawn", kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "vertices", _checked_vertices(self.vertices))
        object.__setattr__(self, "half_width", _checked_half_width(self.half_width))
        if self.half_widths is not None:
            widths = tuple(_checked_half_width(w) for w in self.half_widths)
            if len(widths) != len(self.vertices):
                raise FoldError(
                    f"The fold has {len(self.vertices)} vertices but {len(widths)} half widths: "
                    "give one half width a vertex, or only `half_width`."
                )
            object.__setattr__(self, "half_widths", widths)
        if self.score is not None:
            score = float(self.score)
            if not 0 <= score <= 1:
                raise FoldError(f"The fold's score is {score}: it must lie between 0 and 1.")
            object.__setattr__(self, "score", score)
        if self.source not in get_args(FoldSource):
            raise FoldError(
                f"The fold's source is {self.source!r}: "
                f"use one of {', '.join(get_args(FoldSource))}."
            )

    @property
    def is_straight(self) -> bool:
        """Whether the line has two vertices."""
        return len(self.vertices) == 2

    @property
    def length(self) -> float:
        """Length of the line through the vertices, in pixels."""
        pairs = zip(self.vertices[:-1], self.vertices[1:], strict=True)
        return sum(math.dist(p, q) for p, q in pairs)

    @property
    def widest(self) -> float:
        """Largest half width along the line, in pixels."""
        return max((self.half_width, *(self.half_widths or ())))

    def check_inside(self, shape: tuple[int, int]) -> None:
        """Check that the fold can be used on a slice of this shape (Y, X).

        Raises
        ------
        FoldError
            If no part of the line lies in the slice, or if the dark line is as
            wide as the slice.
        """
        height, width = shape
        if 2 * self.widest >= min(height, width):
            raise FoldError(
                f"The fold's half width of {self.widest:g} px is too large for a slice of "
                f"{height} x {width} pixels: it would cover the slice from side to side."
            )
        step = max(1.0, self.length / 2000)
        for p, q in zip(self.vertices[:-1], self.vertices[1:], strict=True):
            count = max(2, math.ceil(math.dist(p, q) / step) + 1)
            for i in range(count):
                share = i / (count - 1)
                y, x = p[0] + share * (q[0] - p[0]), p[1] + share * (q[1] - p[1])
                if -0.5 <= y <= height - 0.5 and -0.5 <= x <= width - 0.5:
                    return
        raise FoldError(
            f"The fold line lies outside the slice of {height} x {width} pixels: "
            "its vertices must be (y, x) in pixels of this slice."
        )

    def with_changes(self, **changes: Any) -> Fold:
        """Return a copy with some fields changed."""
        return replace(self, **changes)

    def scaled(self, factor: float) -> Fold:
        """Return the same fold on an image whose pixels are `factor` times smaller.

        Pixel centres stay where they are in space: (y + 0.5) * factor - 0.5.
        """
        return replace(
            self,
            vertices=[
                ((y + 0.5) * factor - 0.5, (x + 0.5) * factor - 0.5) for y, x in self.vertices
            ],
            half_width=self.half_width * factor,
            half_widths=None
            if self.half_widths is None
            else [w * factor for w in self.half_widths],
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fold as plain JSON types."""
        record: dict[str, Any] = {
            "vertices": [[y, x] for y, x in self.vertices],
            "half_width": self.half_width,
        }
        if self.half_widths is not None:
            record["half_widths"] = list(self.half_widths)
        record["score"] = self.score
        record["source"] = self.source
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Fold:
        """Return the fold that `to_dict` described; unknown keys are ignored.

        Raises
        ------
        FoldError
            If a key is missing or a value has the wrong type or makes no sense.
        """
        if not isinstance(record, Mapping):
            raise FoldError("A fold must be a JSON object with 'vertices' and 'half_width'.")
        missing = [key for key in ("vertices", "half_width") if key not in record]
        if missing:
            raise FoldError(f"A fold record lacks {' and '.join(map(repr, missing))}.")
        return cls(
            vertices=record["vertices"],
            half_width=record["half_width"],
            half_widths=record.get("half_widths"),
            score=record.get("score"),
            source=record.get("source") or "drawn",
        )

    def to_json(self) -> str:
        """Return the fold as one JSON object."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Fold:
        """Return the fold that `to_json` wrote.

        Raises
        ------
        FoldError
            If the text is not JSON or not a fold.
        """
        try:
            record = json.loads(text)
        except json.JSONDecodeError as error:
            raise FoldError(f"This is not a fold in JSON: {error}.") from error
        return cls.from_dict(record)


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool):
        raise FoldError(f"The fold's {what} is {value!r}: it must be a number.")
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise FoldError(f"The fold's {what} is {value!r}: it must be a number.") from error
    if not math.isfinite(number) or abs(number) > 1e9:
        raise FoldError(f"The fold's {what} is {number}: it must be a finite number of pixels.")
    return number


def _checked_half_width(value: Any) -> float:
    number = _number(value, "half width")
    if number <= 0:
        raise FoldError(
            f"The fold's half width is {number:g} px: it must be larger than 0 "
            "(half of the dark line's width)."
        )
    return number


def _checked_vertices(vertices: Any) -> tuple[tuple[float, float], ...]:
    try:
        points = [tuple(point) for point in vertices]
    except TypeError as error:
        raise FoldError("The fold's vertices must be a list of (y, x) pairs.") from error
    if any(len(point) != 2 for point in points):
        raise FoldError("Each vertex of a fold must be a (y, x) pair.")
    if len(points) > MAX_VERTICES:
        raise FoldError(f"The fold has {len(points)} vertices; at most {MAX_VERTICES} are allowed.")
    line: list[tuple[float, float]] = []
    for y, x in points:
        point = (_number(y, "vertex"), _number(x, "vertex"))
        # A repeated point carries no direction; a double click on the last vertex makes one.
        if not line or math.dist(point, line[-1]) > 1e-6:
            line.append(point)
    if len(line) != len(points) and len(line) >= 2:
        raise FoldError("The fold has two equal vertices in a row: remove one of them.")
    if len(line) < 2:
        raise FoldError("The fold line has no length: it needs at least two different points.")
    if _crosses_itself(line):
        raise FoldError("The fold line crosses itself: draw it as two folds or move a vertex.")
    return tuple(line)


def _crosses_itself(line: list[tuple[float, float]]) -> bool:
    """Tell whether two segments that do not follow each other meet."""
    if len(line) < 4:
        return False
    p = np.asarray(line)
    start, stop = p[:-1], p[1:]

    def side(a: Any, b: Any, c: Any) -> Any:
        ab, ac = b - a, c - a
        return np.sign(ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0])

    for i in range(len(start) - 2):
        a, b = start[i], stop[i]
        c, d = start[i + 2 :], stop[i + 2 :]
        meets = (side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)
        if bool(np.any(meets)):
            return True
    return False
