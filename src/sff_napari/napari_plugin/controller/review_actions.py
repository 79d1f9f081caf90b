"""Results and decisions: the part of the controller that accepts, rejects and lists slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sff_napari.errors import StackError
from sff_napari.evaluation.without_truth import NeighbourScores
from sff_napari.napari_plugin.controller.history import Step
from sff_napari.napari_plugin.controller.result_store import SliceResult, geometry_of
from sff_napari.napari_plugin.controller.stack_in_work import StackInWork
from sff_napari.sessions import (
    FoldRecord,
    Index,
    Sidecar,
    SliceRecord,
    folder_name,
)
from sff_napari.sessions.sidecar import ARRAYS

if TYPE_CHECKING:
    from sff_napari.napari_plugin.state import FormState


@dataclass(frozen=True)
class QueueItem:
    """One slice with folds, as the review list shows it."""

    index: Index
    lines: int
    score: float
    state: str
    scores: NeighbourScores | None


class ReviewActions(StackInWork):
    """Accepting, rejecting, the review list; mixed into the controller."""

    form: FormState
    index: Index
    # Signals and helpers of the controller.
    lines_changed: Any
    results_changed: Any
    status: Any
    _run: Any
    ready: Any
    fail: Any
    go_to: Any
    chosen: Any
    ask: Any

    # -- results ---------------------------------------------------------------------

    def take_result(self, result: SliceResult, text: str) -> None:
        """Put a result in the place of what there was; it is stored at once; one step to undo."""
        self._keep_arrays(result)
        self.change_results({result.index: result}, text)

    def _keep_arrays(self, result: SliceResult) -> None:
        if self.keeper is not None and result.record.folder is not None:
            arrays = {key: result.arrays[key] for key in ARRAYS if key in result.arrays}
            self.keeper.keep(result.record, arrays)

    def change_results(self, after: Mapping[Index, SliceResult | None], text: str) -> None:
        """Give slices other results, None for no result; one step to undo."""
        if self.work is None or not after:
            return
        pairs = {index: (self.store.get(index), result) for index, result in after.items()}
        self.work.history.record(Step(text, min(after), results=pairs))
        self.apply_results(after)

    def apply_results(self, after: Mapping[Index, SliceResult | None]) -> None:
        """Give slices other results; no step to undo."""
        if self.lines is None:
            return
        for index, result in after.items():
            if result is None:
                self.store.drop(index)
            else:
                self.store.put(self._with_staleness(result))
        # First it is safe, then it is shown.
        if self.keeper is not None:
            self.keeper.save_at_once()
        for index in after:
            if self.layers is not None:
                self.layers.update(index)
        self._show_states()
        self.results_changed.emit()

    def _with_staleness(self, result: SliceResult) -> SliceResult:
        """Return a result that knows whether its lines are still those it was made with."""
        if self.lines is None or not result.has_lines:
            return result
        stale = geometry_of(self.lines.used_on(result.index)) != result.lines
        return result if stale == result.stale else replace(result, stale=stale)

    def _on_lines(self, touched: set[Index]) -> None:
        """Mark results stale whose lines are no longer those they were made with."""
        if self.lines is None:
            return
        for index in touched:
            result = self.store.get(index)
            fresh = None if result is None else self._with_staleness(result)
            if fresh is not None and fresh is not result:
                self.store.put(fresh)
        self._show_states()
        self.lines_changed.emit()
        self.autosave()

    def _show_states(self) -> None:
        if self.lines is None:
            return
        states = {i: self.state_of(i) for i in {r.index for r in self.lines.records.values()}}
        self.lines.show_states({r.uid: states[r.index] for r in self.lines.records.values()})

    def state_of(self, index: Index) -> str:
        """Return what became of a slice: to do, restored, stale, accepted or rejected."""
        result = self.store.get(index)
        return "to do" if result is None else result.state

    # -- deciding --------------------------------------------------------------------

    def accept_slice(self) -> None:
        """Accept the restored slice that is shown; it is saved at once."""
        result = self.store.get(self.index)
        if result is None:
            self.status.emit("This slice is not restored yet: restore it before accepting it.")
            return
        if result.state == "accepted":
            self.status.emit("This slice is accepted already.")
            return
        if result.state == "stale":
            self.status.emit("The lines or the data have changed since: restore the slice again.")
            return
        if self.store.array(self.index, "restored") is None:
            self.status.emit("The restored slice is no longer there: restore it again.")
            return
        if result.record.folder is None:
            # It was made elsewhere: from now on it is part of this session.
            arrays = {
                key: a for key in ARRAYS if (a := self.store.array(self.index, key)) is not None
            }
            result = replace(result, arrays=arrays).with_record(folder=folder_name(self.index))
            self._keep_arrays(result)
        self.change_results(
            {self.index: result.with_record(state="accepted")}, "accepting the slice"
        )
        self.status.emit("Accepted.")

    def reject_slice(self) -> None:
        """Reject the restored slice that is shown: the original is shown and exported."""
        result = self.store.get(self.index)
        if result is None:
            if self.lines is None or not self.lines.on(self.index):
                self.status.emit("There is no fold on this slice.")
                return
            result = SliceResult(SliceRecord(self.index, "rejected"))
        elif result.record.state == "rejected":
            self.status.emit("This slice is rejected already.")
            return
        self.change_results(
            {self.index: result.with_record(state="rejected")}, "rejecting the slice"
        )
        self.status.emit("Rejected: the original slice stays. Undo or 'Undecided' takes it back.")

    def reopen_slice(self) -> None:
        """Take back the decision on the slice that is shown; its result stays."""
        result = self.store.get(self.index)
        lines = self.lines
        records = [] if lines is None else lines.on(self.index)
        if (
            lines is not None
            and result is None
            and records
            and all(r.state == "rejected" for r in records)
        ):
            lines.put([r.with_changes(state="open") for r in records], "taking lines back")
            self.status.emit("The lines of this slice count again.")
            return
        if result is None or result.record.state == "restored":
            self.status.emit("This slice is not decided.")
            return
        there = result.record.folder is not None or result.arrays or result.load is not None
        after = result.with_record(state="restored") if there else None
        self.change_results({self.index: after}, "taking back the decision")
        self.status.emit("The slice is undecided again.")

    def discard_result(self) -> None:
        """Throw the result of the slice that is shown away; undo brings it back."""
        if self.work is None or self.store.get(self.index) is None:
            self.status.emit("There is no result on this slice.")
            return
        if (
            self.work.is_accepted(self.index)
            and self.ask(
                "This slice is accepted. Discard its restoration all the same?", ["Discard"]
            )
            is None
        ):
            return
        self.change_results({self.index: None}, "discarding the restoration")
        self.status.emit("Discarded: the slice is to do again. Undo brings its result back.")

    def decide_line(self, state: str) -> None:
        """Accept or reject the chosen lines; a rejected one is not used for restoring."""
        records = self.chosen("accept" if state == "accepted" else "reject")
        if not records or self.lines is None:
            return
        self.lines.put(
            [r.with_changes(state="open" if r.state == state else state) for r in records],
            f"marking a line as {state}",
        )
        result = self.store.get(self.index)
        used = self.lines.used_on(self.index)
        done = bool(used) and all(r.state == "accepted" for r in used)
        if done and result is not None and result.state == "restored":
            self.accept_slice()

    # -- the review list -----------------------------------------------------------------

    def queue(self) -> list[QueueItem]:
        """Return all slices with folds, the surest first."""
        if self.lines is None:
            return []
        by_slice: dict[Index, list[FoldRecord]] = {}
        for record in self.lines.records.values():
            by_slice.setdefault(record.index, []).append(record)
        items = []
        for index, records in by_slice.items():
            used = [r for r in records if r.state != "rejected"] or records
            score = max(1.0 if r.score is None else r.score for r in used)
            result = self.store.get(index)
            state = self.state_of(index)
            if state == "to do" and all(r.state == "rejected" for r in records):
                state = "rejected"
            items.append(
                QueueItem(index, len(records), score, state, result.scores if result else None)
            )
        return sorted(items, key=lambda item: (-item.score, item.index))

    def step(self, direction: int) -> None:
        """Go to the next slice of the list that is undecided, or to the previous one."""
        items = self.queue()
        if not items:
            self.status.emit("The review list is empty: detect or draw folds first.")
            return
        order = [item.index for item in items]
        at = order.index(self.index) if self.index in order else (-1 if direction > 0 else 0)
        if direction > 0:
            later = [(at + k) % len(items) for k in range(1, len(items) + 1)]
            left = [k for k in later if items[k].state not in ("accepted", "rejected")]
            if not left:
                self.status.emit("Every slice of the list is decided: export, or go on looking.")
                return
            if order[left[0]] == self.index:
                self.status.emit("This is the only slice of the list that is not decided yet.")
                return
            self.go_to(order[left[0]])
            if left[0] <= at:
                self.status.emit("That was the last of the list: on with the first undecided one.")
        else:
            self.go_to(order[(at - 1) % len(items)])

    # -- saving ----------------------------------------------------------------------------

    def autosave(self) -> None:
        """Save soon."""
        if self.keeper is not None:
            self.keeper.schedule()

    def load_results(self, session: Sidecar) -> None:
        """Take in the results of a session, decided or not; those of this viewer stay."""
        for record in session.slices.values():
            if record.index in self.store:
                continue
            if record.folder is None and record.state != "rejected":
                continue
            try:
                used = geometry_of(FoldRecord.from_dict(line) for line in record.lines)
            except StackError:
                used = frozenset()
            scores = NeighbourScores.from_dict(record.scores) if record.scores else None
            state = "accepted" if record.state == "stale" else record.state
            if record.folder is not None:
                self.store.stored.add(record.folder)
            self.store.put(SliceResult(record.with_changes(state=state), {}, scores, used))
        if self.layers is not None and len(self.store):
            self.layers.update(self.index)
