"""Describe what a session keeps: one record a fold line, one a slice that was restored."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from sff_napari.errors import StackError

if TYPE_CHECKING:
    # At run time only where it is needed: it brings torch, and records are read before that.
    from sff_napari.folds.fold import Fold

Index = tuple[int, ...]
"""Position of a slice on every axis of the stack but its last two: ``(z,)`` for (Z, Y, X)."""

FoldState = Literal["open", "accepted", "rejected"]
SliceState = Literal["to do", "restored", "stale", "accepted", "rejected"]


def new_uid() -> str:
    """Return a short name for a fold line that no other line of a stack has."""
    return uuid.uuid4().hex[:12]


@dataclass(frozen=True)
class FoldRecord:
    """A fold line on its slice, as drawn; it may be half finished or not valid yet.

    Parameters
    ----------
    uid : str
        Name of the line within the stack; survives edits, undo and saving.
    index : tuple of int
        Its slice; see `Index`.
    vertices : tuple of (y, x)
        Points of the centre line in pixels.
    half_width : float
        Half of the dark line's width, in pixels.
    half_widths : tuple of float, optional
        One half width at each vertex.
    score : float, optional
        How sure the detector is, in [0, 1].
    source : str
        ``"drawn"``, ``"detected"`` or ``"simulated"``.
    state : {"open", "accepted", "rejected"}
        The person's decision; a rejected line is not used for restoring.
    """

    uid: str
    index: Index
    vertices: tuple[tuple[float, float], ...]
    half_width: float
    half_widths: tuple[float, ...] | None = None
    score: float | None = None
    source: str = "drawn"
    state: FoldState = "open"

    @classmethod
    def of(cls, fold: Fold, index: Index, uid: str | None = None) -> FoldRecord:
        """Return the record of a new line `fold` on slice `index`."""
        return cls(
            uid or new_uid(),
            tuple(int(i) for i in index),
            tuple((float(y), float(x)) for y, x in fold.vertices),
            float(fold.half_width),
            None if fold.half_widths is None else tuple(float(w) for w in fold.half_widths),
            fold.score,
            fold.source,
        )

    def fold(self) -> Fold:
        """Return the line as the core takes it.

        Raises
        ------
        FoldError
            If the line crosses itself or has no length.
        """
        from sff_napari.folds.fold import Fold

        return Fold(
            self.vertices,
            self.half_width,
            half_widths=self.half_widths,
            score=self.score,
            source=self.source,  # type: ignore[arg-type]
        )

    @property
    def geometry(self) -> tuple[Any, ...]:
        """What a restoration depends on: the points and the widths."""
        return (self.vertices, self.half_width, self.half_widths)

    def with_changes(self, **changes: Any) -> FoldRecord:
        """Return a copy with some fields changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON types."""
        return {
            "uid": self.uid,
            "index": list(self.index),
            "vertices": [[y, x] for y, x in self.vertices],
            "half_width": self.half_width,
            "half_widths": None if self.half_widths is None else list(self.half_widths),
            "score": self.score,
            "source": self.source,
            "state": self.state,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> FoldRecord:
        """Return the record that `to_dict` described.

        Raises
        ------
        StackError
            If a value is missing or makes no sense.
        """
        try:
            state = record.get("state", "open")
            widths = record.get("half_widths")
            score = record.get("score")
            return cls(
                str(record["uid"]),
                tuple(int(i) for i in record["index"]),
                tuple((float(y), float(x)) for y, x in record["vertices"]),
                float(record["half_width"]),
                None if widths is None else tuple(float(w) for w in widths),
                None if score is None else float(score),
                str(record.get("source", "drawn")),
                state if state in get_args(FoldState) else "open",
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StackError(
                f"A fold line in the saved session cannot be read: {error}."
            ) from error


@dataclass(frozen=True)
class SliceRecord:
    """What was done to one slice, and how.

    Parameters
    ----------
    index : tuple of int
        The slice.
    state : str
        ``"restored"``, ``"stale"``, ``"accepted"`` or ``"rejected"``.
    folder : str, optional
        Name of the folder, within the session, that holds the arrays.
    parameters : dict
        Keyword arguments of the restoration, plain JSON types.
    lines : sequence of dict
        The lines that were used, as `FoldRecord.to_dict` gives them.
    neighbours : dict
        ``previous`` and ``following``: index or None.
    scores : dict
        Scores that need no ground truth.
    versions : dict
        Versions of the packages that made the result, and the weights' hash.
    time : str
        When it was made, ISO 8601 in UTC.
    outdated : bool
        Whether the stack's data were exchanged since.
    """

    index: Index
    state: SliceState
    folder: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    lines: Sequence[dict[str, Any]] = ()
    neighbours: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    time: str = ""
    outdated: bool = False

    def with_changes(self, **changes: Any) -> SliceRecord:
        """Return a copy with some fields changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON types."""
        return {
            "index": list(self.index),
            "state": self.state,
            "folder": self.folder,
            "parameters": self.parameters,
            "lines": list(self.lines),
            "neighbours": self.neighbours,
            "scores": self.scores,
            "versions": self.versions,
            "time": self.time,
            "outdated": self.outdated,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> SliceRecord:
        """Return the record that `to_dict` described.

        Raises
        ------
        StackError
            If a value is missing or makes no sense.
        """
        try:
            state = record["state"]
            if state not in get_args(SliceState):
                raise ValueError(f"unknown state {state!r}")
            return cls(
                tuple(int(i) for i in record["index"]),
                state,
                record.get("folder"),
                dict(record.get("parameters") or {}),
                list(record.get("lines") or ()),
                dict(record.get("neighbours") or {}),
                dict(record.get("scores") or {}),
                dict(record.get("versions") or {}),
                str(record.get("time", "")),
                bool(record.get("outdated", False)),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StackError(f"A slice in the saved session cannot be read: {error}.") from error
