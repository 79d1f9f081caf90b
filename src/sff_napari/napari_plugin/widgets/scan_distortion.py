"""The dock widget "Scan distortion": undo jitter and noise of a scanned image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QLabel,
    QSlider,
    QVBoxLayout,
)

from sff_napari.napari_plugin import compat
from sff_napari.napari_plugin.layers.result_layers import MARK
from sff_napari.napari_plugin.widgets.curve_plot import CurvePlot
from sff_napari.napari_plugin.widgets.slice_dock import SliceDock
from sff_napari.napari_plugin.workers.job import Job
from sff_napari.napari_plugin.workers.scan_request import CROP, ScanRequest

if TYPE_CHECKING:
    from napari import Viewer

    from sff_napari.napari_plugin.layers.image_source import ImageSource
    from sff_napari.scan_distortion import ScanRestoration
    from sff_napari.sessions import Index

# Written out here so that opening the dock need not load torch; a test compares them.
METHODS = {
    "default": "small network (default)",
    "plain12": "network of Lobato et al. 2020 (needs weights)",
    "cgrdn": "network of Lobato et al. 2024 (needs weights)",
    "gaussian": "Gaussian, width found",
    "median": "median of 5 x 5",
    "rows": "alignment of rows",
}
PREVIEW = "scan preview"
_PAUSE_MS = 250


class ScanWidget(SliceDock):
    """Restore scanned slices of an image or a stack, and judge them.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    PURPOSE = "scan"
    LAYERS: ClassVar[dict[str, str]] = {
        "restored": "restored scan",
        "flow": "scan displacement",
        "confidence": "scan confidence",
    }
    INTRODUCTION = (
        "Undoes jitter, drift and noise of a scanned image. Preview a part, restore the slice, "
        "compare, and keep what is good."
    )

    def __init__(self, napari_viewer: Viewer) -> None:
        self._previewing: Job | None = None
        super().__init__(napari_viewer)
        self._again = QTimer(self)
        self._again.setSingleShot(True)
        self._again.setInterval(_PAUSE_MS)
        self._again.timeout.connect(self._preview)

    def add_form(self, layout: QVBoxLayout) -> None:
        """Add what is chosen for a restoration."""
        self.axis = QComboBox()
        self.axis.addItem("x, along rows", "x")
        self.axis.addItem("y, along columns", "y")
        self.axis.setToolTip("The direction in which the beam moved fast.")
        self.strength = QSlider(Qt.Orientation.Horizontal)
        self.strength.setRange(0, 100)
        self.strength.setValue(100)
        self.strength.setToolTip("How much of the correction is applied, in per cent.")
        self.percent = QLabel("100 %")
        self.only = QCheckBox("Move pixels, do not denoise")
        self.only.setToolTip(
            "Moves the measured values back to their places and changes nothing else, for those "
            "who measure grey values."
        )
        self.beside = QCheckBox("Use neighbouring slices")
        self.beside.setChecked(True)
        self.beside.setToolTip("Finds slow drift against the slices before and after.")
        self.method = self.choices(METHODS, "How the slice is restored.")
        form = QFormLayout()
        form.addRow("Fast axis", self.axis)
        form.addRow("Strength", self.row(self.strength, self.percent))
        form.addRow("Method", self.method)
        form.addRow("Weights", self.weights_file)
        layout.addLayout(form)
        layout.addWidget(self.only)
        layout.addWidget(self.beside)
        self.preview = self.button(
            "Preview a part",
            f"Restore {CROP} x {CROP} px in the middle of the view; anew when a choice changes.",
        )
        self.preview.setCheckable(True)
        self.preview.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.preview.toggled.connect(self._on_preview)
        layout.addWidget(self.preview)
        self.strength.valueChanged.connect(lambda value: self.percent.setText(f"{value} %"))
        self.strength.valueChanged.connect(self.on_choice)
        self.axis.currentIndexChanged.connect(self.on_choice)
        self.method.currentIndexChanged.connect(self.on_choice)
        self.only.toggled.connect(self.on_choice)

    def add_plot(self, layout: QVBoxLayout) -> None:
        """Add the displacement over rows."""
        self.plot = CurvePlot("displacement, px (largest {most:.2f})", " px")
        self.plot.setToolTip("Mean displacement of each row, or column if the fast axis is y.")
        layout.addWidget(self.plot)

    def options(self) -> dict[str, Any]:
        """Return what is chosen as keyword arguments of `restore_scan`."""
        return {
            "fast_axis": self.axis.currentData(),
            "strength": self.strength.value() / 100,
            "displacement_only": self.only.isChecked(),
            "method": self.method.currentData(),
            "weights": self.weights,
        }

    def request(self) -> ScanRequest | None:
        """Return what is to be done with the slice that is shown."""
        if self.repairs is None:
            return None
        source, index = self.repairs.source, self.index
        places = source.every_index(index)
        z = source.place_of(index)
        beside: tuple[Index | None, Index | None] = (None, None)
        if self.beside.isChecked() and index:
            beside = (
                places[z - 1] if z > 0 else None,
                places[z + 1] if z + 1 < len(places) else None,
            )
        return ScanRequest(source, index, self.options(), beside)

    def restore(self) -> None:
        """Restore the slice that is shown."""
        request, repairs = self.request(), self.repairs
        if request is None or repairs is None or not self.may_replace(request.index):
            return
        self.preview.setChecked(False)

        def done(made: ScanRestoration) -> None:
            arrays = {
                "restored": made.restored,
                "flow": made.displacement,
                "confidence": made.confidence,
            }
            previous, following = request.beside
            repairs.take(
                request.index,
                arrays,
                request.options,
                dict(made.report),
                {
                    "previous": None if previous is None else list(previous),
                    "following": None if following is None else list(following),
                },
            )
            self.say("Restored: hold the button to compare, then keep or reject it.")

        source = repairs.source
        self.start_job(request.restore, done, lambda: source.is_current(self.viewer))

    def describe(self, index: Index) -> str:
        """Return what was found out about the scan."""
        result = None if self.repairs is None else self.repairs.store.get(index)
        report = {} if result is None else dict(result.record.versions.get("report") or {})
        if not report:
            return ""
        notes = [f"{note}" for note in report.get("notes") or ()]
        drift = f", slow drift {report['slow_drift']:.2f} px" if report.get("neighbours") else ""
        jitter, noise = report.get("jitter", 0), report.get("noise", 0)
        found = (
            f"Row jitter {jitter:.2f} px{drift}, noise {noise:.3g} grey values (root mean square)."
        )
        return " ".join([found, *notes])

    def show_result(self, index: Index) -> None:
        """Plot the displacement of each row."""
        repairs = self.repairs
        result = None if repairs is None else repairs.store.get(index)
        flow = None if repairs is None else repairs.store.array(index, "flow")
        if result is None or flow is None:
            self.plot.show_curves(np.zeros(0), {})
            return
        along = 2 if result.record.parameters.get("fast_axis", "x") == "x" else 1
        finite = np.isfinite(flow)
        total = np.where(finite, flow, 0).sum(along)
        mean = total / np.maximum(finite.sum(along), 1)
        self.plot.show_curves(np.arange(mean.shape[1]), {"dx": mean[1], "dy": mean[0]})

    # -- preview -------------------------------------------------------------------------

    def on_choice(self, *_: Any) -> None:
        """Preview anew."""
        if self.preview.isChecked():
            self._again.start()

    def _on_preview(self, on: bool) -> None:
        if on:
            self._preview()
        else:
            self._take_preview_away()

    def _on_slice(self, *_: Any) -> None:
        super()._on_slice()
        if not self._ended.is_set():
            self.on_choice()

    def _corner(self, source: ImageSource) -> tuple[int, int]:
        """Return the upper left pixel of the part in the middle of the view."""
        centre = np.asarray(compat.camera_centre(self.viewer)[-2:], float)
        world = np.zeros(source.ndim)
        world[-2:] = centre
        place = np.asarray(source.layer.world_to_data(world))[-2:]
        most = np.maximum(np.asarray(source.plane) - CROP, 0)
        y, x = np.clip(np.rint(place - CROP / 2), 0, most)
        return int(y), int(x)

    def _preview(self) -> None:
        """Restore a part in a worker, and show it over the slice."""
        request, repairs = self.request(), self.repairs
        if request is None or repairs is None or self.is_busy:
            return
        if self._previewing is not None:
            self._again.start()
            return
        corner, ended = self._corner(repairs.source), self._ended

        def show(crop: NDArray[Any]) -> None:
            repairs.queue.later(lambda: self._show_preview(repairs.source, corner, crop), "preview")

        def over() -> None:
            self._previewing = None

        job = Job(
            lambda _channel: request.restore_crop(corner),
            lambda: not ended.is_set() and self.repairs is repairs and self.preview.isChecked(),
        )
        job.returned.connect(show)
        job.failed.connect(lambda text: None if ended.is_set() else self.say(text, True))
        job.finished.connect(over)
        self._previewing = job
        job.start()

    def _show_preview(
        self, source: ImageSource, corner: tuple[int, int], crop: NDArray[Any]
    ) -> None:
        if not self.preview.isChecked() or source.layer not in self.viewer.layers:
            return
        layers = self.viewer.layers
        if PREVIEW in layers and layers[PREVIEW].metadata.get(MARK) == "preview":
            layer = layers[PREVIEW]
            layer.data = crop
        else:
            from napari.layers import Image

            layer = Image(
                crop,
                name=PREVIEW,
                metadata={MARK: "preview"},
                colormap=source.layer.colormap,
                contrast_limits=source.layer.contrast_limits,
            )
            active = layers.selection.active
            layers.append(layer)
            layers.selection.active = active
        layer.scale = source.layer.scale[-2:]
        place = source.layer.data_to_world((*(0,) * (source.ndim - 2), *corner))
        layer.translate = np.asarray(place)[-2:]

    def _take_preview_away(self) -> None:
        layers = self.viewer.layers

        def remove() -> None:
            if PREVIEW in layers and layers[PREVIEW].metadata.get(MARK) == "preview":
                layers.remove(PREVIEW)

        if self.repairs is not None:
            self.repairs.queue.later(remove)
