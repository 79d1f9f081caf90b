"""Correct fold lines: the part of the controller that changes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sff_napari.napari_plugin.controller.line_changes import resized
from sff_napari.napari_plugin.controller.stack_in_work import StackInWork
from sff_napari.napari_plugin.layers.fold_lines import MARK
from sff_napari.napari_plugin.layers.shapes_style import WIDTH
from sff_napari.napari_plugin.workers.tasks import snap_lines
from sff_napari.sessions import FoldRecord, Index, new_uid

if TYPE_CHECKING:
    from napari import Viewer

    from sff_napari.napari_plugin.layers.fold_lines import FoldLines
    from sff_napari.napari_plugin.layers.layer_queue import LayerQueue


_HINTS = {
    "add_line": "Drawing: press the mouse at one end of the fold, drag to the other, let go.",
    "add_polyline": "Drawing: click point after point along the fold, double-click to end.",
    "direct": "Drag the dots of the line. Click a line first to see its dots.",
    "vertex_insert": "Click on the line where it should get a point.",
    "select": "Click a line to select it, drag it to move it.",
}
"""What to do with the tools, by their modes."""


class LineEditing(StackInWork):
    """Actions on the lines of the slice that is shown; mixed into the controller."""

    viewer: Viewer
    index: Index
    # Signals and helpers of the controller.
    status: Any
    _run: Any
    ready: Any
    go_to: Any
    settle_offer: Any
    tool_changed: Any
    layer_queue: LayerQueue
    keeps_tool: bool = False
    """Whether a drawing tool stays in use after a line."""

    def chosen(self, doing: str) -> list[FoldRecord]:
        """Return the lines an action is meant for; say so when there are none."""
        if self.lines is None:
            return []
        records = self.lines.chosen(self.index)
        if not records:
            self.status.emit(f"Select a line on this slice to {doing} it.")
        return records

    def set_half_width(self, half_width: float) -> None:
        """Give the chosen lines, and lines drawn from now on, a half width in pixels."""
        if self.lines is None:
            return
        self.lines.new_half_width = float(half_width)
        records = self.lines.chosen(self.index)
        self.lines.put(
            [r.with_changes(**resized(r, half_width)) for r in records],
            "changing the width",
            merge=("width", tuple(r.uid for r in records)),
        )

    def widen(self, factor: float) -> None:
        """Make the chosen lines wider or narrower."""
        if self.lines is None:
            return
        records = self.chosen("widen")
        self.lines.put(
            [r.with_changes(**resized(r, min(200.0, r.half_width * factor))) for r in records],
            "changing the width",
            merge=("width", tuple(r.uid for r in records)),
        )

    def snap(self) -> None:
        """Move the chosen lines onto the dark ridge near them and measure their width."""
        records = self.chosen("snap") if self.ready() else []
        if not records or self.source is None:
            return
        index, read = self.index, self.source.read
        before = {r.uid: r.geometry for r in records}

        def done(snapped: list[FoldRecord]) -> None:
            if self.lines is None:
                return
            now = self.lines.records
            fresh = [r for r in snapped if r.uid in now and now[r.uid].geometry == before[r.uid]]
            moved = [r for r in fresh if r.geometry != before[r.uid]]
            if moved:
                self.lines.put(moved, "snapping")
                self.status.emit("Snapped to the dark line.")
            elif fresh:
                self.status.emit("Nothing to snap to: move the line nearer to the dark line.")
            else:
                self.status.emit("The line changed meanwhile.")

        job = self._run(lambda channel: snap_lines(read, index, records, channel))
        job.returned.connect(done)

    def copy_to_next(self) -> None:
        """Copy the chosen lines to the next slice and go there."""
        if not self.ready() or self.source is None or self.lines is None:
            return
        place = self.source.place_of(self.index)
        if place + 1 >= self.source.count:
            self.status.emit("This is the last slice.")
            return
        records = self.chosen("copy")
        if not records:
            return
        axis = self.source.axis
        target = (*self.index[:axis], place + 1, *self.index[axis + 1 :])
        self.lines.put(
            [
                r.with_changes(
                    uid=new_uid(), index=target, source="drawn", score=None, state="open"
                )
                for r in records
            ],
            "copying a line",
        )
        self.go_to(target)

    def delete_lines(self) -> None:
        """Delete the chosen lines."""
        records = self.chosen("delete")
        if records and self.lines is not None:
            self.lines.remove(r.uid for r in records)

    def draw(self, mode: str) -> None:
        """Choose a tool of the `folds` layer, made if need be.

        Parameters
        ----------
        mode : str
            Mode of a napari Shapes layer, e.g. ``"add_line"`` or ``"direct"``.
        """
        lines = self.lines
        if self.source is None or lines is None:
            self.ready()
            return
        if self._is_in_use(lines, mode):
            self.end_tool()
            return
        if not self.settle_offer():
            self.tool_changed.emit("pan_zoom" if lines.layer is None else str(lines.layer.mode))
            return
        self.layer_queue.later(lambda: self._use_tool(lines, mode))

    def _use_tool(self, lines: FoldLines, mode: str) -> None:
        if lines is not self.lines:
            return
        layer = lines.ensure_layer()
        layer.visible = True
        self.viewer.layers.selection.active = layer
        layer.mode = mode
        if mode in ("direct", "vertex_insert") and not layer.selected_data:
            here = lines.chosen(self.index) or lines.on(self.index)
            if here:
                layer.selected_data = {list(layer.features["uid"]).index(here[0].uid)}
        self.tool_changed.emit(mode)
        if mode in _HINTS:
            self.status.emit(f"{_HINTS[mode]} Press the button again to put the tool away.")

    def _is_in_use(self, lines: FoldLines, mode: str) -> bool:
        layer = lines.layer
        active = self.viewer.layers.selection.active
        return layer is not None and layer is active and str(layer.mode) == mode

    def end_tool(self) -> None:
        """Put the tool away, so that the mouse moves the picture again."""
        layer = None if self.lines is None else self.lines.layer
        if layer is not None and layer in self.viewer.layers:
            layer.mode = "pan_zoom"
        self.tool_changed.emit("pan_zoom")

    def _on_drawn(self) -> None:
        """End drawing after one line, unless a person wants to draw more."""
        if not self.keeps_tool:
            self.layer_queue.later(self.end_tool, key="end tool")

    def leave_tool(self) -> None:
        """End the tool when another layer than `folds` was selected meanwhile."""

        def leave() -> None:
            layer = None if self.lines is None else self.lines.layer
            if layer is None or layer is self.viewer.layers.selection.active:
                return
            if str(layer.mode) != "pan_zoom":
                self.end_tool()

        self.layer_queue.later(leave, key="leave tool")

    def take_lines_from(self, layer: Any) -> int:
        """Copy the lines of another Shapes layer; return how many."""
        if not self.ready() or self.lines is None or self.source is None:
            return 0
        features = layer.features
        new = []
        lead = self.source.ndim - layer.ndim
        for i, (points, kind) in enumerate(zip(layer.data, layer.shape_type, strict=True)):
            if kind not in ("line", "path"):
                continue
            place = np.rint(points[0, :-2]).astype(int)
            index = (*self.index[: max(0, lead)], *(int(v) for v in place))
            width = float(layer.edge_width[i]) / 2
            if WIDTH in features:
                width = float(features[WIDTH].iloc[i]) / 2
            source = str(features["source"].iloc[i]) if "source" in features else "drawn"
            score = float(features["score"].iloc[i]) if "score" in features else np.nan
            new.append(
                FoldRecord(
                    new_uid(),
                    index[-(self.source.ndim - 2) :] if self.source.ndim > 2 else (),
                    tuple((float(y), float(x)) for y, x in points[:, -2:]),
                    max(0.5, width),
                    score=None if np.isnan(score) else score,
                    source=source if source in ("drawn", "detected", "simulated") else "drawn",
                )
            )
        if new:
            self.lines.put(new, "taking lines from a file")
        return len(new)

    def fold_files(self) -> list[Any]:
        """Return Shapes layers in the viewer that hold fold lines and are not ours."""
        own = self.lines.layer if self.lines is not None else None
        return [
            layer
            for layer in self.viewer.layers
            if getattr(layer, "metadata", {}).get(MARK) == "file" and layer is not own
        ]
