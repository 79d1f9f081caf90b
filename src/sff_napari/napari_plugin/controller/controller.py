"""One stack being repaired in one viewer: everything the widgets call; main thread only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QCoreApplication, QObject, QTimer, Signal

from sff_napari.napari_plugin import compat
from sff_napari.napari_plugin.controller.detection_actions import DetectionActions
from sff_napari.napari_plugin.controller.line_checks import LineChecks
from sff_napari.napari_plugin.controller.line_editing import LineEditing
from sff_napari.napari_plugin.controller.restoration_actions import RestorationActions
from sff_napari.napari_plugin.controller.review_actions import ReviewActions
from sff_napari.napari_plugin.controller.stack_switching import StackSwitching
from sff_napari.napari_plugin.controller.undo import UndoActions
from sff_napari.napari_plugin.controller.workspace import Workspace
from sff_napari.napari_plugin.layers.layer_queue import LayerQueue
from sff_napari.napari_plugin.notify import show_problem
from sff_napari.napari_plugin.state import FormState
from sff_napari.napari_plugin.widgets.questions import choose_answer
from sff_napari.napari_plugin.workers.job import Channel, Job
from sff_napari.napari_plugin.workers.tasks import Machine, warm_up
from sff_napari.sessions import Index

if TYPE_CHECKING:
    from napari import Viewer


_REST_MS = 90
"""The slider rests when it has not moved for this long."""


class Controller(
    LineEditing,
    DetectionActions,
    RestorationActions,
    ReviewActions,
    UndoActions,
    StackSwitching,
    QObject,
):
    """The state of a repair session and the actions on it.

    Parameters
    ----------
    viewer : napari.Viewer
        Where it happens.
    """

    source_changed = Signal()
    index_changed = Signal()
    lines_changed = Signal()
    results_changed = Signal()
    status = Signal(str)
    saved = Signal(str)
    layers_changed = Signal()
    tool_changed = Signal(str)
    busy = Signal(bool)
    progressed = Signal(float, str)
    offered = Signal(object)
    scale_known = Signal()
    mask_changed = Signal()
    machine_known = Signal(object)
    side_view = Signal()
    export_wanted = Signal()
    exported = Signal(str)

    def __init__(self, viewer: Viewer, form: FormState | None = None) -> None:
        super().__init__()
        self.viewer = viewer
        self.form = form or FormState()
        self.work: Workspace | None = None
        self.parked: list[Workspace] = []
        """Stacks that were in work before, with all that belongs to them."""
        self.layer_queue = LayerQueue(QCoreApplication.instance())
        self.job: Job | None = None
        self.machine: Machine | None = None
        self.index: Index = ()
        self.session_folder: str | None = None
        self.on_fold_layer: Callable[[Any], None] | None = None
        self._jobs: set[Job] = set()
        self._closed = False
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.setInterval(_REST_MS)
        self._settled.timeout.connect(self._on_settled)
        compat.keep_shader_programs()
        self.line_checks = LineChecks(self)
        viewer.dims.events.point.connect(self._on_dims)
        viewer.layers.events.removed.connect(self._on_removed)

    # -- the machine -----------------------------------------------------------------

    def warm_up(self) -> None:
        """Load PyTorch in the background and learn what this machine offers."""
        job = self._run(warm_up, alone=False, wanted=lambda: True)
        job.returned.connect(self._on_machine)

    def _on_machine(self, machine: Machine) -> None:
        self.machine = machine
        self.machine_known.emit(machine)

    # -- where we are ------------------------------------------------------------------

    def _on_dims(self, *_: Any) -> None:
        if self.work is None:
            return
        index = self.work.source.index_at(self.viewer)
        if index != self.index:
            self.index = self.work.index = index
            # The panel follows once the slider rests, so that it never slows the slider down.
            self._settled.start()

    def _on_settled(self) -> None:
        self.index_changed.emit()
        if self.work is not None:
            self.work.keeper.note_place()

    def go_to(self, index: Index) -> None:
        """Show a slice."""
        if self.source is not None:
            self.source.show(self.viewer, index)

    # -- jobs ------------------------------------------------------------------------------

    def _run(
        self,
        function: Callable[[Channel], Any],
        *,
        alone: bool = True,
        wanted: Callable[[], bool] | None = None,
    ) -> Job:
        """Run a function in a worker; `alone` jobs block the buttons and can be cancelled.

        Results are dropped when another stack is in work by then, or other data, unless
        `wanted` says otherwise.
        """
        work = self.work

        def same_stack() -> bool:
            return work is None or (self.work is work and work.source.is_current(self.viewer))

        asked = wanted or same_stack
        job = Job(function, lambda: not self._closed and asked())
        self._jobs.add(job)
        job.failed.connect(self.fail)
        job.finished.connect(lambda: self._on_finished(job))
        if alone:
            self.job = job
            job.progressed.connect(self.progressed)
            job.cancelled.connect(lambda: self.status.emit("Cancelled; nothing was changed."))
            self.busy.emit(True)
        job.start()
        return job

    def _on_finished(self, job: Job) -> None:
        self._jobs.discard(job)
        if self.job is job:
            self.job = None
            self.busy.emit(False)

    def cancel(self) -> None:
        """Stop the running job."""
        if self.job is not None:
            self.status.emit("Cancelling")
            self.job.cancel()

    # -- speaking ----------------------------------------------------------------------------

    def fail(self, sentence: str) -> None:
        """Show one sentence as a notification."""
        self.status.emit(sentence)
        show_problem(sentence)

    def ask(self, question: str, answers: list[str]) -> int | None:
        """Ask a question; return which answer was given, None for "Cancel"."""
        return choose_answer(self.viewer, question, answers)

    def ready(self) -> bool:
        """Tell whether an action may start; say why not."""
        if self.source is None or self.lines is None:
            self.fail("There is no image to work on: open a stack and choose it in the panel.")
            return False
        if self.is_busy:
            self.status.emit("Something is still running: wait for it, or cancel it.")
            return False
        return self.settle_offer()

    # -- end ---------------------------------------------------------------------------------

    def close(self, *, viewer_ends: bool = False) -> None:
        """Stop everything, save, and take the layers away unless the viewer ends, too."""
        if self._closed:
            return
        self._closed = True
        with suppress(RuntimeError):  # the application may be ending
            self._settled.stop()
            self.line_checks.stop()
        self.viewer.dims.events.point.disconnect(self._on_dims)
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        for job in list(self._jobs):
            job.cancel()
        work, self.work = self.work, None
        if viewer_ends:
            self.layer_queue.clear()
        elif work is not None:
            work.detach()
        for each in [*self.parked, *([] if work is None else [work])]:
            self._end(each)
        self.parked.clear()
        self.layer_queue.later(self.layer_queue.deleteLater)
