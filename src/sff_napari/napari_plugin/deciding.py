"""Restoring slices and deciding about them: the second half of the controller."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from sff_napari import __version__
from sff_napari.errors import StackError
from sff_napari.evaluation.without_truth import NeighbourScores
from sff_napari.napari_plugin.sample import TRUTH
from sff_napari.napari_plugin.store import SliceResult
from sff_napari.napari_plugin.tasks import (
    Restored,
    RestoreRequest,
    restore_slice,
    restore_slices,
)
from sff_napari.sessions import (
    FoldRecord,
    Index,
    Sidecar,
    SliceRecord,
    choose_neighbours,
    clean_pairs,
)

if TYPE_CHECKING:
    from sff_napari.napari_plugin.fold_layer import FoldLines
    from sff_napari.napari_plugin.keeper import Keeper, Snapshot
    from sff_napari.napari_plugin.results import ResultLayers
    from sff_napari.napari_plugin.source import ImageSource
    from sff_napari.napari_plugin.state import FormState
    from sff_napari.napari_plugin.store import ResultStore


@dataclass(frozen=True)
class QueueItem:
    """One slice with folds, as the review list shows it."""

    index: Index
    lines: int
    score: float
    state: str
    scores: NeighbourScores | None


def geometry_of(records: Iterable[FoldRecord]) -> frozenset[Any]:
    """Return what a restoration depends on, whatever the order of the lines."""
    return frozenset(record.geometry for record in records)


class Deciding:
    """Restoring, accepting, rejecting; mixed into the controller."""

    source: ImageSource | None
    lines: FoldLines | None
    store: ResultStore
    layers: ResultLayers | None
    keeper: Keeper | None
    form: FormState
    index: Index
    searched: set[Index]
    # Signals and helpers of the controller.
    lines_changed: Any
    results_changed: Any
    status: Any
    _run: Any
    ready: Any
    fail: Any
    go_to: Any
    chosen: Any

    # -- restoring -------------------------------------------------------------------

    def request_for(self, index: Index) -> RestoreRequest | None:
        """Return what a worker needs to restore a slice; None, said why, if it cannot be."""
        source, lines = self.source, self.lines
        if source is None or lines is None:
            return None
        records = tuple(lines.used_on(index))
        if not records:
            self.fail("There is no fold line on this slice: detect one or draw one first.")
            return None
        damaged = lines.indices()
        neighbours = choose_neighbours(
            index, source.axis, source.count, damaged, skip_damaged=self.form.skip_damaged
        )
        if neighbours.previous is None and neighbours.following is None:
            self.fail(
                f"Slice {source.name_of(index)} has no undamaged neighbour to be restored from: "
                "mark fewer slices, or allow damaged neighbours in the options."
            )
            return None
        pairs = clean_pairs(index, source.axis, source.count, damaged)
        arguments = self.form.as_restore_arguments()
        truth = source.layer.metadata.get(TRUTH, {}).get(index)
        return RestoreRequest(source.read, index, records, neighbours, pairs, arguments, truth)

    def restore_here(self) -> None:
        """Restore the slice that is shown."""
        if not self.ready():
            return
        request = self.request_for(self.index)
        if request is None:
            return
        if request.neighbours.note:
            self.status.emit(request.neighbours.note)
        job = self._run(lambda channel: restore_slice(request, channel))
        job.returned.connect(self._on_restored)

    def restore_all(self) -> None:
        """Restore every slice of the review list that is to do or stale."""
        if not self.ready():
            return
        wanted = [item.index for item in self.queue() if item.state in ("to do", "stale")]
        requests = [r for r in (self.request_for(index) for index in wanted) if r is not None]
        if not requests:
            self.status.emit("There is no slice to restore.")
            return
        job = self._run(lambda channel: restore_slices(requests, channel))
        job.delivered.connect(self._on_restored)
        job.returned.connect(
            lambda n: self.status.emit(f"Done ({n} restored): look at the results now.")
        )

    def _on_restored(self, outcome: Restored) -> None:
        """Take a result in, unless its lines have changed meanwhile."""
        request = outcome.request
        if self.lines is None or self.source is None or self.layers is None:
            return
        used = geometry_of(request.records)
        if geometry_of(self.lines.used_on(request.index)) != used:
            self.status.emit("The lines changed while the slice was restored: restore it again.")
            return
        neighbours = request.neighbours
        record = SliceRecord(
            request.index,
            "restored",
            None,
            dict(request.arguments),
            [r.to_dict() for r in request.records],
            {
                "previous": None if neighbours.previous is None else list(neighbours.previous),
                "following": None if neighbours.following is None else list(neighbours.following),
            },
            {} if outcome.scores is None else outcome.scores.to_dict(),
            {**versions(), "report": outcome.report},
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self.store.put(
            SliceResult(record, outcome.arrays, outcome.scores, used, truth=outcome.truth)
        )
        self._results_changed(request.index)
        note = f"Restored slice {self.source.name_of(request.index)} in {outcome.seconds:.1f} s."
        told = outcome.report.get("notes") or outcome.report.get("fallback") or ""
        if isinstance(told, list):
            told = " ".join(str(part) for part in told)
        self.status.emit(" ".join(part for part in (note, str(told), neighbours.note) if part))

    def _results_changed(self, index: Index) -> None:
        if self.layers is not None:
            self.layers.update(index)
        self._show_states()
        self.results_changed.emit()
        self.autosave()

    def _on_lines(self, touched: set[Index]) -> None:
        """Mark results stale whose lines are no longer those they were made with."""
        if self.lines is None:
            return
        for index in touched:
            result = self.store.get(index)
            if result is None:
                continue
            stale = geometry_of(self.lines.used_on(index)) != result.lines
            if stale != result.stale:
                self.store.put(replace(result, stale=stale))
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
            self.status.emit("This slice is not restored yet: there is nothing to accept.")
            return
        if result.stale:
            self.status.emit("The lines have changed since: restore the slice again first.")
            return
        arrays = {
            key: array
            for key in ("restored", "synthesised", "flow")
            if (array := self.store.array(self.index, key)) is not None
        }
        if "restored" not in arrays:
            self.status.emit("The restored slice is no longer there: restore it again.")
            return
        accepted = result.with_record(state="accepted")
        self.store.put(accepted)
        if self.keeper is not None:
            self.keeper.keep(accepted.record, arrays)
        self._results_changed(self.index)
        self.status.emit("Accepted.")

    def reject_slice(self) -> None:
        """Reject the restored slice that is shown: the original is shown and exported."""
        result = self.store.get(self.index)
        if result is None:
            if self.lines is None or not self.lines.on(self.index):
                self.status.emit("There is no fold on this slice.")
                return
            result = SliceResult(SliceRecord(self.index, "rejected"))
        self.store.put(result.with_record(state="rejected", folder=None))
        if self.keeper is not None:
            self.keeper.forget(self.index)
        self._results_changed(self.index)
        self.status.emit("Rejected: the original slice stays.")

    def decide_line(self, state: str) -> None:
        """Accept or reject the chosen lines; a rejected one is not used for restoring."""
        records = self.chosen("accept" if state == "accepted" else "reject")
        if not records or self.lines is None:
            return
        self.lines.put(r.with_changes(state="open" if r.state == state else state) for r in records)
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
            rest = [items[(at + k) % len(items)] for k in range(1, len(items) + 1)]
            undecided = [item for item in rest if item.state not in ("accepted", "rejected")]
            target = (undecided or rest)[0]
            if not undecided:
                self.status.emit("Every slice of the list is decided.")
        else:
            target = items[(at - 1) % len(items)]
        self.go_to(target.index)

    # -- saving ----------------------------------------------------------------------------

    def autosave(self) -> None:
        """Save soon."""
        if self.keeper is not None:
            self.keeper.schedule()

    def _snapshot(self) -> Snapshot:
        lines = list(self.lines.records.values()) if self.lines is not None else []
        records = [result.record.with_changes(state=result.state) for result in self.store.all()]
        return lines, records, set(self.searched), self.form.to_dict()

    def _on_kept(self, index: Index, folder: str) -> None:
        result = self.store.get(index)
        if result is not None and result.record.state == "accepted":
            self.store.put(result.with_record(folder=folder))
        self.results_changed.emit()

    def load_results(self, session: Sidecar) -> None:
        """Take in the accepted and rejected slices of a session."""
        for record in session.slices.values():
            if record.folder is None and record.state != "rejected":
                continue
            try:
                used = geometry_of(FoldRecord.from_dict(line) for line in record.lines)
            except StackError:
                used = frozenset()
            scores = NeighbourScores.from_dict(record.scores) if record.scores else None
            state = "rejected" if record.state == "rejected" else "accepted"
            self.store.put(SliceResult(record.with_changes(state=state), {}, scores, used))
        if self.layers is not None and len(self.store):
            self.layers.update(self.index)


@cache
def versions() -> dict[str, Any]:
    """Return the versions that a result depends on."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, Any] = {"sff-napari": __version__}
    for name in ("torch", "napari", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
