"""Choose the stack in work, and its session: a part of the controller.

The stack in work changes only when a person chooses another one in the panel.
What belongs to the one before is kept, on disk and in memory, and comes back.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from sff_napari.errors import SffError
from sff_napari.napari_plugin.controller.stack_in_work import StackInWork
from sff_napari.napari_plugin.controller.workspace import Workspace
from sff_napari.napari_plugin.io.stack_reader import FileFacts, facts_in_file
from sff_napari.napari_plugin.layers.image_source import ImageSource
from sff_napari.napari_plugin.layers.shapes_style import DRAWING_TOOLS
from sff_napari.sessions import Identity, Index, Sidecar, identify

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari import Viewer
    from napari.layers import Image, Labels

    from sff_napari.napari_plugin.layers.layer_queue import LayerQueue
    from sff_napari.napari_plugin.state import FormState
    from sff_napari.napari_plugin.workers.job import Channel


class StackSwitching(StackInWork):
    """Which stack is in work, and the session that is offered; mixed into the controller."""

    viewer: Viewer
    form: FormState
    parked: list[Workspace]
    layer_queue: LayerQueue
    index: Index
    session_folder: str | None
    on_fold_layer: Callable[[Any], None] | None
    # Signals and helpers of the controller.
    source_changed: Any
    index_changed: Any
    results_changed: Any
    offered: Any
    scale_known: Any
    mask_changed: Any
    saved: Any
    layers_changed: Any
    tool_changed: Any
    status: Any
    cancel: Any
    fail: Any
    ask: Any
    go_to: Any
    _run: Any
    _on_lines: Any
    _on_drawn: Any
    load_results: Any

    # -- which stack -----------------------------------------------------------------

    def choose(self, layer: Image | None, slice_axis: int | None = None) -> None:
        """Work on another image layer, or on none; what belongs to the present one is kept."""
        work = self.work
        if work is not None and layer is work.source.layer:
            if slice_axis is not None and slice_axis != work.source.axis:
                work.source.axis = slice_axis
                self.source_changed.emit()
            return
        if self.is_busy:
            self.source_changed.emit()
            self.status.emit(
                "Something is running for this stack: wait for it or cancel it before you "
                "choose another one."
            )
            return
        chosen = None
        if layer is not None:
            chosen = next((p for p in self.parked if p.source.layer is layer), None)
            if chosen is None:
                try:
                    chosen = self._new_workspace(ImageSource(layer, slice_axis))
                except SffError as error:
                    self.source_changed.emit()
                    self.fail(str(error))
                    return
        self._park()
        if chosen is not None:
            self._enter(chosen)
        else:
            self.index = ()
            self.source_changed.emit()
            self.offered.emit(None)

    def _new_workspace(self, source: ImageSource) -> Workspace:
        work = Workspace.of(self.viewer, source, self.layer_queue)
        work.settings = self.form.to_dict()
        work.layers.wanted = set(self.form.show)
        work.lines.on_layer = self.on_fold_layer
        work.layers.on_change = self.layers_changed.emit
        work.lines.changed.connect(partial(self._when_in_work, work, self._on_lines))
        work.lines.noticed.connect(self.fail)
        work.lines.tool_changed.connect(partial(self._when_in_work, work, self.tool_changed.emit))
        work.lines.drawn.connect(partial(self._when_in_work, work, self._on_drawn))
        work.lines.tool_changed.connect(
            lambda mode: work.layers.hide_for_drawing(mode in DRAWING_TOOLS)
        )
        work.keeper.saved.connect(partial(self._when_in_work, work, self.saved.emit))
        work.keeper.failed.connect(self.fail)
        work.keeper.answered.connect(partial(self._on_answered, work))
        source.layer.events.data.connect(self._on_data)
        return work

    def _when_in_work(self, work: Workspace, call: Callable[..., Any], *args: Any) -> None:
        if self.work is work:
            call(*args)

    def _park(self) -> None:
        """Put the present stack away: its session is saved, its layers go, the rest stays."""
        work, self.work = self.work, None
        if work is not None:
            work.settings = self.form.to_dict()
            work.detach()
            self.parked.append(work)

    def _enter(self, work: Workspace) -> None:
        known = work in self.parked
        if known:
            self.parked.remove(work)
        self.work = work
        self.index = work.index = work.source.index_at(self.viewer)
        work.layers.want(set(self.form.show))
        work.attach()
        self.source_changed.emit()
        self.offered.emit(work.keeper.offered)
        if known and work.keeper.sidecar is not None:
            self._say_place(work)
        elif not known:
            self._identify(work)

    def _end(self, work: Workspace) -> None:
        """Save a workspace and let go of its session and its layer."""
        work.source.layer.events.data.disconnect(self._on_data)
        work.end()

    def _on_removed(self, event: Any) -> None:
        """React to a layer that a person removed; layers are changed later only."""
        layer, work = event.value, self.work
        for parked in [p for p in self.parked if p.source.layer is layer]:
            self.parked.remove(parked)
            self._end(parked)
        if work is None:
            return
        if layer is work.source.layer:
            self.cancel()
            self.work = None
            work.detach()
            self._end(work)
            self.index = ()
            self.source_changed.emit()
            self.offered.emit(None)
        elif layer is work.source.mask_layer:
            self.choose_mask(None)
        elif layer is work.lines.layer:
            work.lines.detach()
            self.status.emit(
                "The layer 'folds' was removed; its lines are kept: 'Show results' brings it back."
            )
            self.results_changed.emit()
        elif layer in work.layers.layers.values():
            self.status.emit(
                f"The layer '{layer.name}' was removed; its results are kept: "
                "'Show results' brings it back."
            )
            self.results_changed.emit()

    def show_results(self) -> None:
        """Bring back the layers of the stack in work that were removed or hidden."""
        if self.work is not None:
            self.work.attach()
            self.layer_queue.later(self.work.layers.show)
            self.layer_queue.later(self.results_changed.emit)

    def take_file_scale(self) -> None:
        """Use the voxel size that the stack's file says, for its layer and those made from it."""
        work, index = self.work, self.index
        if work is None or not work.source.take_file_scale():
            return
        # Layers made before have the old scale: they are made anew.
        work.detach()
        work.attach()
        self.layer_queue.later(self.viewer.reset_view)
        self.layer_queue.later(lambda: self.go_to(index))
        self.scale_known.emit()

    def choose_mask(self, layer: Labels | None) -> None:
        """Take labels as the pixels without data, or none; what was restored before stays."""
        work = self.work
        if work is None or layer is work.source.mask_layer:
            return
        try:
            work.source.take_mask(layer)
        except SffError as error:
            self.fail(str(error))
        else:
            self.status.emit(
                "No pixel is marked as no data any more."
                if layer is None
                else f"What '{layer.name}' marks counts as no data from now on: it stays as it is "
                "and takes no part."
            )
            work.keeper.schedule()
        self.mask_changed.emit()

    # -- data that another program exchanges -------------------------------------------

    def _on_data(self, event: Any) -> None:
        every = [*self.parked, *([] if self.work is None else [self.work])]
        for work in every:
            if work.source.layer is event.source and work.source.held is not work.source.layer.data:
                if work is self.work:
                    self.cancel()
                self.layer_queue.later(partial(self._take_data, work), key=(id(work), "data"))

    def _take_data(self, work: Workspace) -> None:
        """Go on with the new data: lines stay, results are stale."""
        layer = work.source.layer
        if layer not in self.viewer.layers or layer.data is work.source.held:
            return
        name = layer.name
        if not work.source.renew():
            here = work is self.work
            if here:
                self.work = None
                work.detach()
            else:
                self.parked.remove(work)
            self._end(work)
            self.fail(
                f"The data of '{name}' have another shape or type now: the lines and results "
                f"made so far are kept in {work.keeper.place}."
            )
            if here:
                self.choose(layer)
            return
        for result in work.store.all():
            if result.record.state != "rejected":
                work.store.put(result.with_record(outdated=True))
        work.line_checks.clear()
        work.layers.renew()
        work.keeper.schedule()
        if work is self.work:
            self._on_lines(set())
            self.results_changed.emit()
        self.fail(
            f"The data of '{name}' were changed by another program: the lines are kept, "
            "and results made before are stale."
        )

    # -- its session -----------------------------------------------------------------

    def _identify(self, work: Workspace) -> None:
        """Find the session of the stack; its first slice is read in a worker."""
        source, keeper = work.source, work.keeper
        first: Index = (0,) * (source.ndim - 2)

        def look(channel: Channel) -> tuple[Identity, FileFacts]:
            identity = identify(source.shape, source.dtype, source.read_stored(first))
            return identity, facts_in_file(source.path, source.shape)

        def found(seen: tuple[Identity, FileFacts]) -> None:
            identity, source.facts = seen
            offer = keeper.open(source.layer.name, identity, source.path, self.session_folder)
            if offer is None and (work.lines.records or len(work.store)):
                keeper.schedule()
            if self.work is not work:
                return
            self.offered.emit(offer)
            self.scale_known.emit()
            self._say_place(work)
            if keeper.rival is not None and offer is None:
                who = str(keeper.rival)
                self.fail(
                    f"{who[:1].upper()}{who[1:]} has this stack open: "
                    f"this viewer saves its own session in {keeper.place}."
                )

        def is_known() -> bool:
            return work is self.work or work in self.parked

        self._run(look, alone=False, wanted=is_known).returned.connect(found)

    def _say_place(self, work: Workspace) -> None:
        if work.keeper.place is not None:
            self.saved.emit(f"Session: {work.keeper.place}")

    def settle_offer(self) -> bool:
        """Ask what becomes of a session that is offered; False if that was not answered."""
        keeper = None if self.work is None else self.work.keeper
        if keeper is None or keeper.offered is None:
            return True
        copy = keeper.offers_copy
        answer = self.ask(
            "There is earlier work on this stack. Continue it, or start anew? "
            "Starting anew deletes nothing.",
            ["Use a copy", "Start empty"] if copy else ["Continue", "Start anew"],
        )
        if answer == 0:
            self.continue_session()
        elif answer == 1:
            self.start_anew()
        return answer is not None

    def continue_session(self) -> None:
        """Take up the session that was offered, on the slice where it stopped."""
        work = self.work
        if work is None:
            return
        try:
            session = work.keeper.take_up()
        except SffError as error:
            self.fail(str(error))
            return
        self.offered.emit(None)
        if session is None:
            return
        self._load(work, session)
        self._find_mask(work, session)
        shown = session.settings.get("shown")
        if isinstance(shown, list) and len(shown) == len(self.index) and shown:
            self.go_to(tuple(int(i) for i in shown))
        decided = sum(r.record.state in ("accepted", "rejected") for r in work.store.all())
        self.status.emit(f"Continued where you stopped; slices decided so far: {decided}.")

    def _find_mask(self, work: Workspace, session: Sidecar) -> None:
        """Take the labels that the session had as the pixels without data, if they are open."""
        name = session.settings.get("mask")
        if not name or work.source.mask_layer is not None:
            return
        if name in self.viewer.layers:
            self.choose_mask(self.viewer.layers[name])
        else:
            self.fail(
                f"The labels '{name}' marked pixels without data in this session: "
                "open them and choose them in the panel before you restore more."
            )

    def start_anew(self) -> None:
        """Set the offered session aside."""
        if self.work is not None:
            self.work.keeper.start_anew()
        self.offered.emit(None)

    def _on_answered(self, work: Workspace, copy: bool) -> None:
        if self.work is not work:
            return
        self.offered.emit(None)
        self.status.emit(
            "Started empty; the other viewer's session stays as it is."
            if copy
            else "Started anew; the earlier session was renamed, not deleted."
        )

    def _load(self, work: Workspace, session: Sidecar) -> None:
        """Take in a session; what was drawn before it was offered stays, too."""
        work.searched |= session.searched
        self.load_results(session)
        known = {record.uid for record in session.folds}
        drawn = [r for uid, r in work.lines.records.items() if uid not in known]
        work.lines.load([*session.folds, *drawn])
        if drawn:
            work.keeper.schedule()
