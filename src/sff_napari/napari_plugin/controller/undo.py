"""Take back and repeat: the part of the controller that travels through its history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sff_napari.napari_plugin.controller.history import Step
from sff_napari.napari_plugin.controller.result_store import SliceResult
from sff_napari.napari_plugin.controller.stack_in_work import StackInWork
from sff_napari.sessions import FoldRecord, Index


class UndoActions(StackInWork):
    """Undo and redo of everything a person did to a stack; mixed into the controller."""

    # Signals and helpers of the controller.
    status: Any
    results_changed: Any
    ask: Any
    go_to: Any
    apply_results: Any

    def undo(self) -> None:
        """Take back the last step, on the slice where it was done."""
        work = self.work
        step = None if work is None else work.history.next_undo
        if work is None or step is None:
            self.status.emit("There is nothing to undo.")
            return
        if not self._may_touch(step, "Undo"):
            return
        work.history.undo()
        self._travel(
            step.index,
            {uid: before for uid, (before, _) in step.lines.items()},
            {index: before for index, (before, _) in step.results.items()},
        )
        self.status.emit(f"Undid: {step.text} ({self._place(step)}).")

    def redo(self) -> None:
        """Repeat the step that was taken back last."""
        work = self.work
        step = None if work is None else work.history.next_redo
        if work is None or step is None:
            self.status.emit("There is nothing to redo.")
            return
        if not self._may_touch(step, "Redo"):
            return
        work.history.redo()
        self._travel(
            step.index,
            {uid: after for uid, (_, after) in step.lines.items()},
            {index: after for index, (_, after) in step.results.items()},
        )
        self.status.emit(f"Redid: {step.text} ({self._place(step)}).")

    def _place(self, step: Step) -> str:
        source = self.source
        return "" if source is None else f"slice {source.name_of(step.index)}"

    def _may_touch(self, step: Step, verb: str) -> bool:
        """Ask before an accepted slice is changed."""
        work = self.work
        if work is None:
            return False
        accepted = [i for i in sorted(step.slices) if work.is_accepted(i)]
        if not accepted:
            return True
        names = ", ".join(work.source.name_of(index) for index in accepted)
        plural = "s" if len(accepted) > 1 else ""
        question = (
            f"Slice{plural} {names} {'are' if plural else 'is'} accepted. "
            f"{verb} all the same: {step.text}?"
        )
        return self.ask(question, [verb]) is not None

    def _travel(
        self,
        index: Index,
        lines: Mapping[str, FoldRecord | None],
        results: Mapping[Index, SliceResult | None],
    ) -> None:
        assert self.lines is not None
        self.go_to(index)
        if results:
            self.apply_results(results)
        if lines:
            self.lines.apply(lines)
        # Whatever a preview or a score showed is over.
        self.results_changed.emit()
