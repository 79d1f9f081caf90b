"""One stack in the dock of a restorer: repaired slices, decisions, layers and their session."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from sff_napari.errors import SffError
from sff_napari.napari_plugin.controller.autosave import Autosave, Snapshot
from sff_napari.napari_plugin.controller.restoration_actions import versions
from sff_napari.napari_plugin.controller.result_store import ResultStore, SliceResult
from sff_napari.napari_plugin.layers.layer_queue import LayerQueue
from sff_napari.napari_plugin.layers.result_layers import ResultLayers
from sff_napari.sessions import Identity, Index, SliceRecord, folder_name
from sff_napari.sessions.export import ExportJob
from sff_napari.sessions.records import SliceState
from sff_napari.sessions.sidecar import ARRAYS

if TYPE_CHECKING:
    from napari import Viewer

    from sff_napari.napari_plugin.layers.image_source import ImageSource


class SliceRepairs(QObject):
    """The repaired slices of one stack; what a person has made or decided goes to disk at once.

    Parameters
    ----------
    viewer : napari.Viewer
        Where results are shown.
    source : ImageSource
        The stack.
    purpose : str
        What is done to it; the session lies beside those of other purposes.
    layers : dict
        Names in the viewer of the result layers that are wanted, by their usual names; see
        `ResultLayers`.
    """

    changed = Signal()
    said = Signal(str, bool)
    """A sentence, and whether it is about a problem."""

    def __init__(
        self, viewer: Viewer, source: ImageSource, purpose: str, layers: dict[str, str]
    ) -> None:
        super().__init__()
        self.viewer = viewer
        self.source = source
        self.settings: dict[str, Any] = {}
        """What else the session keeps, plain JSON types."""
        self.queue = LayerQueue(self)
        self.keeper = Autosave(self._snapshot, purpose)
        self.store = ResultStore(self.keeper.read)
        self.layers = ResultLayers(viewer, source, self.store, self.queue, layers)
        self.layers.wanted = set(layers)
        self.keeper.kept.connect(self.store.let_go)
        self.keeper.failed.connect(lambda sentence: self.said.emit(sentence, True))
        self._ended = False
        source.layer.events.data.connect(self._on_data)

    def _snapshot(self) -> Snapshot:
        return Snapshot([], [r.record for r in self.store.all()], set(), dict(self.settings))

    # -- the session ---------------------------------------------------------------------

    def open(self, identity: Identity, folder: str | None = None) -> None:
        """Take up the session of this stack, or choose the place of a new one.

        Parameters
        ----------
        identity : Identity
            The stack.
        folder : str, optional
            Where the person wants sessions.
        """
        try:
            self.keeper.open(self.source.layer.name, identity, self.source.path, folder)
            session = self.keeper.take_up()
        except SffError as error:
            self.said.emit(str(error), True)
            return
        if session is None:
            if len(self.store):
                self.keeper.schedule()
            return
        self.settings = {**session.settings, **self.settings}
        for record in session.slices.values():
            if record.index in self.store or record.folder is None:
                continue
            self.store.stored.add(record.folder)
            self.store.put(SliceResult(record))
        if len(self.store):
            self.layers.update(())
            count = len(self.store)
            self.said.emit(
                f"{count} slice{'s' * (count != 1)} from earlier came back: {self.keeper.place}.",
                False,
            )
        self.changed.emit()

    def take(
        self,
        index: Index,
        arrays: dict[str, NDArray[Any]],
        parameters: dict[str, Any],
        report: dict[str, Any],
        neighbours: dict[str, Any] | None = None,
    ) -> None:
        """Take in the result of a slice, undecided; it is stored at once.

        Parameters
        ----------
        index : tuple of int
            The slice.
        arrays : dict
            ``restored`` (Y, X), and any of ``synthesised``, ``confidence``, ``reference``
            (Y, X) and ``flow`` (2, Y, X).
        parameters, report, neighbours : dict
            How it was made, plain JSON types.
        """
        record = SliceRecord(
            index,
            "restored",
            folder_name(index),
            parameters,
            neighbours=neighbours or {},
            versions={**versions(), "report": report},
            time=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self.store.put(SliceResult(record, arrays))
        self.keeper.keep(record, {key: arrays[key] for key in ARRAYS if key in arrays})
        self._changed(index)
        self.layers.show()

    def decide(self, index: Index, state: SliceState) -> None:
        """Decide what becomes of a slice; it can be decided otherwise later."""
        result = self.store.get(index)
        if result is not None:
            self.store.put(result.with_record(state=state))
            self._changed(index)

    def state_of(self, index: Index) -> str:
        """Return ``"to do"``, ``"restored"``, ``"stale"``, ``"accepted"`` or ``"rejected"``."""
        result = self.store.get(index)
        return "to do" if result is None else result.state

    def save_settings(self, **settings: Any) -> None:
        """Keep values, plain JSON types, in the session."""
        self.settings.update(settings)
        self.keeper.schedule()

    def _changed(self, index: Index) -> None:
        # First it is safe, then it is shown.
        self.keeper.save_at_once()
        self.layers.update(index)
        self.changed.emit()

    # -- the stack's layer ---------------------------------------------------------------

    def _on_data(self, *_: Any) -> None:
        """Mark results as made from other data, once the data of the stack were exchanged."""
        if self._ended or self.source.layer.data is self.source.held:
            return
        name = self.source.layer.name
        if not self.source.renew():
            self.said.emit(
                f"The data of '{name}' have another shape or type now: choose the image again.",
                True,
            )
            return
        for result in self.store.all():
            self.store.put(result.with_record(outdated=True))
        self.layers.renew()
        self.keeper.schedule()
        if len(self.store):
            self.said.emit(
                f"The data of '{name}' were changed: slices repaired before are stale.", True
            )
        self.changed.emit()

    def end(self) -> None:
        """Save what is left, take the layers away and let go of the session."""
        if self._ended:
            return
        self._ended = True
        self.source.layer.events.data.disconnect(self._on_data)
        self.layers.detach()
        self.queue.run_all()
        self.close()

    def close(self) -> None:
        """Save what is left; the viewer is not touched, it may be gone."""
        self._ended = True
        self.queue.clear()
        self.keeper.close()

    # -- files ---------------------------------------------------------------------------

    def export_job(self, at: Index) -> ExportJob:
        """Return what is to be exported of the volume that slice `at` belongs to.

        That are the accepted slices, in the place of the stack's own.
        """
        source = self.source
        places = source.every_index(at)
        every = {index: z for z, index in enumerate(places)}
        kept = [r for r in self.store.all() if r.index in every and r.record.state == "accepted"]
        return ExportJob(
            source.layer.name,
            (source.count, *source.plane),
            source.dtype,
            lambda z: source.read_stored(places[z]),
            {every[r.index]: partial(self.store.array, r.index) for r in kept},
            {},
            [r.record.to_dict() for r in kept],
            source.voxel_size,
        )
