"""A cut through the stack across a fold, before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QWidget

from sff_napari.napari_plugin.widgets.side_window import SideWindow
from sff_napari.napari_plugin.workers.job import Channel, Job
from sff_napari.sessions.simplify import sampled

if TYPE_CHECKING:
    from sff_napari.napari_plugin.controller.controller import Controller
    from sff_napari.sessions import FoldRecord

SLICES = 9
"""Slices shown before and after the damaged one."""
HALF = 140
"""Half the length of the cut, in pixels."""


@dataclass(frozen=True)
class Cut:
    """Where the stack is cut: along x at a row (XZ), or along y at a column (YZ)."""

    plane: str
    selection: tuple[Any, Any]


def cut_across(record: FoldRecord, shape: tuple[int, int]) -> Cut:
    """Return the cut along the image axis that crosses the middle of a line most squarely."""
    points = sampled(record.vertices)
    inside = ((points >= 0) & (points <= np.asarray(shape) - 1)).all(axis=1)
    points = points[inside] if inside.sum() >= 2 else points
    at = len(points) // 2
    y, x = (int(v) for v in np.clip(np.rint(points[at]), 0, np.asarray(shape) - 1))
    dy, dx = np.abs(points[min(at + 5, len(points) - 1)] - points[max(at - 5, 0)])
    if dy >= dx:
        return Cut("XZ", (y, slice(max(0, x - HALF), min(shape[1], x + HALF))))
    return Cut("YZ", (slice(max(0, y - HALF), min(shape[0], y + HALF)), x))


def stacked(rows: list[NDArray[Any]], limits: tuple[float, float], thick: int) -> NDArray[np.uint8]:
    """Return rows (Z lists of (W,)) as a grey picture (Z * thick, W)."""
    low, high = limits
    grey = (np.stack(rows).astype(np.float32) - low) / max(high - low, 1e-6)
    return np.repeat(np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8), thick, axis=0)


class SideView(QObject):
    """Shows the cut in a window of its own, as asked for by the controller.

    Parameters
    ----------
    controller : Controller
        The session.
    panel : QWidget
        The window closes with it.
    """

    def __init__(self, controller: Controller, panel: QWidget) -> None:
        super().__init__(panel)
        self.controller = controller
        self.window = SideWindow(panel)
        self.picture: NDArray[np.uint8] | None = None
        self._job: Job | None = None
        self._again_wanted = False
        controller.side_view.connect(self.toggle)
        controller.index_changed.connect(self._again)
        controller.source_changed.connect(self.hide)
        controller.results_changed.connect(self._again)

    def toggle(self) -> None:
        """Show the cut across the chosen line, or put it away."""
        if self.window.isVisible():
            self.hide()
        else:
            self.show()

    def hide(self) -> None:
        """Put the cut away."""
        self.window.hide()
        self.picture = None

    def _again(self) -> None:
        if self.window.isVisible():
            self._again_wanted = self._job is not None
            self.show()

    def show(self) -> None:
        """Read the cut in a worker and show it."""
        controller = self.controller
        source, lines = controller.source, controller.lines
        if source is None or lines is None or source.ndim < 3 or self._job is not None:
            return
        records = lines.chosen(controller.index) or lines.on(controller.index)
        if not records:
            controller.status.emit("There is no fold line on this slice to cut across.")
            return
        cut = cut_across(records[0], source.plane)
        every = source.every_index(controller.index)
        place = source.place_of(controller.index)
        near = every[max(0, place - SLICES) : place + SLICES + 1]
        patches = {
            index: plane[cut.selection]
            for index in near
            if (plane := controller.store.shown(index)) is not None
        }
        sizes = source.voxel_size
        scale = source.layer.scale
        ratio = sizes[0] / sizes[2] if sizes else float(scale[source.axis]) / float(scale[-1])
        # A slice is as thick as its voxels are, but a stack of few slices fills the window, too.
        thick = int(np.clip(round(ratio), 3, 60))
        low, high = (float(v) for v in source.layer.contrast_limits)

        def read(channel: Channel) -> NDArray[np.uint8]:
            before = []
            for index in near:
                channel.check()
                before.append(source.read_row(index, cut.selection))
            after = [patches.get(i, row) for i, row in zip(near, before, strict=True)]
            return np.stack([stacked(rows, (low, high), thick) for rows in (before, after)])

        job = Job(read, lambda: controller.source is source)
        self._job = job
        at = near.index(controller.index) * thick
        rows = slice(at, at + thick)
        job.returned.connect(lambda pair: self._paint(pair, cut.plane, rows))
        job.failed.connect(controller.fail)
        job.finished.connect(self._done)
        job.start()

    def _done(self) -> None:
        self._job = None
        if self._again_wanted:
            self._again_wanted = False
            self.show()

    def _paint(self, pair: NDArray[np.uint8], plane: str, rows: slice) -> None:
        gap, tick = 6, 5
        _two, height, width = pair.shape
        picture = np.full((2 * height + gap, width + 2 * tick), 128, dtype=np.uint8)
        for top, half in zip((0, height + gap), pair, strict=True):
            picture[top : top + height, tick:-tick] = half
            # Bright marks at both ends tell which row is the slice that is shown.
            for side in (slice(0, tick), slice(-tick, None)):
                picture[top + rows.start : top + rows.stop, side] = 255
        self.picture = picture
        middle = picture.shape[0] // 2
        self.window.picture.show_pair(
            *(
                np.repeat(half[..., None], 3, axis=2)
                for half in (picture[: middle - gap // 2], picture[middle + gap // 2 :])
            )
        )
        source = self.controller.source
        name = "" if source is None else source.name_of(self.controller.index)
        self.window.about.setText(
            f"{plane} cut across the fold of slice {name}, one row a slice. "
            "Bright marks at the sides show this slice."
        )
        self.window.show()
