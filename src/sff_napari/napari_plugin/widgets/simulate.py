"""The dock widget "Simulate a fold": judge the method on one's own data, with the truth known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QDockWidget,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QMainWindow,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from sff_napari.errors import SffError
from sff_napari.napari_plugin import compat
from sff_napari.napari_plugin.io.sample import TRUTH
from sff_napari.napari_plugin.layers.fold_lines import MARK
from sff_napari.napari_plugin.layers.image_source import ImageSource
from sff_napari.napari_plugin.layers.patched_stack import PatchedLevel
from sff_napari.napari_plugin.layers.result_layers import MARK as RESULT_MARK
from sff_napari.napari_plugin.notify import show_problem
from sff_napari.napari_plugin.widgets.sections import wrapped
from sff_napari.napari_plugin.workers.job import Channel, Job
from sff_napari.sessions.simplify import thin_path

if TYPE_CHECKING:
    from napari import Viewer

LINE_LAYER = "fold to simulate"


def folded(
    image: NDArray[Any],
    vertices: tuple[tuple[float, float], ...],
    half_width: float,
    hidden: float,
    decay: float,
) -> NDArray[Any]:
    """Return a slice (Y, X) folded along a line; runs in a worker."""
    from sff_napari import Fold, simulate_fold

    fold = Fold(vertices, half_width, source="simulated")
    return simulate_fold(image, fold, hidden_half_width=hidden, decay=decay).damaged


class SimulateWidget(QWidget):
    """Fold a clean slice of the active image along a drawn line.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer with the image.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer = compat.real_viewer(napari_viewer)
        self._job: Job | None = None
        self._placed = False
        self._inside = inside = QWidget()
        layout = QVBoxLayout(inside)
        layout.addWidget(
            wrapped(
                "Choose a clean slice of your stack, draw a line on it, and fold it. Then restore "
                "the new stack with the panel 'Fold restoration': it shows the error, too."
            )
        )
        self.draw = QPushButton("Draw the fold's line")
        self.draw.setObjectName("sff_simulate_draw")
        self.draw.setToolTip("Draw a line on the slice that is shown: press, drag, release.")
        self.path = QPushButton("Draw a bent line")
        self.path.setToolTip("Click point after point; double-click to end.")
        row = QHBoxLayout()
        row.addWidget(self.draw)
        row.addWidget(self.path)
        layout.addLayout(row)
        form = QFormLayout()
        self.width = self._spin(1, 200, 14, "Full width of the dark line in pixels.")
        self.hidden = self._spin(
            2, 600, 60, "Full width in pixels of the tissue that the fold swallows."
        )
        self.decay = self._spin(
            0, 0.9, 0.03, "Loss of displacement for each pixel of distance from the line.", 3
        )
        form.addRow("Dark line, px", self.width)
        form.addRow("Hidden band, px", self.hidden)
        form.addRow("Decay per px", self.decay)
        layout.addLayout(form)
        self.run = QPushButton("Fold this slice")
        self.run.setObjectName("sff_simulate_run")
        self.run.setToolTip("Make a new layer in which this slice is folded; yours stays as it is.")
        layout.addWidget(self.run)
        self.status = wrapped()
        self.status.setToolTip("What happened last.")
        layout.addWidget(self.status)
        layout.addStretch(1)
        for widget in (self.draw, self.path, self.run):
            widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setWidget(inside)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)
        self.draw.clicked.connect(lambda *_: self._draw("add_line"))
        self.path.clicked.connect(lambda *_: self._draw("add_polyline"))
        self.run.clicked.connect(lambda *_: self.fold_slice())

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802, the name is Qt's
        """Leave the room below to the other panels, once the window is laid out."""
        super().showEvent(event)
        if not self._placed:
            self._placed = True
            QTimer.singleShot(0, self._take_little_room)

    def _take_little_room(self) -> None:
        dock: QWidget | None = self
        while dock is not None and not isinstance(dock, QDockWidget):
            dock = dock.parentWidget()
        window = None if dock is None else dock.parentWidget()
        if isinstance(dock, QDockWidget) and isinstance(window, QMainWindow):
            area = window.dockWidgetArea(dock)
            others = [
                other
                for other in window.findChildren(QDockWidget)
                if other is not dock
                and other.isVisible()
                and window.dockWidgetArea(other) == area
                and other.x() == dock.x()
            ]
            if not others:
                return
            inside = self._inside
            wanted = max(inside.heightForWidth(inside.width()), inside.sizeHint().height())
            wanted += max(0, dock.height() - self.height())
            rest = sum(other.height() for other in others) + dock.height() - wanted
            sizes = [wanted, *[max(1, rest // len(others))] * len(others)]
            window.resizeDocks([dock, *others], sizes, Qt.Orientation.Vertical)

    @staticmethod
    def _spin(low: float, high: float, value: float, tip: str, decimals: int = 1) -> QDoubleSpinBox:
        spin = QDoubleSpinBox()
        spin.setRange(low, high)
        spin.setDecimals(decimals)
        spin.setSingleStep(0.005 if decimals == 3 else 1)
        spin.setValue(value)
        spin.setToolTip(tip)
        return spin

    def _image(self) -> Any | None:
        from napari.layers import Image

        images = [
            layer
            for layer in self.viewer.layers
            if isinstance(layer, Image) and RESULT_MARK not in layer.metadata and not layer.rgb
        ]
        active = self.viewer.layers.selection.active
        if active in images:
            return active
        return images[-1] if images else None

    def _source(self) -> ImageSource | None:
        layer = self._image()
        if layer is None:
            self._say("Open a stack first.")
            return None
        try:
            return ImageSource(layer)
        except SffError as error:
            self._say(str(error))
            return None

    def _say(self, sentence: str) -> None:
        self.status.setText(sentence)
        show_problem(sentence)

    def _draw(self, mode: str) -> None:
        source = self._source()
        if source is None:
            return
        layer = self._line_layer()
        if layer is None or layer.ndim != source.ndim:
            layer = self.viewer.add_shapes(
                None,
                ndim=source.ndim,
                name=LINE_LAYER,
                edge_color="#ff5fa2",
                face_color="transparent",
                edge_width=self.width.value(),
                opacity=0.6,
                metadata={MARK: "simulate"},
                **source.alike(),
            )
        layer.current_edge_width = self.width.value()
        self.viewer.layers.selection.active = layer
        layer.mode = mode

    def _line_layer(self) -> Any | None:
        for layer in self.viewer.layers:
            if getattr(layer, "metadata", {}).get(MARK) == "simulate":
                return layer
        return None

    def fold_slice(self) -> None:
        """Fold the slice that is shown along the last line drawn on it."""
        if self._job is not None:
            return
        lines = self._line_layer()
        if lines is not None and self.viewer.layers.selection.active is lines:
            self.viewer.layers.selection.active = None
        source = self._source()
        if source is None:
            return
        index = source.index_at(self.viewer)
        drawn = (
            []
            if lines is None
            else [
                points
                for points in lines.data
                if tuple(int(v) for v in np.rint(points[0, :-2])) == index
            ]
        )
        if not drawn:
            self._say("Draw a line on this slice first.")
            return
        vertices = thin_path([(float(y), float(x)) for y, x in drawn[-1][:, -2:]])
        half, hidden, decay = self.width.value() / 2, self.hidden.value() / 2, self.decay.value()

        def work(channel: Channel) -> tuple[NDArray[Any], NDArray[Any]]:
            clean = source.read(index)
            channel.check()
            return clean, folded(clean, vertices, half, hidden, decay)

        self._job = Job(work, lambda: source.is_current(self.viewer))
        self._job.returned.connect(lambda pair: self._show(source, index, *pair))
        self._job.failed.connect(self._say)
        self._job.finished.connect(self._done)
        self.run.setEnabled(False)
        self.status.setText("Folding")
        self._job.start()

    def _done(self) -> None:
        self._job = None
        self.run.setEnabled(True)

    def _show(
        self, source: ImageSource, index: tuple[int, ...], clean: NDArray[Any], image: NDArray[Any]
    ) -> None:
        earlier = source.layer.metadata.get(TRUTH, {})

        def look_up(i: tuple[int, ...]) -> NDArray[Any] | None:
            return image if i == index else None

        levels = [
            PatchedLevel(level, source.data, source.dtype, look_up) for level in source.levels
        ]
        many = len(levels) > 1
        self.viewer.add_image(
            levels if many else levels[0],
            name=f"{source.layer.name} folded",
            multiscale=many,
            contrast_limits=source.layer.contrast_limits,
            colormap=source.layer.colormap,
            metadata={TRUTH: {**earlier, index: clean}},
            **source.alike(),
        )
        lines = self._line_layer()
        if lines is not None:
            lines.visible = False
        self.status.setText(
            f"Slice {source.name_of(index)} is folded in the new layer. Detect or draw its line in "
            "'Fold restoration', restore, and read the PSNR."
        )
