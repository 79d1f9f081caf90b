"""The Shapes layer `folds` and the fold records behind it, kept in step.

Each line is a path that lives on its slice; its width on screen is the fold's
width.  The records are the truth; what a person does with napari's tools is read back.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from sff_napari.napari_plugin import compat
from sff_napari.napari_plugin.controller.history import History, Step
from sff_napari.napari_plugin.controller.line_changes import (
    Lines,
    description,
    line_changes,
    touched_slices,
)
from sff_napari.napari_plugin.layers.layer_queue import LayerQueue
from sff_napari.napari_plugin.layers.read_shapes import read_shapes
from sff_napari.napari_plugin.layers.shapes_style import (
    ADDING_TOOLS,
    COLOURS,
    FEATURES,
    WIDTH,
    features_of,
    points_of,
    rgba,
)
from sff_napari.sessions.records import FoldRecord, Index

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Shapes

    from sff_napari.napari_plugin.layers.image_source import ImageSource

NAME = "folds"
MARK = "sff_napari_folds"
"""Key in a Shapes layer's metadata that says it holds fold lines."""


class FoldLines(QObject):
    """All fold lines of one stack, and the layer that shows them.

    Parameters
    ----------
    viewer : napari.Viewer
        Where they are shown.
    source : ImageSource
        The stack.
    history : History
        Gets each change as a step to undo.
    queue : LayerQueue
        Adds the layer.
    """

    changed = Signal(object)
    """Set of slices whose lines have changed."""
    noticed = Signal(str)
    tool_changed = Signal(str)
    """Mode."""
    drawn = Signal()
    """A person has drawn a line."""

    def __init__(
        self, viewer: Viewer, source: ImageSource, history: History, queue: LayerQueue
    ) -> None:
        super().__init__()
        self.viewer = viewer
        self.source = source
        self.layer: Shapes | None = None
        self.is_shown = True
        self.records: Lines = {}
        self.history = history
        self.queue = queue
        self.new_half_width = 8.0
        self.on_layer: Callable[[Shapes], None] | None = None
        self._order: list[str] = []
        self._newest = ""
        self._display: dict[str, str] = {}
        self._quiet = 0

    # -- reading ---------------------------------------------------------------------

    def on(self, index: Index) -> list[FoldRecord]:
        """Return the lines on one slice."""
        return [record for record in self.records.values() if record.index == index]

    def used_on(self, index: Index) -> list[FoldRecord]:
        """Return the lines on one slice that were not rejected."""
        return [record for record in self.on(index) if record.state != "rejected"]

    def indices(self) -> set[Index]:
        """Return the slices that have lines which were not rejected."""
        return {record.index for record in self.records.values() if record.state != "rejected"}

    def chosen(self, index: Index) -> list[FoldRecord]:
        """Return the selected lines on a slice; its only or its newest line if none is."""
        here = self.on(index)
        if self.layer is not None:
            picked = {self._order[i] for i in self.layer.selected_data if i < len(self._order)}
            marked = [record for record in here if record.uid in picked]
            if marked:
                return marked
        newest = [record for record in here if record.uid == self._newest]
        return here if len(here) == 1 else newest

    # -- the layer -------------------------------------------------------------------

    def ensure_layer(self) -> Shapes:
        """Return the `folds` layer, made anew if a person removed it."""
        if self.layer is not None and self.layer in self.viewer.layers:
            return self.layer
        from napari.layers import Shapes

        self.is_shown = True
        layer = Shapes(
            None,
            ndim=self.source.ndim,
            name=NAME,
            opacity=0.5,
            edge_width=2 * self.new_half_width,
            edge_color=COLOURS["to do"],
            face_color="transparent",
            features={name: np.empty(0, dtype=kind) for name, kind in FEATURES.items()},
            metadata={MARK: True},
            **self.source.alike(),
        )
        self.layer = layer
        self._order = []
        active = self.viewer.layers.selection.active
        self.viewer.add_layer(layer)
        compat.quicken_shapes(self.viewer, layer)
        self.viewer.layers.selection.active = active
        layer.events.data.connect(self._on_data)
        layer.events.edge_width.connect(self._on_edge_width)
        layer.events.mode.connect(self._on_mode)
        self._set_defaults()
        self._insert(list(self.records.values()))
        if self.on_layer is not None:
            self.on_layer(layer)
        return layer

    def bring_layer(self) -> None:
        """Make the `folds` layer soon, unless the stack is put away meanwhile."""
        self.is_shown = True

        def bring() -> None:
            if self.is_shown and self.records:
                self.ensure_layer()

        self.queue.later(bring, key=(id(self), NAME))

    def detach(self) -> None:
        """Forget the layer without removing it."""
        self.is_shown = False
        layer, self.layer = self.layer, None
        if layer is None:
            return
        layer.events.data.disconnect(self._on_data)
        layer.events.edge_width.disconnect(self._on_edge_width)
        layer.events.mode.disconnect(self._on_mode)
        self.tool_changed.emit("pan_zoom")

    def _set_defaults(self) -> None:
        if self.layer is None:
            return
        self.layer.feature_defaults = {
            "slice": -1,
            WIDTH: 2 * self.new_half_width,
            "score": np.nan,
            "source": "drawn",
            "state": "to do",
            "uid": "",
        }
        # Otherwise napari gives the selected lines these values, too.
        with self._silence(), self.layer.block_update_properties():
            self.layer.current_edge_width = 2 * self.new_half_width
            self.layer.current_edge_color = COLOURS["to do"]

    @contextmanager
    def _silence(self) -> Iterator[None]:
        self._quiet += 1
        try:
            yield
        finally:
            self._quiet -= 1

    # -- changes from the program -----------------------------------------------------

    def load(self, records: Iterable[FoldRecord]) -> None:
        """Replace all lines by those of a session; there is nothing to undo afterwards."""
        self._end_drawing()
        before = {record.index for record in self.records.values()}
        lines = {record.uid: record for record in records}
        self._show(lines)
        self.history.clear()
        self.changed.emit(before | {record.index for record in lines.values()})

    def put(self, records: Iterable[FoldRecord], text: str = "", merge: Hashable = None) -> None:
        """Add lines, or replace those of the same name; one step to undo.

        Parameters
        ----------
        records : iterable of FoldRecord
            The lines.
        text : str
            What is done, such as "snapping a line"; empty: found out.
        merge : hashable, optional
            Steps with the same value in quick succession count as one.
        """
        self._end_drawing()
        lines = {**self.records, **{record.uid: record for record in records}}
        self._commit(lines, text, merge)

    def remove(self, uids: Iterable[str]) -> None:
        """Delete lines; one step to undo."""
        gone = set(uids)
        self._end_drawing()
        self._commit({uid: r for uid, r in self.records.items() if uid not in gone})

    def apply(self, changes: Mapping[str, FoldRecord | None]) -> None:
        """Give some lines another state, None for no line; no step to undo."""
        self._end_drawing()
        lines = {**self.records}
        for uid, record in changes.items():
            if record is None:
                lines.pop(uid, None)
            else:
                lines[uid] = record
        touched = touched_slices(self.records, lines)
        if touched:
            self._show(lines)
            self.changed.emit(touched)

    def _end_drawing(self) -> None:
        """Take in the line that is being drawn, before lines are changed from elsewhere."""
        layer = self.layer
        if layer is None or layer not in self.viewer.layers or self._quiet:
            return
        if compat.is_drawing(layer):
            with self._silence():
                compat.finish_drawing(layer)
        if layer.nshapes != len(self._order):
            self._read_layer()

    def _commit(
        self, lines: Lines, text: str = "", merge: Hashable = None, *, show: bool = True
    ) -> None:
        changes = line_changes(self.records, lines)
        touched = touched_slices(self.records, lines)
        if not touched:
            return
        if show:
            self._show(lines)
        else:
            self.records = lines
        self.history.record(Step(text or description(changes), min(touched), changes, merge=merge))
        self.changed.emit(touched)

    def _show(self, lines: Lines) -> None:
        """Make records and layer equal to `lines`, touching only what differs."""
        before, self.records = self.records, dict(lines)
        if self.layer is None or self.layer not in self.viewer.layers:
            if lines:
                self.bring_layer()
            return
        gone = [i for i, uid in enumerate(self._order) if uid not in lines]
        with self._silence():
            compat.finish_drawing(self.layer)
            if gone:
                self.layer.remove(gone)
                self._order = [uid for uid in self._order if uid in lines]
            widths = {}
            for i, uid in enumerate(self._order):
                old, new = before[uid], lines[uid]
                if (old.vertices, old.index) != (new.vertices, new.index):
                    compat.set_vertices(self.layer, i, points_of(new))
                if old.half_width != new.half_width:
                    widths[i] = 2 * new.half_width
            if widths:
                compat.edge_widths(self.layer, widths)
        known = set(self._order)
        self._insert([record for uid, record in lines.items() if uid not in known])

    def _insert(self, records: Sequence[FoldRecord]) -> None:
        layer = self.layer
        assert layer is not None
        with self._silence():
            if records:
                layer.add(
                    [points_of(record) for record in records],
                    shape_type=["line" if len(r.vertices) == 2 else "path" for r in records],
                    edge_width=[2 * record.half_width for record in records],
                    edge_color=[self._colour(record) for record in records],
                    face_color=["transparent"] * len(records),
                )
                self._order += [record.uid for record in records]
            self._write_features()

    def _write_features(self) -> None:
        if self.layer is None:
            return
        rows = [self.records[uid] for uid in self._order]
        states = [self._state(record) for record in rows]
        self.layer.features = features_of(rows, states, self.source.axis)
        self._set_defaults()

    # -- states ----------------------------------------------------------------------

    def _state(self, record: FoldRecord) -> str:
        if record.state != "open":
            return record.state
        return self._display.get(record.uid, "to do")

    def _colour(self, record: FoldRecord) -> NDArray[np.float32]:
        return rgba(self._state(record))

    def show_states(self, states: Mapping[str, str]) -> None:
        """Colour lines by what became of their slice, e.g. ``{uid: "stale"}``."""
        self._display = dict(states)
        layer = self.layer
        if layer is None or layer not in self.viewer.layers:
            return
        if compat.is_drawing(layer) or layer.nshapes != len(self._order):
            return  # a line is being drawn: its end shows them
        shown = list(layer.features["state"])
        colours = {}
        for i, uid in enumerate(self._order):
            record = self.records[uid]
            if i < len(shown) and shown[i] != self._state(record):
                colours[i] = self._colour(record)
        if colours:
            with self._silence():
                compat.edge_colours(layer, colours)
                self._write_features()

    # -- changes from the person ---------------------------------------------------------

    def _on_mode(self, *_: Any) -> None:
        if self.layer is not None:
            self.tool_changed.emit(str(self.layer.mode))

    def _on_edge_width(self, *_: Any) -> None:
        if not self._quiet and self.layer is not None and not compat.is_drawing(self.layer):
            self._read_layer("width")

    def _on_data(self, event: Any) -> None:
        action = str(getattr(event.action, "value", event.action))
        if self._quiet or action not in {"added", "changed", "removed"}:
            return
        known = set(self.records)
        self._read_layer()
        new = [uid for uid in self.records if uid not in known]
        if new:
            self._newest = new[-1]
            if self.layer is not None and str(self.layer.mode) in ADDING_TOOLS:
                self.drawn.emit()

    def _read_layer(self, merge: Any = None) -> None:
        """Read the shapes back after a person changed them."""
        layer = self.layer
        if layer is None:
            return
        read = read_shapes(layer, self.records, self.source.plane)
        lines = read.lines
        if read.refused:
            self.noticed.emit(
                "A fold is a line or a path on one slice: other shapes, mere clicks and lines "
                "outside of the image are taken away."
            )
            compat.end_creation(layer)
            with self._silence():
                layer.remove(read.refused)
        self._order = list(lines)
        before = self.records
        self._commit(lines, merge=merge, show=False)
        if read.is_to_be_mended or touched_slices(before, lines):
            with self._silence():
                for i, uid in read.reshaped:
                    compat.set_vertices(layer, i, points_of(lines[uid]))
                self._write_features()
        self.show_states(self._display)
