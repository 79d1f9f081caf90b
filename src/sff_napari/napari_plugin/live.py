"""A quick preview around the fold while its line is dragged."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer

from sff_napari.errors import SffError
from sff_napari.napari_plugin.patched import PatchedStack
from sff_napari.napari_plugin.workers import Channel, Job
from sff_napari.sessions import FoldRecord, Index, choose_neighbours

if TYPE_CHECKING:
    from sff_napari.folds import Fold
    from sff_napari.napari_plugin.controller import Controller

SIDE = 208
"""Longer side of the reduced slice, in pixels."""
_PAUSE_MS = 60
_STILL = 0.75
"""Displacements below this many reduced pixels are not worth the loss of resolution."""


class Reduced:
    """Slices at reduced resolution, read once in the worker and kept while they are needed."""

    def __init__(self, read: Any, factor: int) -> None:
        self._read = read
        self.factor = factor
        self._planes: dict[Index, NDArray[Any]] = {}

    def __call__(self, index: Index) -> NDArray[Any]:
        """Return a slice at reduced resolution."""
        if index not in self._planes:
            if len(self._planes) > 6:
                self._planes.clear()
            plane = self._read(index)
            f = self.factor
            height, width = plane.shape[0] // f * f, plane.shape[1] // f * f
            blocks = plane[:height, :width].reshape(height // f, f, width // f, f)
            mean = blocks.mean(axis=(1, 3))
            if plane.dtype.kind in "ui":
                mean = np.rint(mean)
            self._planes[index] = mean.astype(plane.dtype)
        return self._planes[index]


def preview(
    slices: Reduced,
    index: Index,
    beside: tuple[Index | None, Index | None],
    folds: list[Fold],
    arguments: dict[str, Any],
    channel: Channel,
) -> tuple[NDArray[Any], float]:
    """Restore a reduced slice; return it, NaN away from the fold, and the seconds it took."""
    from sff_napari import restore

    begun = time.perf_counter()
    small = [fold.scaled(1 / slices.factor) for fold in folds]
    previous, following = (None if i is None else slices(i) for i in beside)
    result = restore(
        previous, slices(index), following, small, cancelled=channel.cancelled, **arguments
    )
    # Where the fold moves nothing the full resolution below shows through.
    still = np.hypot(*np.nan_to_num(result.flow)) < _STILL
    plane = np.where(still & (result.synthesised < 0.05), np.nan, result.restored)
    return plane.astype(np.float32), time.perf_counter() - begun


class LivePreview(QObject):
    """Shows a layer `preview` while a line of the `folds` layer is dragged."""

    NAME = "preview"

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self.controller = controller
        self.on = False
        self.seconds: list[float] = []
        self._layer: Any = None
        self._shown: tuple[Index, NDArray[Any]] | None = None
        self._slices: Reduced | None = None
        self._job: Job | None = None
        self._next: list[FoldRecord] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE_MS)
        self._timer.timeout.connect(self._start)
        controller.source_changed.connect(self._forget)
        controller.results_changed.connect(self.hide)

    def set_on(self, on: bool) -> None:
        """Switch the preview on or off."""
        self.on = bool(on)
        if not on:
            self.hide()

    def watch(self, layer: Any) -> None:
        """Follow the mouse on a `folds` layer."""
        layer.mouse_drag_callbacks.append(self._on_drag)

    def _on_drag(self, layer: Any, event: Any) -> Generator[None, None, None]:
        yield
        while event.type == "mouse_move":
            self.request(layer)
            yield
        self.request(layer)

    def request(self, layer: Any) -> None:
        """Ask for a preview of the lines as they are on screen; the newest request wins."""
        lines = self.controller.lines
        if not self.on or lines is None or self.controller.source is None:
            return
        index = self.controller.index
        names = list(layer.features["uid"])
        records = []
        for i, points in enumerate(layer.data):
            place = tuple(int(v) for v in np.rint(points[0, :-2]))
            old = lines.records.get(str(names[i])) if i < len(names) else None
            if place != index or (old is not None and old.state == "rejected"):
                continue
            vertices = tuple((float(y), float(x)) for y, x in points[:, -2:])
            records.append(FoldRecord("live", index, vertices, float(layer.edge_width[i]) / 2))
        self._next = records
        if not self._timer.isActive():
            self._timer.start()

    def _start(self) -> None:
        controller, records = self.controller, self._next
        source, lines = controller.source, controller.lines
        if records is None or source is None or lines is None:
            return
        if self._job is not None or controller.is_busy:
            self._timer.start()  # one at a time; the newest request waits
            return
        self._next = None
        index = controller.index
        try:
            folds = [record.fold() for record in records]
        except SffError:
            return  # half way through a drag the line may cross itself
        if not folds:
            return
        if self._slices is None:
            factor = max(1, round(max(source.plane) / SIDE))
            self._slices = Reduced(source.read, factor)
        slices = self._slices
        chosen = choose_neighbours(
            index,
            source.axis,
            source.count,
            lines.indices(),
            skip_damaged=controller.form.skip_damaged,
        )
        beside = (chosen.previous, chosen.following)
        arguments = {
            key: value
            for key, value in controller.form.as_restore_arguments().items()
            if key not in ("tile", "cover")
        }
        # Motion is hard to see at this size and takes a third of the time.
        arguments.setdefault("interpolation", "mean")
        job = Job(
            lambda channel: preview(slices, index, beside, folds, arguments, channel),
            lambda: controller.source is source and source.is_current(controller.viewer),
        )
        self._job = job
        job.returned.connect(lambda result: self._show(index, result))
        job.failed.connect(controller.status)
        job.finished.connect(self._done)
        job.start()

    def _done(self) -> None:
        self._job = None

    def _show(self, index: Index, result: tuple[NDArray[Any], float]) -> None:
        plane, seconds = result
        self.seconds.append(seconds)
        self._shown = (index, plane)
        layer = self._layer
        viewer = self.controller.viewer
        if layer is None or layer not in viewer.layers:
            self._add(plane)
        else:
            layer.visible = True
            layer.refresh(extent=False)
        self.controller.status.emit(f"Preview in {seconds * 1000:.0f} ms; release, then restore.")

    def _add(self, plane: NDArray[Any]) -> None:
        from napari.layers import Image

        from sff_napari.napari_plugin.results import MARK

        source = self.controller.source
        assert source is not None
        assert self._slices is not None
        factor = self._slices.factor
        alike = source.alike()
        scale = np.array(alike["scale"], dtype=float)
        shift = np.zeros_like(scale)
        shift[-2:] = scale[-2:] * (factor - 1) / 2
        scale[-2:] *= factor
        alike |= {"scale": scale, "translate": np.asarray(alike["translate"]) + shift}
        stack = PatchedStack(
            (*source.shape[:-2], *plane.shape),
            np.float32,
            lambda i: None if self._shown is None or self._shown[0] != i else self._shown[1],
            fill=np.nan,
        )
        self._layer = Image(
            stack,
            name=self.NAME,
            multiscale=False,
            contrast_limits=source.layer.contrast_limits,
            colormap=source.layer.colormap,
            metadata={MARK: self.NAME},
            **alike,
        )
        layers = self.controller.viewer.layers
        active = layers.selection.active
        fold_layer = self.controller.lines.layer if self.controller.lines is not None else None
        at = layers.index(fold_layer) if fold_layer in layers else len(layers)
        layers.insert(at, self._layer)
        layers.selection.active = active

    def hide(self) -> None:
        """Take the preview away."""
        layer, self._layer = self._layer, None
        self._shown = None
        if layer is not None and layer in self.controller.viewer.layers:
            self.controller.viewer.layers.remove(layer)

    def _forget(self) -> None:
        self._slices = None
        self._next = None
        self.hide()
