"""The line at the foot of the panel: what happened last, as long as it is true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QLabel

if TYPE_CHECKING:
    from sff_napari.napari_plugin.controller.controller import Controller

WAITING = ("Something is ", "Cancelling")
"""Beginnings of sentences that are true only while a job is running."""


class StatusLine(QLabel):
    """One sentence; it goes when another slice or stack is shown, or the job that it tells of ends.

    Parameters
    ----------
    controller : Controller
        Whose sentences are shown.
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self.controller = controller
        self._place: Any = None
        self.setWordWrap(True)
        self.setContentsMargins(6, 4, 6, 4)
        self.setToolTip("What happened last.")
        controller.status.connect(self.say)
        controller.index_changed.connect(self._on_place)
        controller.source_changed.connect(self._on_place)
        controller.busy.connect(self._on_busy)

    def say(self, text: str) -> None:
        """Show a sentence; it belongs to the slice that is shown now."""
        self._place = self._here()
        self.setText(text)

    def forget(self, beginning: str) -> None:
        """Take a sentence away that is over; another one stays."""
        if self.text().startswith(beginning):
            self.say("")

    def _here(self) -> Any:
        work = self.controller.work
        return None if work is None else (id(work), self.controller.index)

    def _on_place(self) -> None:
        if self._place is not None and self._here() != self._place:
            self.say("")

    def _on_busy(self, busy: bool) -> None:
        if not busy and self.text().startswith(WAITING):
            self.say("")
