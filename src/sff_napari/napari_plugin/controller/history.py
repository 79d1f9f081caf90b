"""Undo and redo of all that a person does: lines, results, decisions."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace

from sff_napari.napari_plugin.controller.result_store import SliceResult
from sff_napari.sessions.records import FoldRecord, Index

LIMIT = 200
"""Steps that are remembered."""
MERGE_SECONDS = 1.2
"""Steps of the same kind within this time count as one."""


@dataclass(frozen=True)
class Step:
    """One thing that was done, and how things were before and after.

    Parameters
    ----------
    text : str
        What was done, for a sentence such as "Undid: moving a line".
    index : tuple of int
        The slice it concerns.
    lines : mapping
        For each line that changed the record before and after; None where there was none.
    results : mapping
        For each slice whose result changed the result before and after; None where there
        was none.
    merge : hashable
        Steps with the same value in quick succession count as one; None never does.
    """

    text: str
    index: Index
    lines: Mapping[str, tuple[FoldRecord | None, FoldRecord | None]] = field(default_factory=dict)
    results: Mapping[Index, tuple[SliceResult | None, SliceResult | None]] = field(
        default_factory=dict
    )
    merge: Hashable = None

    @property
    def slices(self) -> set[Index]:
        """The slices that it changed."""
        changed = {r.index for pair in self.lines.values() for r in pair if r is not None}
        return changed | set(self.results)


class History:
    """Steps in the order in which they were done."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._at = 0
        self._last = 0.0

    def record(self, step: Step) -> None:
        """Remember a step; what was undone can no longer be redone."""
        now = time.monotonic()
        del self._steps[self._at :]
        last = self._steps[-1] if self._steps else None
        if (
            last is not None
            and step.merge is not None
            and step.merge == last.merge
            and now - self._last < MERGE_SECONDS
        ):
            self._steps[-1] = _joined(last, step)
        else:
            self._steps.append(step)
        del self._steps[: max(0, len(self._steps) - LIMIT)]
        self._at = len(self._steps)
        self._last = now

    def clear(self) -> None:
        """Forget every step."""
        self._steps, self._at = [], 0

    @property
    def next_undo(self) -> Step | None:
        """The step that `undo` would take back."""
        return self._steps[self._at - 1] if self._at > 0 else None

    @property
    def next_redo(self) -> Step | None:
        """The step that `redo` would repeat."""
        return self._steps[self._at] if self._at < len(self._steps) else None

    def undo(self) -> Step | None:
        """Go one step back and return it, or None at the beginning."""
        step = self.next_undo
        if step is not None:
            self._at -= 1
            self._last = 0.0
        return step

    def redo(self) -> Step | None:
        """Go one step on and return it, or None at the end."""
        step = self.next_redo
        if step is not None:
            self._at += 1
            self._last = 0.0
        return step

    def folders(self) -> set[str]:
        """Return the folders of stored slices that an undo or redo would need."""
        results = (r for step in self._steps for pair in step.results.values() for r in pair)
        return {r.record.folder for r in results if r is not None and r.record.folder is not None}

    def let_go(self, folder: str) -> None:
        """Drop the arrays of results that are on disk, in the folder of this name."""
        for at, step in enumerate(self._steps):
            if step.results:
                lean = {
                    index: (_lean(before, folder), _lean(after, folder))
                    for index, (before, after) in step.results.items()
                }
                self._steps[at] = replace(step, results=lean)


def _lean(result: SliceResult | None, folder: str) -> SliceResult | None:
    if result is None or result.record.folder != folder:
        return result
    return replace(result, arrays={})


def _joined(first: Step, second: Step) -> Step:
    """Return two steps, one after the other, as one."""
    lines = {
        uid: (
            first.lines[uid][0] if uid in first.lines else second.lines[uid][0],
            second.lines[uid][1] if uid in second.lines else first.lines[uid][1],
        )
        for uid in first.lines.keys() | second.lines.keys()
    }
    results = {
        index: (
            first.results[index][0] if index in first.results else second.results[index][0],
            second.results[index][1] if index in second.results else first.results[index][1],
        )
        for index in first.results.keys() | second.results.keys()
    }
    return replace(second, lines=lines, results=results)
