"""Undo and redo for fold lines: napari has none for shapes."""

from __future__ import annotations

from collections.abc import Mapping

from sff_napari.sessions.records import FoldRecord

Lines = dict[str, FoldRecord]
LIMIT = 200
"""Steps that are remembered."""


class History:
    """States of all fold lines, in the order in which they were reached."""

    def __init__(self, lines: Mapping[str, FoldRecord] | None = None) -> None:
        self._states: list[Lines] = [dict(lines or {})]
        self._at = 0

    def record(self, lines: Mapping[str, FoldRecord]) -> bool:
        """Remember a new state; what was undone can no longer be redone.

        Returns
        -------
        bool
            False if nothing differs from the last state.
        """
        if dict(lines) == self._states[self._at]:
            return False
        del self._states[self._at + 1 :]
        self._states.append(dict(lines))
        del self._states[: max(0, len(self._states) - LIMIT)]
        self._at = len(self._states) - 1
        return True

    def replace(self, lines: Mapping[str, FoldRecord]) -> None:
        """Put a state in the place of the present one, without a step to undo."""
        self._states[self._at] = dict(lines)

    def reset(self, lines: Mapping[str, FoldRecord]) -> None:
        """Start anew from a state."""
        self._states, self._at = [dict(lines)], 0

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to undo."""
        return self._at > 0

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to redo."""
        return self._at + 1 < len(self._states)

    def undo(self) -> Lines | None:
        """Go one state back and return it, or None at the beginning."""
        if not self.can_undo:
            return None
        self._at -= 1
        return dict(self._states[self._at])

    def redo(self) -> Lines | None:
        """Go one state on and return it, or None at the end."""
        if not self.can_redo:
            return None
        self._at += 1
        return dict(self._states[self._at])
