"""One stack being repaired in one viewer: everything the widgets call; main thread only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from sff_napari.errors import SffError
from sff_napari.napari_plugin.correcting import Correcting
from sff_napari.napari_plugin.deciding import Deciding
from sff_napari.napari_plugin.fold_layer import FoldLines
from sff_napari.napari_plugin.keeper import Keeper
from sff_napari.napari_plugin.notify import show_problem
from sff_napari.napari_plugin.results import ResultLayers
from sff_napari.napari_plugin.source import ImageSource
from sff_napari.napari_plugin.state import FormState
from sff_napari.napari_plugin.store import ResultStore
from sff_napari.napari_plugin.tasks import (
    Machine,
    detect_slice,
    detect_slices,
    warm_up,
)
from sff_napari.napari_plugin.workers import Channel, Job
from sff_napari.sessions import FoldRecord, Identity, Index, Sidecar, identify
from sff_napari.sessions.thinning import is_same_line

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image


_REST_MS = 90
"""The slider rests when it has not moved for this long."""


class Controller(Correcting, Deciding, QObject):
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
    busy = Signal(bool)
    progressed = Signal(float, str)
    offered = Signal(object)
    machine_known = Signal(object)
    side_view = Signal()
    export_wanted = Signal()

    def __init__(self, viewer: Viewer, form: FormState | None = None) -> None:
        super().__init__()
        self.viewer = viewer
        self.form = form or FormState()
        self.source: ImageSource | None = None
        self.lines: FoldLines | None = None
        self.store = ResultStore()
        self.layers: ResultLayers | None = None
        self.keeper: Keeper | None = None
        self.job: Job | None = None
        self.machine: Machine | None = None
        self.searched: set[Index] = set()
        self.index: Index = ()
        self.session_folder: str | None = None
        self.on_fold_layer: Callable[[Any], None] | None = None
        self._jobs: set[Job] = set()
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.setInterval(_REST_MS)
        self._settled.timeout.connect(self.index_changed)
        viewer.dims.events.point.connect(self._on_dims)
        viewer.layers.events.removed.connect(self._on_removed)

    # -- the stack -------------------------------------------------------------------

    def warm_up(self) -> None:
        """Load PyTorch in the background and learn what this machine offers."""
        job = self._run(warm_up, alone=False)
        job.returned.connect(self._on_machine)

    def _on_machine(self, machine: Machine) -> None:
        self.machine = machine
        self.machine_known.emit(machine)

    def choose(self, layer: Image | None, slice_axis: int | None = None) -> None:
        """Work on another image layer, or on none."""
        now = self.source
        same = now is not None and layer is now.layer and slice_axis in (None, now.axis)
        if same and now is not None and now.is_current(self.viewer):
            return
        self._leave()
        if layer is None:
            self.source_changed.emit()
            return
        try:
            source = ImageSource(layer, slice_axis)
        except SffError as error:
            self.fail(str(error))
            self.source_changed.emit()
            return
        self.source = source
        self.index = source.index_at(self.viewer)
        self.keeper = keeper = Keeper(self._snapshot)
        keeper.saved.connect(self.saved)
        keeper.failed.connect(self.fail)
        keeper.kept.connect(self._on_kept)
        keeper.answered.connect(lambda: self.offered.emit(None))
        self.store = ResultStore(keeper.read)
        self.layers = ResultLayers(self.viewer, source, self.store)
        self.layers.wanted = set(self.form.show)
        self.lines = FoldLines(self.viewer, source)
        self.lines.on_layer = self.on_fold_layer
        self.lines.changed.connect(self._on_lines)
        self.lines.noticed.connect(self.fail)
        self.source_changed.emit()
        self._identify(source, keeper)

    def _leave(self) -> None:
        """Let go of the present stack; its layers of results go, its session is saved."""
        self.cancel()
        if self.keeper is not None:
            self.keeper.close()
        if self.layers is not None:
            self.layers.detach()
        if self.lines is not None:
            layer = self.lines.layer
            self.lines.detach()
            if layer is not None and layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        self.source = self.lines = self.layers = self.keeper = None
        self.store = ResultStore()
        self.searched = set()
        self.index = ()

    def _identify(self, source: ImageSource, keeper: Keeper) -> None:
        """Find the session of the stack; its first slice is read in a worker."""
        first: Index = (0,) * (source.ndim - 2)

        def look(channel: Channel) -> Identity:
            return identify(source.shape, source.dtype, source.read(first))

        def found(identity: Identity) -> None:
            name = source.layer.name
            offer = keeper.open(name, identity, source.path, self.session_folder)
            self.offered.emit(offer)
            if offer is None and self.lines is not None and self.lines.records:
                keeper.schedule()
            self.session_ready()
            if keeper.rival is not None and offer is None:
                who = str(keeper.rival)
                self.fail(
                    f"{who[:1].upper()}{who[1:]} has this stack open: "
                    f"this viewer saves its own session in {keeper.place}."
                )

        job = self._run(look, alone=False)
        job.returned.connect(found)

    def session_ready(self) -> None:
        """Say where the session is kept."""
        if self.keeper is not None and self.keeper.place is not None:
            self.saved.emit(f"Session: {self.keeper.place}")

    def continue_session(self) -> None:
        """Take up the session that was offered."""
        if self.keeper is None or self.lines is None:
            return
        try:
            session = self.keeper.take_up()
        except SffError as error:
            self.fail(str(error))
            return
        self.offered.emit(None)
        if session is None:
            return
        self._load(session)
        self.status.emit(f"Continued where you stopped; slices decided so far: {len(self.store)}.")

    def start_anew(self) -> None:
        """Set the offered session aside."""
        copy = self.keeper is not None and self.keeper.offers_copy
        if self.keeper is not None:
            self.keeper.start_anew()
        self.offered.emit(None)
        self.status.emit(
            "Started empty; the other viewer's session stays as it is."
            if copy
            else "Started anew; the earlier session was renamed, not deleted."
        )

    def _load(self, session: Sidecar) -> None:
        assert self.lines is not None
        self.searched = set(session.searched)
        self.load_results(session)
        self.lines.load(session.folds)

    # -- where we are ------------------------------------------------------------------

    def _on_dims(self, *_: Any) -> None:
        if self.source is None:
            return
        index = self.source.index_at(self.viewer)
        if index != self.index:
            self.index = index
            # The panel follows once the slider rests, so that it never slows the slider down.
            self._settled.start()

    def _on_removed(self, event: Any) -> None:
        layer = event.value
        if self.source is not None and layer is self.source.layer:
            self._leave()
            self.source_changed.emit()
        elif self.lines is not None and layer is self.lines.layer:
            self.lines.detach()
            self.status.emit(
                "The layer 'folds' was removed; its lines come back with the next one."
            )

    def go_to(self, index: Index) -> None:
        """Show a slice."""
        if self.source is not None:
            self.source.show(self.viewer, index)

    # -- jobs ------------------------------------------------------------------------------

    def _run(self, function: Callable[[Channel], Any], *, alone: bool = True) -> Job:
        """Run a function in a worker; `alone` jobs block the buttons and can be cancelled."""
        source = self.source
        job = Job(
            function,
            lambda: source is None or (self.source is source and source.is_current(self.viewer)),
        )
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

    @property
    def is_busy(self) -> bool:
        """Whether a job is running that must end before the next one."""
        return self.job is not None

    def cancel(self) -> None:
        """Stop the running job."""
        if self.job is not None:
            self.status.emit("Cancelling")
            self.job.cancel()

    def fail(self, sentence: str) -> None:
        """Show one sentence as a notification."""
        self.status.emit(sentence)
        show_problem(sentence)

    def ready(self) -> bool:
        """Tell whether an action may start; say why not."""
        if self.source is None or self.lines is None:
            self.fail("There is no image to work on: open a stack and choose it in the panel.")
            return False
        if self.is_busy:
            self.status.emit("Something is still running: wait for it, or cancel it.")
            return False
        return True

    # -- finding -----------------------------------------------------------------------

    def detect_here(self) -> None:
        """Look for folds on the slice that is shown."""
        if not self.ready() or self.source is None:
            return
        index, read = self.index, self.source.read
        arguments = self.form.as_detect_arguments()

        def found(folds: list[Any]) -> None:
            added = self._add_found(index, folds)
            if added:
                self.status.emit(f"Found {added} new fold line{'s' * (added > 1)} on this slice.")
            elif folds:
                self.status.emit("Found the lines that are there already.")
            else:
                self.status.emit("Found no fold on this slice. Draw a line if there is one.")

        job = self._run(lambda channel: detect_slice(read, index, arguments, channel))
        job.returned.connect(found)

    def detect_all(self) -> None:
        """Search all slices that were not searched yet, in the background."""
        if not self.ready() or self.source is None:
            return
        every = self.source.every_index(self.index)
        left = [index for index in every if index not in self.searched]
        if not left:
            self.searched -= set(every)
            left = every
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
        if self.lines is None:
            return 0
        self.searched.add(index)
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
            self.lines.put(new)
        else:
            self.lines_changed.emit()
            self.autosave()
        return len(new)

    # -- end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop everything and save; the layers stay in the viewer."""
        self._settled.stop()
        self.viewer.dims.events.point.disconnect(self._on_dims)
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        for job in list(self._jobs):
            job.cancel()
        if self.lines is not None:
            self.lines.detach()
        if self.keeper is not None:
            self.keeper.close()
