"""The dock widget "Tilt series": from tilted images to a volume."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QFileDialog

from sff_napari.errors import InputError, SffError
from sff_napari.napari_plugin.widgets.curve_plot import CurvePlot
from sff_napari.napari_plugin.widgets.dock import Dock
from sff_napari.napari_plugin.widgets.sections import wrapped
from sff_napari.napari_plugin.widgets.tilt_form import PREVIEW_METHODS, TiltForm
from sff_napari.napari_plugin.widgets.tilt_table import TiltTable
from sff_napari.napari_plugin.workers.job import Channel

if TYPE_CHECKING:
    from napari import Viewer

    from sff_napari.tilt_series import Tomogram
    from sff_napari.tilt_series.series import TiltSeries
    from sff_napari.tilt_series.tilt_alignment import TiltAlignment

RESULT = "sff_napari_tomogram"
AXIS_LAYER = "tilt axis"


class TiltSeriesWidget(Dock):
    """Choose tilts, align, preview, and reconstruct the volume of the active image layer.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer with the series, an image layer (tilt, Y, X).
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self.layer: Any | None = None
        self.tomogram: Tomogram | None = None
        self._stop = threading.Event()
        layout = self.content
        self.intro = wrapped("Select the image layer of a tilt series, then load its angles.")
        layout.addWidget(self.intro)
        self.load = self.button(
            "Load angles…", "Read a .tlt, .rawtlt, .mdoc or text file.", self.ask_for_angles
        )
        self.take = self.button(
            "Use this layer", "Take the selected image layer as the series.", self.use_layer
        )
        layout.addLayout(self.row(self.take, self.load))
        self.table = TiltTable()
        layout.addWidget(self.table)
        self.form = TiltForm()
        layout.addWidget(self.form)
        self.align = self.button(
            "Align", "Find shifts and the tilt axis; all can be corrected.", self.find_alignment
        )
        self.preview = self.button(
            "Preview",
            f"One slice across the axis, by {', '.join(PREVIEW_METHODS)}.",
            self.show_preview,
        )
        self.run = self.button(
            "Reconstruct", "Compute the volume; your series stays as it is.", self.reconstruct
        )
        self.stop = self.button(
            "Stop and keep", "End now and keep the best volume so far.", self._stop.set
        )
        self.save = self.button(
            "Save…", "Write volume, projections and record.", self.ask_where_to_save
        )
        layout.addLayout(self.row(self.align, self.preview))
        layout.addLayout(self.row(self.run, self.stop, self.save))
        self.plot = CurvePlot("residuals, rms (largest {most:.3g})", "°", points=True)
        self.plot.setToolTip(
            "What the volume leaves unexplained of each image, over its tilt: an image that "
            "stands out is worth a look, or leaving out."
        )
        layout.addWidget(self.plot)
        layout.addStretch(1)
        for box in (self.form.offset, self.form.angle):
            box.valueChanged.connect(lambda *_: self.draw_axis())
        self.form.axis.currentIndexChanged.connect(lambda *_: self.draw_axis())
        self.show_state()

    def show_state(self) -> None:
        """Enable what can be done now."""
        super().show_state()
        ready, busy = self.table.rowCount() > 0, self.is_busy
        for button in (self.align, self.preview, self.run):
            button.setEnabled(ready and not busy)
        self.take.setEnabled(not busy)
        self.load.setEnabled(self.layer is not None and not busy)
        self.stop.setEnabled(busy)
        self.save.setEnabled(self.tomogram is not None and not busy)

    # The series and its angles

    def use_layer(self) -> None:
        """Take the active image layer as the series, with angles that lie beside its file."""
        from napari.layers import Image

        layer = self.viewer.layers.selection.active
        if not isinstance(layer, Image) or layer.ndim != 3 or layer.rgb:
            self.say("Select an image layer with three axes (tilt, Y, X) first.", True)
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
            self.say("Load the angles of this series.")
        self.show_state()

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
            self.say(str(error), True)
            return
        self.say(f"{self.table.rowCount()} angles from {path.name}.")

    def set_tilts(self, tilts: NDArray[Any]) -> None:
        """Show the angles of the series, in degrees."""
        from sff_napari.tilt_series.series import check_tilts

        try:
            check_tilts(np.asarray(tilts, float), self._data().shape[0])
        except SffError as error:
            self.say(str(error), True)
            return
        self.table.show_tilts(tilts)
        self.draw_axis()
        self.show_state()

    def _data(self) -> Any:
        """Return the images of the layer (T, Y, X) as they are held, perhaps not read yet."""
        if self.layer is None:
            raise InputError("Select the image layer of a tilt series first.")
        return self.layer.data[0] if self.layer.multiscale else self.layer.data

    def draw_axis(self) -> None:
        """Draw the tilt axis on the series."""
        if self.layer is None:
            return
        height, width = self._data().shape[1:]
        along = self.form.axis.currentData() == "x"
        across, length = (height, width) if along else (width, height)
        slope = np.tan(np.radians(self.form.angle.value()))
        ends = np.array([-0.5, length - 0.5])
        middle = (across - 1) / 2 + self.form.offset.value() + (ends - (length - 1) / 2) * slope
        line = np.stack([middle, ends] if along else [ends, middle], 1)
        if AXIS_LAYER in self.viewer.layers:
            self.viewer.layers[AXIS_LAYER].data = [line]
            return
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
        self.start_job(
            work, done, lambda: layer in self.viewer.layers, "Stopped before there was a result."
        )

    def _prepared(self) -> Callable[[], tuple[TiltSeries, TiltAlignment]] | None:
        """Return what reads the series and its alignment, in a worker; None if it cannot be."""
        try:
            data, used, tilts = self._data(), self.table.used(), self.table.tilts()
            shifts = self.table.shifts()
        except SffError as error:
            self.say(str(error), True)
            return None
        form = self.form
        axis, offset, angle = form.axis.currentData(), form.offset.value(), form.angle.value()

        def load() -> tuple[TiltSeries, TiltAlignment]:
            from sff_napari.tilt_series.series import check_series
            from sff_napari.tilt_series.tilt_alignment import TiltAlignment

            series = check_series(np.asarray(data)[used], tilts[used], axis)
            return series, TiltAlignment(shifts[used][series.order], offset, angle)

        return load

    def find_alignment(self) -> None:
        """Find shifts and axis, and show them in the table and the form."""
        load = self._prepared()
        if load is None:
            return
        contrast, stop, rows = self.form.contrast.currentData(), self._stop, self.table.used()

        def work(channel: Channel) -> tuple[TiltSeries, TiltAlignment]:
            from sff_napari.progress import Reporter
            from sff_napari.tilt_series.tilt_alignment import align_tilts

            series, _ = load()
            reporter = Reporter(channel.progress, stop.is_set)
            return series, align_tilts(series, contrast, reporter=reporter)

        def done(result: tuple[TiltSeries, TiltAlignment]) -> None:
            series, found = result
            self.table.show_shifts(rows[series.order], found.shifts)
            self.form.offset.setValue(found.axis_offset)
            self.form.angle.setValue(found.axis_angle)
            self.say(
                f"Tilt axis {found.axis_offset:+.2f} px from the middle, turned by "
                f"{found.axis_angle:+.2f}°; shifts are in the table."
            )

        self._start(work, done)

    def show_preview(self) -> None:
        """Show one slice across the axis by each of the quick methods."""
        load = self._prepared()
        if load is None:
            return
        options, stop = self.form.options(), self._stop

        def work(channel: Channel) -> NDArray[Any]:
            from sff_napari.progress import Reporter
            from sff_napari.tilt_series.preview import preview_slices

            series, alignment = load()
            reporter = Reporter(channel.progress, stop.is_set)
            return preview_slices(alignment.apply(series), options, reporter, stop.is_set)

        def done(slices: NDArray[Any]) -> None:
            self._show_image("preview", slices)
            self.say(f"Preview across the axis: {', '.join(PREVIEW_METHODS)}, scroll through.")

        self._start(work, done)

    def reconstruct(self) -> None:
        """Compute the volume and show it with the images it foretells."""
        load = self._prepared()
        if load is None:
            return
        options, stop = self.form.options(), self._stop

        def work(channel: Channel) -> Tomogram:
            from sff_napari.progress import Reporter
            from sff_napari.tilt_series.reconstruct import reconstruct_series

            series, alignment = load()
            reporter = Reporter(channel.progress, stop.is_set)
            made = reconstruct_series(alignment.apply(series), options, reporter, stop.is_set)
            return replace(made, report={**made.report, "alignment": alignment.to_dict(series)})

        self._start(work, self._show_result)

    def _show_result(self, made: Tomogram) -> None:
        self.tomogram = made
        self._show_image("volume", made.volume)
        for name in ("projections", "residuals"):
            self._show_image(name, getattr(made, name), visible=False)
        rms = np.sqrt(np.square(made.residuals).mean((1, 2)))
        self.plot.show_curves(self.table.tilts()[self.table.used()], {"rms": rms})
        judged = "" if made.held_out is None else f" Tilts kept out: {made.held_out:.2f} dB."
        began = "Stopped; the best so far" if made.report["stopped"] else "Done"
        self.say(f"{began}, in {made.report['seconds']:.0f} s.{judged}")

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
            self.say(str(error), True)
            return

        def work(channel: Channel) -> None:
            write_tomogram(path, tomogram, tomogram.report)

        self._start(work, lambda _: self.say(f"Saved to {path}."))
