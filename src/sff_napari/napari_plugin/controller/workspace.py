"""All that belongs to one stack being repaired; it is kept while another stack is in work."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sff_napari.napari_plugin.controller.autosave import Autosave, Snapshot
from sff_napari.napari_plugin.controller.history import History
from sff_napari.napari_plugin.controller.result_store import ResultStore, SliceResult
from sff_napari.napari_plugin.layers.fold_lines import FoldLines
from sff_napari.napari_plugin.layers.image_source import ImageSource
from sff_napari.napari_plugin.layers.layer_queue import LayerQueue
from sff_napari.napari_plugin.layers.line_darkness import LineCheck
from sff_napari.napari_plugin.layers.result_layers import ResultLayers
from sff_napari.sessions import Index, SliceRecord

if TYPE_CHECKING:
    from napari import Viewer


@dataclass
class Workspace:
    """One stack with its lines, results, steps to undo and session.

    Parameters
    ----------
    source : ImageSource
        The stack.
    history : History
        Steps to undo.
    lines : FoldLines
        Fold lines.
    store : ResultStore
        Results.
    layers : ResultLayers
        Layers that show the results.
    keeper : Keeper
        Saves the session.
    searched : set
        Slices in which folds were looked for.
    line_checks : dict
        What the picture shows along lines, by slice and geometry.
    """

    source: ImageSource
    history: History
    lines: FoldLines
    store: ResultStore
    layers: ResultLayers
    keeper: Autosave
    searched: set[Index] = field(default_factory=set)
    line_checks: dict[Hashable, LineCheck] = field(default_factory=dict)
    index: Index = ()
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, viewer: Viewer, source: ImageSource, queue: LayerQueue) -> Workspace:
        """Return an empty workspace of a stack."""
        history = History()
        keeper = Autosave(lambda: work.snapshot())
        store = ResultStore(keeper.read)
        work = cls(
            source,
            history,
            FoldLines(viewer, source, history, queue),
            store,
            ResultLayers(viewer, source, store, queue),
            keeper,
            index=source.index_at(viewer),
        )
        keeper.kept.connect(work.let_go)
        return work

    def snapshot(self) -> Snapshot:
        """Return what is to be saved."""
        return Snapshot(
            list(self.lines.records.values()),
            [saved_record(result) for result in self.store.all()],
            set(self.searched),
            {
                **self.settings,
                "shown": list(self.index),
                "mask": None if self.source.mask_layer is None else self.source.mask_layer.name,
            },
            self.history.folders(),
        )

    def let_go(self, folder: str) -> None:
        """Take note that a result is on disk: it need not stay in memory."""
        self.store.let_go(folder)
        self.history.let_go(folder)

    def is_accepted(self, index: Index) -> bool:
        """Tell whether a slice was accepted, even if its lines have changed since."""
        result = self.store.get(index)
        return result is not None and result.record.state == "accepted"

    def detach(self) -> None:
        """Save, and take the layers out of the viewer; everything else stays."""
        self.keeper.save_soon()
        self.layers.detach()
        layer, viewer = self.lines.layer, self.lines.viewer
        self.lines.detach()

        def remove() -> None:
            if layer in viewer.layers:
                viewer.layers.remove(layer)

        if layer is not None:
            self.lines.queue.later(remove)

    def attach(self) -> None:
        """Bring the layers into the viewer."""
        self.layers.attach()
        if self.lines.records:
            self.lines.bring_layer()

    def end(self) -> None:
        """Save what is left and let go of the session."""
        self.keeper.close()


def saved_record(result: SliceResult) -> SliceRecord:
    """Return the record of a result as a session keeps it.

    An accepted slice whose lines have changed since is "stale" there; whether
    an undecided one is stale is found out anew from its lines.
    """
    stale = result.state == "stale" and result.record.state == "accepted"
    return result.record.with_changes(state="stale") if stale else result.record
