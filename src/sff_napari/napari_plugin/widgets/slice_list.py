"""The slices that a dock has restored, and what became of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QListWidget, QListWidgetItem

if TYPE_CHECKING:
    from sff_napari.napari_plugin.controller.slice_repairs import SliceRepairs
    from sff_napari.sessions import Index

STATES = {
    "to do": "not restored",
    "restored": "undecided",
    "stale": "stale",
    "accepted": "kept",
    "rejected": "rejected",
}
"""States of a slice in the words of the docks."""


def name_of(repairs: SliceRepairs, index: Index) -> str:
    """Return a slice's name as a person reads it."""
    return f"Slice {repairs.source.name_of(index)}" if index else "This image"


class SliceList(QListWidget):
    """A list of slices; clicking one asks to go there."""

    wanted = Signal(object)
    """The index of the slice that was clicked."""

    def __init__(self) -> None:
        super().__init__()
        self.setToolTip("Slices that were restored; click one to go there.")
        self.setMaximumHeight(110)
        self.itemClicked.connect(
            lambda item: self.wanted.emit(tuple(item.data(Qt.ItemDataRole.UserRole)))
        )

    def show_slices(self, repairs: SliceRepairs | None, shown: Index) -> None:
        """List what was restored, the slice that is shown selected."""
        self.clear()
        for result in [] if repairs is None else repairs.store.all():
            assert repairs is not None
            name = name_of(repairs, result.index)
            item = QListWidgetItem(f"{name}: {STATES[result.state]}")
            item.setData(Qt.ItemDataRole.UserRole, result.index)
            self.addItem(item)
            item.setSelected(result.index == shown)
