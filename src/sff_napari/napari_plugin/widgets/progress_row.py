"""One bar for whatever is running, with the time left and Cancel, at the panel's foot."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QWidget

if TYPE_CHECKING:
    from sff_napari.napari_plugin.controller.controller import Controller

_QUIET = 3.0
"""Seconds without news after which the bar no longer claims to know how far it is."""


class ProgressRow(QWidget):
    """Shows how far the running job is; its place is kept free, so that nothing moves."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self.controller = controller
        self.bar = QProgressBar(self)
        self.bar.setRange(0, 1000)
        self.bar.setToolTip("How far the running job has come, and about how long it still takes.")
        self.cancel = QPushButton("Cancel", self)
        self.cancel.setObjectName("sff_progress_cancel")
        self.cancel.setToolTip("Stop what is running; nothing is changed. Key: Shift+X")
        self.cancel.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.cancel.clicked.connect(lambda *_: controller.cancel())
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 0, 6, 0)
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel)
        for widget in (self.bar, self.cancel):
            policy = widget.sizePolicy()
            policy.setRetainSizeWhenHidden(True)
            widget.setSizePolicy(policy)
            widget.hide()
        self._begun = self._news = 0.0
        self._share, self._text = 0.0, ""
        self._clock = QTimer(self)
        self._clock.setInterval(500)
        self._clock.timeout.connect(self._show)
        controller.busy.connect(self._on_busy)
        controller.progressed.connect(self._on_progress)

    def _on_busy(self, busy: bool) -> None:
        self.bar.setVisible(busy)
        self.cancel.setVisible(busy)
        self._begun = self._news = time.monotonic()
        self._share, self._text = 0.0, ""
        if busy:
            self._clock.start()
            self._show()
        else:
            self._clock.stop()

    def _on_progress(self, share: float, text: str) -> None:
        if share > self._share or text != self._text:
            self._news = time.monotonic()
        self._share, self._text = share, text
        self._show()

    def _show(self) -> None:
        now = time.monotonic()
        passed = now - self._begun
        known = 0.02 < self._share < 0.99 and now - self._news < _QUIET
        self.bar.setRange(0, 1000 if known else 0)
        if known:
            self.bar.setValue(round(self._share * 1000))
        left = passed / self._share - passed if known and passed > 1 else None
        when = f"{passed:.0f} s" if left is None else f"about {max(1, left):.0f} s left"
        self.bar.setFormat(" ".join(part for part in (self._text, when) if part))
        self.bar.setToolTip(f"{self._text or 'Working'}: {when}.")
