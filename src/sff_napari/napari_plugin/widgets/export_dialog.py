"""The export dialog."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from sff_napari.evaluation.html_report import NAME, write_report
from sff_napari.napari_plugin.notify import show_note
from sff_napari.napari_plugin.widgets.sections import wrapped
from sff_napari.napari_plugin.workers.job import Channel
from sff_napari.sessions.export import ExportFormat, ExportJob, export, export_volumes
from sff_napari.sessions.records import Index

if TYPE_CHECKING:
    from sff_napari.napari_plugin.controller.controller import Controller

_PARTS = {
    "stack": "Corrected stack",
    "lines": "Fold lines (JSON)",
    "masks": "Masks of synthesised pixels",
    "flow": "Flow fields (TIFF, one a slice)",
}


def export_job(
    controller: Controller, *, undecided: bool = False, at: Index | None = None
) -> ExportJob:
    """Return what would be exported of one volume.

    Parameters
    ----------
    controller : Controller
        The session.
    undecided : bool
        Also the slices that are restored but not decided; else only the accepted ones.
    at : tuple of int, optional
        A slice of the volume; the one that is shown if not given.
    """
    source, lines = controller.source, controller.lines
    assert source is not None
    assert lines is not None
    places = source.every_index(controller.index if at is None else at)
    every = {index: z for z, index in enumerate(places)}
    states = ("accepted", "restored") if undecided else ("accepted",)
    results = [
        r
        for r in controller.store.all()
        if r.index in every and (r.state in states or (r.stale and r.record.state == "accepted"))
    ]
    folds: dict[int, list[Any]] = {}
    for record in lines.records.values():
        if record.index in every and record.state != "rejected":
            folds.setdefault(every[record.index], []).append(record)
    return ExportJob(
        source.layer.name,
        (source.count, *source.plane),
        source.dtype,
        lambda z: source.read_stored(places[z]),
        {every[r.index]: partial(controller.store.array, r.index) for r in results},
        folds,
        [r.record.to_dict() for r in results],
        source.voxel_size,
    )


def export_jobs(controller: Controller, *, undecided: bool = False) -> dict[str, ExportJob]:
    """Return what would be exported of every volume, by the names of their folders."""
    source = controller.source
    assert source is not None
    return {
        source.volume_name(at): export_job(controller, undecided=undecided, at=at)
        for at in source.every_volume()
    }


def start_export(
    controller: Controller,
    folder: Path,
    format: ExportFormat,
    parts: list[str],
    *,
    undecided: bool = False,
    overwrite: bool = False,
    every_volume: bool = False,
) -> None:
    """Write in a worker; the panel shows progress and can cancel."""
    jobs = (
        export_jobs(controller, undecided=undecided)
        if every_volume
        else {"": export_job(controller, undecided=undecided)}
    )

    def work(channel: Channel) -> list[Path]:
        how: dict[str, Any] = {
            "parts": parts,
            "overwrite": overwrite,
            "progress": channel.progress,
            "cancelled": channel.cancelled,
        }
        if every_volume:
            written = export_volumes(jobs, folder, format, **how)
        else:
            written = export(jobs[""], folder, format, **how)
        channel.progress(1.0, "Writing the report")
        # The export is complete by now: it is no longer cancelled.
        return written + [write_report(folder / name, job) for name, job in jobs.items()]

    def done(_written: list[Path]) -> None:
        count = sum(len(job.patches) for job in jobs.values())
        many = f" in {len(jobs)} volumes" if every_volume else ""
        text = f"Exported {count} corrected slice{'s' * (count != 1)}{many} to {folder}."
        controller.status.emit(text)
        controller.exported.emit(str(folder))
        if len(jobs) == 1:
            text += f" What was done to each slice: {NAME}."
        show_note(text)

    controller._run(work).returned.connect(done)


class ExportDialog(QDialog):
    """Asks where and what to export."""

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.controller = controller
        self.setWindowTitle("Export the corrected stack")
        self.setMinimumWidth(420)
        source = controller.source
        assert source is not None
        base = (
            Path(source.path).parent if source.path and Path(source.path).exists() else Path.home()
        )
        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in source.layer.name)
        self.folder = QLineEdit(str(base / f"{name}-restored"))
        self.folder.setToolTip("A new folder for everything that is exported.")
        browse = QPushButton("Browse")
        browse.setToolTip("Choose where the new folder is made.")
        browse.clicked.connect(self._browse)
        row = QHBoxLayout()
        row.addWidget(self.folder, 1)
        row.addWidget(browse)
        self.format = QComboBox()
        self.format.addItem("OME-Zarr", "ome-zarr")
        self.format.addItem("TIFF", "tiff")
        self.format.setToolTip("Format of the corrected stack and of the masks.")
        self.which = QComboBox()
        volumes = source.every_volume()
        self.which.addItem(f"All {len(volumes)} volumes, each in a folder of its own", True)
        self.which.addItem(
            f"Only the volume that is shown ({source.volume_name(controller.index)})", False
        )
        self.which.setToolTip("A stack with more than three axes holds several volumes.")
        form = QFormLayout()
        form.addRow("Folder", row)
        if len(volumes) > 1:
            form.addRow("Volumes", self.which)
        else:
            self.which.setCurrentIndex(1)
            self.which.setParent(self)
            self.which.hide()
        form.addRow("Format", self.format)
        self.parts = {}
        for key, text in _PARTS.items():
            self.parts[key] = QCheckBox(text)
            self.parts[key].setChecked(True)
            self.parts[key].setToolTip(f"Write: {text.lower()}.")
            form.addRow(self.parts[key])
        self.undecided = QCheckBox("Also slices that are restored but not decided")
        self.undecided.setToolTip("Otherwise only accepted slices are corrected.")
        form.addRow(self.undecided)
        self.overwrite = QCheckBox("Replace the folder if it exists")
        self.overwrite.setToolTip("The old folder stays until the new one is complete.")
        form.addRow(self.overwrite)
        self.note = wrapped()
        self.note.setToolTip("What the export will write.")
        self.which.currentIndexChanged.connect(self._describe)
        self.format.currentIndexChanged.connect(self._describe)
        for box in (self.undecided, *self.parts.values()):
            box.toggled.connect(self._describe)
        self._describe()
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )
        buttons.button(QDialogButtonBox.StandardButton.Ok).setText("Export")
        buttons.accepted.connect(self._start)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.note)
        layout.addWidget(buttons)

    @property
    def every_volume(self) -> bool:
        """Whether all volumes are written, or the one that is shown."""
        return bool(self.which.currentData())

    def _describe(self, *_: Any) -> None:
        """Say what would be written."""
        undecided = self.undecided.isChecked()
        if self.every_volume:
            jobs = list(export_jobs(self.controller, undecided=undecided).values())
        else:
            jobs = [export_job(self.controller, undecided=undecided)]
        slices = sum(job.shape[0] for job in jobs)
        corrected = sum(len(job.patches) for job in jobs)
        lines = sum(len(records) for job in jobs for records in job.folds.values())
        many = f"{len(jobs)} volumes, " if len(jobs) > 1 else ""
        pixels = slices * jobs[0].shape[1] * jobs[0].shape[2]
        size = 0
        if self.parts["stack"].isChecked():
            size += pixels * jobs[0].dtype.itemsize
        if self.parts["masks"].isChecked():
            size += pixels
        kind = "undecided ones too" if undecided else "accepted ones only"
        self.note.setText(
            f"Writes {many}{slices} slice{'s' * (slices != 1)}, of which {corrected} "
            f"corrected ({kind}), and {lines} fold line{'s' * (lines != 1)}; up to "
            f"{max(1, round(size / 2**20))} MiB before compression. Your original is never changed."
        )

    def _browse(self, *_: Any) -> None:
        folder = QFileDialog.getExistingDirectory(
            self, "Export into", str(Path(self.folder.text()).parent)
        )
        if folder:
            self.folder.setText(str(Path(folder) / Path(self.folder.text()).name))

    def _start(self) -> None:
        folder = Path(self.folder.text()).expanduser()
        if folder.exists() and not self.overwrite.isChecked():
            self.note.setText("This folder exists: choose another name, or tick 'Replace'.")
            return
        source = self.controller.source
        if source is not None and source.path and Path(source.path).absolute() == folder.absolute():
            self.note.setText("This is the original stack itself: choose another folder.")
            return
        parts = [key for key, box in self.parts.items() if box.isChecked()]
        if not parts:
            self.note.setText("Tick at least one part.")
            return
        start_export(
            self.controller,
            folder,
            self.format.currentData(),
            parts,
            undecided=self.undecided.isChecked(),
            overwrite=self.overwrite.isChecked(),
            every_volume=self.every_volume,
        )
        self.accept()
