"""The dock widget "Tilt series": from tilted images to a volume."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from sff_napari.errors import InputError, SffError
from sff_napari.napari_plugin import compat
from sff_napari.napari_plugin.notify import show_problem
from sff_napari.napari_plugin.widgets.sections import wrapped
from sff_napari.napari_plugin.widgets.tilt_table import ResidualPlot, TiltTable
from sff_napari.napari_plugin.workers.job import Channel, Job

if TYPE_CHECKING:
    from napari import Viewer

    from sff_napari.tilt_series import Tomogram
    from sff_napari.tilt_series.series import TiltSeries
    from sff_napari.tilt_series.tilt_alignment import TiltAlignment

RESULT = "sff_napari_tomogram"
AXIS_LAYER = "tilt axis"
PREVIEW_METHODS = ("wbp", "sirt", "grid")
_PREVIEW_COLUMNS = 16
_METHODS = (
    "grid", "sirt", "wbp", "implicit", "implicit-flow", "implicit-full", "implicit-flow-full"
)  # fmt: skip


class TiltSeriesWidget(QWidget):
    """Choose tilts, align, preview, and reconstruct the volume of the active image layer.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer with the series, an image layer (tilt, Y, X).
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = compat.real_viewer(napari_viewer)
        self.layer: Any | None = None
        self.tomogram: Tomogram | None = None
        self.job: Job | None = None
        self._stop = threading.Event()
        inside = QWidget()
        layout = QVBoxLayout(inside)
        self.intro = wrapped("Select the image layer of a tilt series, then load its angles.")
        layout.addWidget(self.intro)
        self.load = self._button("Load angles…", "Read a .tlt, .rawtlt, .mdoc or text file.")
        self.take = self._button("Use this layer", "Take the selected image layer as the series.")
        layout.addLayout(self._row(self.take, self.load))
        self.table = TiltTable()
        layout.addWidget(self.table)
        layout.addLayout(self._build_form())
        self.align = self._button("Align", "Find shifts and the tilt axis; all can be corrected.")
        self.preview = self._button(
            "Preview", f"One slice across the axis, by {', '.join(PREVIEW_METHODS)}."
        )
        self.run = self._button("Reconstruct", "Compute the volume; your series stays as it is.")
        self.stop = self._button("Stop and keep", "End now and keep the best volume so far.")
        self.save = self._button("Save…", "Write volume, projections and record.")
        layout.addLayout(self._row(self.align, self.preview))
        layout.addLayout(self._row(self.run, self.stop, self.save))
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        layout.addWidget(self.bar)
        self.status = wrapped()
        layout.addWidget(self.status)
        self.plot = ResidualPlot()
        layout.addWidget(self.plot)
        layout.addStretch(1)
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setWidget(inside)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)
        for button, slot in (
            (self.take, self.use_layer),
            (self.load, self.ask_for_angles),
            (self.align, self.find_alignment),
            (self.preview, self.show_preview),
            (self.run, self.reconstruct),
            (self.stop, self._stop.set),
            (self.save, self.ask_where_to_save),
        ):
            button.clicked.connect(lambda *_, slot=slot: slot())
        for box in (self.offset, self.angle):
            box.valueChanged.connect(lambda *_: self.draw_axis())
        self.axis.currentIndexChanged.connect(lambda *_: self.draw_axis())
        self._show_state()

    @staticmethod
    def _button(text: str, tip: str) -> QPushButton:
        button = QPushButton(text)
        button.setToolTip(tip)
        return button

    @staticmethod
    def _row(*widgets: QWidget) -> QHBoxLayout:
        row = QHBoxLayout()
        for widget in widgets:
            row.addWidget(widget)
        return row

    def _build_form(self) -> QFormLayout:
        form = QFormLayout()
        self.axis = QComboBox()
        self.axis.addItem("x, along rows", "x")
        self.axis.addItem("y, along columns", "y")
        self.contrast = QComboBox()
        self.contrast.addItem("bright field", "bright")
        self.contrast.addItem("dark field (HAADF)", "dark")
        self.method = QComboBox()
        self.method.addItems(_METHODS)
        self.thickness = QSpinBox()
        self.thickness.setRange(0, 4096)
        self.thickness.setSpecialValueText("estimate")
        self.defocus = self._number(0, 50, "Known blur at the edge of the most tilted image.")
        self.minutes = self._number(0, 1e5, "Time it may take; 0 as long as it needs.")
        self.offset = self._number(-4096, 4096, "Distance of the tilt axis from the middle.")
        self.angle = self._number(-45, 45, "Turn of the tilt axis against the rows or columns.")
        for name, box in (
            ("Tilt axis", self.axis),
            ("Axis offset, px", self.offset),
            ("Axis angle, °", self.angle),
            ("Contrast", self.contrast),
            ("Thickness, slices", self.thickness),
            ("Method", self.method),
            ("Defocus, px", self.defocus),
            ("Minutes", self.minutes),
        ):
            form.addRow(name, box)
        return form

    @staticmethod
    def _number(low: float, high: float, tip: str) -> QDoubleSpinBox:
        box = QDoubleSpinBox()
        box.setRange(low, high)
        box.setDecimals(2)
        box.setToolTip(tip)
        return box

    def _say(self, sentence: str, problem: bool = False) -> None:
        self.status.setText(sentence)
        if problem:
            show_problem(sentence)

    def _show_state(self) -> None:
        ready, busy = self.table.rowCount() > 0, self.job is not None
        for button in (self.align, self.preview, self.run):
            button.setEnabled(ready and not busy)
        self.take.setEnabled(not busy)
        self.load.setEnabled(self.layer is not None and not busy)
        self.stop.setEnabled(busy)
        self.save.setEnabled(self.tomogram is not None and not busy)
        self.bar.setVisible(busy)

    # The series and its angles

    def use_layer(self) -> None:
        """Take the active image layer as the series, with angles that lie beside its file."""
        from napari.layers import Image

        layer = self.viewer.layers.selection.active
        if not isinstance(layer, Image) or layer.ndim != 3 or layer.rgb:
            self._say("Select an image layer with three axes (tilt, Y, X) first.", True)
            return
        self.layer = layer
        self.table.setRowCount(0)
        self.intro.setText(f"Series: {layer.name}.")
        tilts = layer.metadata.get("tilts")
        if tilts is not None:
            self.set_tilts(np.asarray(tilts, float))
        elif layer.source.path:
            from sff_napari.tilt_series.angles import tilts_beside

            beside = tilts_beside(Path(layer.source.path))
            if beside is not None:
                self.load_angles(beside)
        if not self.table.rowCount():
            self._say("Load the angles of this series.")
        self._show_state()

    def ask_for_angles(self) -> None:
        """Ask for a file with angles, and read it."""
        name, _ = QFileDialog.getOpenFileName(
            self, "Tilt angles", "", "Angles (*.tlt *.rawtlt *.mdoc *.txt);;All files (*)"
        )
        if name:
            self.load_angles(Path(name))

    def load_angles(self, path: Path) -> None:
        """Read the angles of the series from a file."""
        from sff_napari.tilt_series.angles import read_tilts

        try:
            self.set_tilts(read_tilts(path))
        except SffError as error:
            self._say(str(error), True)
            return
        self._say(f"{self.table.rowCount()} angles from {path.name}.")

    def set_tilts(self, tilts: NDArray[Any]) -> None:
        """Show the angles of the series, in degrees."""
        from sff_napari.tilt_series.series import check_tilts

        try:
            check_tilts(np.asarray(tilts, float), self._images().shape[0])
        except SffError as error:
            self._say(str(error), True)
            return
        self.table.show_tilts(tilts)
        self.draw_axis()
        self._show_state()

    def _images(self) -> NDArray[Any]:
        if self.layer is None:
            raise InputError("Select the image layer of a tilt series first.")
        data = self.layer.data[0] if self.layer.multiscale else self.layer.data
        return np.asarray(data)

    def _series(self) -> TiltSeries:
        from sff_napari.tilt_series.series import check_series

        used = self.table.used()
        images, tilts = self._images(), self.table.tilts()
        return check_series(images[used], tilts[used], self.axis.currentData())

    def _alignment(self, series: TiltSeries) -> TiltAlignment:
        from sff_napari.tilt_series.tilt_alignment import TiltAlignment

        shifts = self.table.shifts()[self.table.used()][series.order]
        return TiltAlignment(shifts, self.offset.value(), self.angle.value())

    def draw_axis(self) -> None:
        """Draw the tilt axis on the series."""
        if self.layer is None:
            return
        height, width = self._images().shape[1:]
        along = self.axis.currentData() == "x"
        across, length = (height, width) if along else (width, height)
        slope = np.tan(np.radians(self.angle.value()))
        ends = np.array([-0.5, length - 0.5])
        middle = (across - 1) / 2 + self.offset.value() + (ends - (length - 1) / 2) * slope
        line = np.stack([middle, ends] if along else [ends, middle], 1)
        if AXIS_LAYER in self.viewer.layers:
            self.viewer.layers.remove(AXIS_LAYER)
        self.viewer.add_shapes(
            [line],
            shape_type="line",
            edge_color="#ffb000",
            edge_width=max(0.5, across / 200),
            name=AXIS_LAYER,
            scale=self.layer.scale[1:],
            translate=self.layer.translate[1:],
        )
        self.viewer.layers.selection.active = self.layer

    # Work

    def _start(self, work: Any, done: Any) -> None:
        self._stop.clear()
        layer = self.layer
        self.job = Job(work, lambda: layer in self.viewer.layers)
        self.job.progressed.connect(self._on_progress)
        self.job.returned.connect(done)
        self.job.failed.connect(lambda sentence: self._say(sentence, True))
        self.job.cancelled.connect(lambda: self._say("Stopped before there was a result."))
        self.job.finished.connect(self._on_finished)
        self._show_state()
        self.job.start()

    def _on_progress(self, share: float, text: str) -> None:
        self.bar.setValue(round(1000 * share))
        self.bar.setFormat(f"{text}  %p%")

    def _on_finished(self) -> None:
        self.job = None
        self._show_state()

    def _prepared(self) -> tuple[TiltSeries, TiltAlignment] | None:
        try:
            series = self._series()
            return series, self._alignment(series)
        except SffError as error:
            self._say(str(error), True)
            return None

    def _options(self) -> Any:
        from sff_napari.tilt_series.reconstruct import Options

        return Options(
            contrast=self.contrast.currentData(),
            thickness=self.thickness.value() or None,
            method=self.method.currentText(),  # type: ignore[arg-type]
            defocus=self.defocus.value() or None,
            minutes=self.minutes.value() or None,
        )

    def find_alignment(self) -> None:
        """Find shifts and axis, and show them in the table and the form."""
        prepared = self._prepared()
        if prepared is None:
            return
        series, _ = prepared
        contrast, stop, rows = self.contrast.currentData(), self._stop, self.table.used()

        def work(channel: Channel) -> TiltAlignment:
            from sff_napari.progress import Reporter
            from sff_napari.tilt_series.tilt_alignment import align_tilts

            return align_tilts(series, contrast, reporter=Reporter(channel.progress, stop.is_set))

        def done(found: TiltAlignment) -> None:
            self.table.show_shifts(rows[series.order], found.shifts)
            self.offset.setValue(found.axis_offset)
            self.angle.setValue(found.axis_angle)
            self._say(
                f"Tilt axis {found.axis_offset:+.2f} px from the middle, turned by "
                f"{found.axis_angle:+.2f}°; shifts are in the table."
            )

        self._start(work, done)

    def show_preview(self) -> None:
        """Show one slice across the axis by each of the quick methods."""
        prepared = self._prepared()
        if prepared is None:
            return
        series, alignment = prepared
        options, stop = self._options(), self._stop

        def work(channel: Channel) -> NDArray[Any]:
            return preview_slices(series, alignment, options, channel.progress, stop.is_set)

        def done(slices: NDArray[Any]) -> None:
            self._show_image("preview", slices)
            self._say(f"Preview across the axis: {', '.join(PREVIEW_METHODS)}, scroll through.")

        self._start(work, done)

    def reconstruct(self) -> None:
        """Compute the volume and show it with the images it foretells."""
        prepared = self._prepared()
        if prepared is None:
            return
        series, alignment = prepared
        options, stop = self._options(), self._stop

        def work(channel: Channel) -> Tomogram:
            from sff_napari.progress import Reporter
            from sff_napari.tilt_series.reconstruct import reconstruct_series

            reporter = Reporter(channel.progress, stop.is_set)
            return reconstruct_series(alignment.apply(series), options, reporter, stop.is_set)

        self._start(work, lambda made: self._show_result(made, alignment.to_dict(series)))

    def _show_result(self, made: Tomogram, alignment: dict[str, Any]) -> None:
        self.tomogram = replace(made, report={**made.report, "alignment": alignment})
        self._show_image("volume", made.volume)
        for name in ("projections", "residuals"):
            self._show_image(name, getattr(made, name), visible=False)
        rms = np.sqrt(np.square(made.residuals).mean((1, 2)))
        self.plot.show_residuals(self.table.tilts()[self.table.used()], rms)
        judged = "" if made.held_out is None else f" Tilts kept out: {made.held_out:.2f} dB."
        began = "Stopped; the best so far" if made.report["stopped"] else "Done"
        self._say(f"{began}, in {made.report['seconds']:.0f} s.{judged}")

    def _show_image(self, kind: str, data: NDArray[Any], visible: bool = True) -> None:
        name = f"{self.layer.name} {kind}" if self.layer is not None else kind
        if name in self.viewer.layers and RESULT in self.viewer.layers[name].metadata:
            self.viewer.layers.remove(name)
        pixel = self.layer.scale[-1] if self.layer is not None else 1.0
        scale = (pixel,) * 3 if kind == "volume" else None
        self.viewer.add_image(
            data, name=name, scale=scale, visible=visible, metadata={RESULT: kind}
        )
        if kind in ("volume", "preview"):
            self.viewer.dims.set_current_step(0, data.shape[0] // 2)

    def ask_where_to_save(self) -> None:
        """Ask for a name and write the tomogram there."""
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the volume", "volume.zarr", "OME-Zarr (*.zarr);;MRC (*.mrc)"
        )
        if name:
            self.save_to(Path(name))

    def save_to(self, path: Path) -> None:
        """Write the tomogram to a path that does not exist."""
        from sff_napari.tilt_series.writing import check_tomogram_path, write_tomogram

        tomogram = self.tomogram
        if tomogram is None:
            return
        try:
            check_tomogram_path(path)
        except SffError as error:
            self._say(str(error), True)
            return

        def work(channel: Channel) -> None:
            write_tomogram(path, tomogram, tomogram.report)

        self._start(work, lambda _: self._say(f"Saved to {path}."))


