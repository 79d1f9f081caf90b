"""Restore slices: the part of the controller that starts it and takes results in."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from sff_napari import __version__
from sff_napari.napari_plugin.controller.result_store import SliceResult, geometry_of
from sff_napari.napari_plugin.controller.stack_in_work import StackInWork
from sff_napari.napari_plugin.io.sample import TRUTH
from sff_napari.napari_plugin.notify import show_note
from sff_napari.napari_plugin.workers.tasks import (
    Restored,
    RestoreRequest,
    restore_slice,
    restore_slices,
)
from sff_napari.sessions import (
    Index,
    SliceRecord,
    choose_neighbours,
    clean_pairs,
    folder_name,
)

if TYPE_CHECKING:
    from sff_napari.napari_plugin.state import FormState


class RestorationActions(StackInWork):
    """Restoring one slice or all; mixed into the controller."""

    form: FormState
    index: Index
    # Signals and helpers of the controller.
    status: Any
    _run: Any
    ready: Any
    fail: Any
    ask: Any
    queue: Any
    take_result: Any

    def request_for(self, index: Index) -> RestoreRequest | None:
        """Return what a worker needs to restore a slice; None, said why, if it cannot be."""
        source, lines = self.source, self.lines
        if source is None or lines is None:
            return None
        if source.ndim == 2:
            self.fail(
                "A single image cannot be restored: there are no neighbouring slices. "
                "Open the whole stack."
            )
            return None
        records = tuple(lines.used_on(index))
        if not records:
            self.fail("There is no fold line on this slice: detect one or draw one first.")
            return None
        damaged = lines.indices()
        neighbours = choose_neighbours(
            index,
            source.axis,
            source.count,
            damaged,
            skip_damaged=self.form.skip_damaged,
            positions=source.positions,
        )
        if neighbours.previous is None and neighbours.following is None:
            self.fail(
                f"Slice {source.name_of(index)} has no undamaged neighbour to be restored from: "
                "mark fewer slices, or allow damaged neighbours in the options."
            )
            return None
        pairs = clean_pairs(index, source.axis, source.count, damaged, positions=source.positions)
        arguments = self.form.as_restore_arguments()
        truth = source.layer.metadata.get(TRUTH, {}).get(index)
        return RestoreRequest(
            source.read, source.read_stored, index, records, neighbours, pairs, arguments, truth
        )

    def restore_here(self) -> None:
        """Restore the slice that is shown."""
        if not self.ready() or self.work is None:
            return
        request = self.request_for(self.index)
        if request is None:
            return
        if (
            self.work.is_accepted(self.index)
            and self.ask(
                "This slice is accepted. Restore it again? The new result will be undecided.",
                ["Restore again"],
            )
            is None
        ):
            return
        if request.neighbours.note:
            self.status.emit(request.neighbours.note)
        self._start_restoring([request])

    def restore_all(self) -> None:
        """Restore every slice of the review list that is to do or stale."""
        if not self.ready() or self.work is None:
            return
        wanted = [item.index for item in self.queue() if item.state in ("to do", "stale")]
        accepted = [index for index in wanted if self.work.is_accepted(index)]
        if accepted:
            count = "one slice" if len(accepted) == 1 else f"{len(accepted)} slices"
            answer = self.ask(
                f"The lines of {count} that you accepted have changed since. "
                "Restore accepted slices again, too? They will be undecided.",
                ["Restore them, too", "Leave them as they are"],
            )
            if answer is None:
                return
            if answer == 1:
                wanted = [index for index in wanted if index not in accepted]
        requests = [r for r in (self.request_for(index) for index in wanted) if r is not None]
        if not requests:
            self.status.emit("There is no slice to restore.")
            return
        self._start_restoring(requests)

    def _start_restoring(self, requests: list[RestoreRequest]) -> None:
        before = {r.index: self.store.get(r.index) for r in requests}
        many = len(requests) > 1

        def take(outcome: Restored) -> None:
            index = outcome.request.index
            now, old = self.store.get(index), before[index]
            state = None if now is None else now.record.state
            if state != (None if old is None else old.record.state):
                self.status.emit("The slice was decided meanwhile: the new result is dropped.")
                return
            self._on_restored(outcome)

        if many:
            job = self._run(lambda channel: restore_slices(requests, channel))
            job.delivered.connect(take)
            job.returned.connect(
                lambda n: self.status.emit(f"Done ({n} restored): look at the results now.")
            )
        else:
            job = self._run(lambda channel: restore_slice(requests[0], channel))
            job.returned.connect(take)

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
            folder_name(request.index),
            dict(request.arguments),
            [r.to_dict() for r in request.records],
            {
                "previous": None if neighbours.previous is None else list(neighbours.previous),
                "following": None if neighbours.following is None else list(neighbours.following),
            },
            {
                **({} if outcome.scores is None else outcome.scores.to_dict()),
                **({} if outcome.local is None else {"local": outcome.local.to_dict()}),
            },
            {**versions(), "report": outcome.report},
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self.take_result(
            SliceResult(record, dict(outcome.arrays), outcome.scores, used, truth=outcome.truth),
            "restoring the slice",
        )
        self.layers.show()
        done = f"Restored slice {self.source.name_of(request.index)} in {outcome.seconds:.1f} s."
        result = self.store.get(request.index)
        notes = [] if result is None else result.notes
        fallback = str(outcome.report.get("fallback") or "")
        self.status.emit(" ".join(p for p in (done, *notes, fallback, neighbours.note) if p))
        for note in notes:
            show_note(note)
        if outcome.warning:
            self.fail(outcome.warning)


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
