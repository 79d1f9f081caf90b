"""Find folds: the part of the controller that starts the detection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sff_napari.napari_plugin.controller.stack_in_work import StackInWork
from sff_napari.napari_plugin.workers.tasks import detect_slice, detect_slices
from sff_napari.sessions import FoldRecord, Index
from sff_napari.sessions.simplify import is_same_line

if TYPE_CHECKING:
    from sff_napari.napari_plugin.state import FormState


class DetectionActions(StackInWork):
    """Detecting folds on one slice or all; mixed into the controller."""

    form: FormState
    index: Index
    # Signals and helpers of the controller.
    lines_changed: Any
    status: Any
    _run: Any
    ready: Any
    ask: Any
    autosave: Any

    def detect_here(self) -> None:
        """Look for folds on the slice that is shown."""
        if not self.ready() or self.source is None or self.work is None:
            return
        if (
            self.work.is_accepted(self.index)
            and self.ask(
                "This slice is accepted: new lines on it would make its result stale. "
                "Detect all the same?",
                ["Detect"],
            )
            is None
        ):
            return
        index, read = self.index, self.source.read
        arguments = self.form.as_detect_arguments()

        def found(folds: list[Any]) -> None:
            added = self._add_found(index, folds)
            source = self.source
            shown = source is None or self.index == index
            place = "this slice" if source is None or shown else f"slice {source.name_of(index)}"
            if added:
                self.status.emit(f"Found {added} new fold line{'s' * (added > 1)} on {place}.")
            elif folds:
                self.status.emit(f"Found the lines that are on {place} already.")
            else:
                self.status.emit(f"Found no fold on {place}. Draw a line if there is one.")

        job = self._run(lambda channel: detect_slice(read, index, arguments, channel))
        job.returned.connect(found)

    def detect_all(self) -> None:
        """Search all slices that were not searched yet, in the background."""
        if not self.ready() or self.source is None or self.work is None:
            return
        work = self.work
        # What a person has accepted is not touched.
        every = [i for i in self.source.every_index(self.index) if not work.is_accepted(i)]
        left = [index for index in every if index not in work.searched]
        if not left:
            work.searched -= set(every)
            left = every
        if not left:
            self.status.emit("Every slice is accepted: there is nothing to search.")
            return
        # Start beside the person: what is near is wanted first.
        here = self.source.place_of(self.index)
        place_of = self.source.place_of
        left = sorted(left, key=lambda index: abs(place_of(index) - here))
        read, arguments = self.source.read, self.form.as_detect_arguments()
        job = self._run(lambda channel: detect_slices(read, left, arguments, channel))
        job.delivered.connect(lambda part: self._add_found(*part))
        job.returned.connect(lambda count: self.status.emit(f"Searched every slice ({count} now)."))

    def _add_found(self, index: Index, folds: Iterable[Any]) -> int:
        """Add detected lines that are not there yet; return how many."""
        if self.lines is None or self.work is None:
            return 0
        self.work.searched.add(index)
        there = [(r.vertices, r.half_width) for r in self.lines.on(index)]
        new = []
        for fold in folds:
            near = [max(8.0, fold.half_width + width) for _, width in there]
            if any(
                is_same_line(fold.vertices, vertices, within)
                for (vertices, _), within in zip(there, near, strict=True)
            ):
                continue
            new.append(FoldRecord.of(fold, index))
        if new:
            self.lines.put(new, f"detecting {len(new)} line{'s' * (len(new) > 1)}")
        else:
            self.lines_changed.emit()
            self.autosave()
        return len(new)