def preview_slices(
    series: TiltSeries,
    alignment: TiltAlignment,
    options: Any,
    progress: Any,
    cancelled: Any,
) -> NDArray[Any]:
    """Return the slice across the middle of the axis by each quick method, (method, Z, Y)."""
    from sff_napari.progress import Reporter
    from sff_napari.tilt_series.reconstruct import reconstruct_series
    from sff_napari.tilt_series.thickness import estimate_thickness

    aligned = alignment.apply(series)
    thickness = options.thickness or estimate_thickness(aligned, options.contrast)
    middle = aligned.images.shape[2] // 2
    start = max(0, middle - _PREVIEW_COLUMNS // 2)
    part = replace(
        aligned,
        axis="x",
        images=np.ascontiguousarray(aligned.images[:, :, start : start + _PREVIEW_COLUMNS]),
    )
    reporter, slices = Reporter(progress, cancelled), []
    for number, method in enumerate(PREVIEW_METHODS):
        share = number / len(PREVIEW_METHODS)
        chosen = replace(options, method=method, thickness=thickness)
        made = reconstruct_series(
            part, chosen, reporter.part(share, share + 1 / len(PREVIEW_METHODS)), cancelled
        )
        image = made.volume[:, :, made.volume.shape[2] // 2]
        low, high = np.percentile(image, (1, 99.8))
        slices.append(np.clip((image - low) / max(high - low, 1e-12), 0, 1))
    return np.stack(slices).astype(np.float32)
