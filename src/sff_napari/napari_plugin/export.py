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

from sff_napari.napari_plugin.notify import show_note
from sff_napari.napari_plugin.sections import wrapped
from sff_napari.napari_plugin.workers import Channel
from sff_napari.sessions.export import ExportFormat, ExportJob, export

if TYPE_CHECKING:
    from sff_napari.napari_plugin.controller import Controller

_PARTS = {
    "stack": "Corrected stack",
    "lines": "Fold lines (JSON)",
    "masks": "Masks of synthesised pixels",
    "flow": "Flow fields (TIFF, one a slice)",
}


def export_job(controller: Controller, *, undecided: bool = False) -> ExportJob:
    """Return what would be exported: the accepted slices, and on request the undecided ones."""
    source, lines = controller.source, controller.lines
    assert source is not None
    assert lines is not None
    every = {index: z for z, index in enumerate(source.every_index(controller.index))}
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
        lambda z: source.read(source.every_index(controller.index)[z]),
        {every[r.index]: partial(controller.store.array, r.index) for r in results},
        folds,
        [r.record.to_dict() for r in results],
        source.voxel_size,
    )


def start_export(
    controller: Controller,
    folder: Path,
    format: ExportFormat,
    parts: list[str],
    *,
    undecided: bool = False,
    overwrite: bool = False,
) -> None:
    """Write in a worker; the panel shows progress and can cancel."""
    job = export_job(controller, undecided=undecided)

    def work(channel: Channel) -> list[Path]:
        return export(
            job,
            folder,
            format,
            parts=parts,
            overwrite=overwrite,
            progress=channel.progress,
            cancelled=channel.cancelled,
        )

    def done(_written: list[Path]) -> None:
        count = len(job.patches)
        text = f"Exported {count} corrected slice{'s' * (count != 1)} to {folder}."
        controller.status.emit(text)
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
        form = QFormLayout()
        form.addRow("Folder", row)
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
        accepted = len(export_job(controller).patches)
        self.note = wrapped(
            f"{accepted} accepted slice{'s' * (accepted != 1)}. Your original is never changed."
        )
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
        )
        self.accept()
