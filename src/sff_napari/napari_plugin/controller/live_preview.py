"""A quick preview around the fold while its line is dragged."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer

from sff_napari.errors import SffError
from sff_napari.napari_plugin.layers.patched_stack import PatchedStack
from sff_napari.napari_plugin.workers.job import Channel, Job
from sff_napari.sessions import FoldRecord, Index, choose_neighbours

if TYPE_CHECKING:
    from sff_napari.folds import Fold
    from sff_napari.napari_plugin.controller.controller import Controller
    from sff_napari.restoration.preview import Preview, Previewer

_PAUSE_MS = 40
"""Least time between two previews."""


class Reduced:
    """What stays the same while a line of one slice is dragged, made once in the worker."""

    def __init__(self, read: Any) -> None:
        self._read = read
        self._key: tuple[Any, ...] = ()
        self._previewer: Previewer | None = None

    def preview(
        self,
        index: Index,
        beside: tuple[Index | None, Index | None],
        folds: list[Fold],
        device: str,
        channel: Channel,
    ) -> tuple[Preview, float]:
        """Restore a reduced slice; return it, NaN away from the fold, and the seconds it took."""
        from sff_napari.restoration.preview import Previewer

        begun = time.perf_counter()
        key = (index, beside, device)
        previewer = self._previewer
        if previewer is None or key != self._key or not previewer.fits(folds):
            previous, following = (None if i is None else self._read(i) for i in beside)
            channel.check()
            damaged = self._read(index)
            previewer = Previewer(previous, damaged, following, folds, device=device)
            self._previewer, self._key = previewer, key
        result = previewer(folds, cancelled=channel.cancelled)
        return result, time.perf_counter() - begun


class LivePreview(QObject):
    """Shows a layer `preview` while a line of the `folds` layer is dragged."""

    NAME = "preview"

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self.controller = controller
        self.on = False
        self.seconds: list[float] = []
        self._layer: Any = None
        self._factor = 1
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
            self._slices = Reduced(source.read)
        slices = self._slices
        chosen = choose_neighbours(
            index,
            source.axis,
            source.count,
            lines.indices(),
            skip_damaged=controller.form.skip_damaged,
        )
        beside = (chosen.previous, chosen.following)
        device = controller.form.device
        job = Job(
            lambda channel: slices.preview(index, beside, folds, device, channel),
            lambda: controller.source is source and source.is_current(controller.viewer),
        )
        self._job = job
        job.returned.connect(lambda result: self._show(index, result))
        job.failed.connect(controller.status)
        job.finished.connect(self._done)
        job.start()

    def _done(self) -> None:
        self._job = None

    def _show(self, index: Index, result: tuple[Preview, float]) -> None:
        made, seconds = result
        self.seconds.append(seconds)
        self._shown = (index, made.image)
        if self._layer is not None and made.factor != self._factor:
            self._remove()
        layer = self._layer
        if layer is None or layer not in self.controller.viewer.layers:
            self._add(made)
        else:
            layer.visible = True
            layer.refresh(extent=False)
        self.controller.status.emit(f"Preview in {seconds * 1000:.0f} ms; release, then restore.")

    def _add(self, made: Preview) -> None:
        from napari.layers import Image

        from sff_napari.napari_plugin.layers.result_layers import MARK

        source = self.controller.source
        assert source is not None
        factor = self._factor = made.factor
        alike = source.alike()
        scale = np.array(alike["scale"], dtype=float)
        shift = np.zeros_like(scale)
        shift[-2:] = scale[-2:] * (factor - 1) / 2
        scale[-2:] *= factor
        alike |= {"scale": scale, "translate": np.asarray(alike["translate"]) + shift}
        stack = PatchedStack(
            (*source.shape[:-2], *made.image.shape),
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
        self._shown = None
        self._remove()

    def _remove(self) -> None:
        layer, self._layer = self._layer, None
        if layer is not None and layer in self.controller.viewer.layers:
            self.controller.viewer.layers.remove(layer)

    def _forget(self) -> None:
        self._slices = None
        self._next = None
        self.hide()
