"""A window of its own for the cut through the stack: it can be enlarged and saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPixmap
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

_TITLE = 20
"""Height of the line of text above each picture, in pixels."""


class CutPicture(QWidget):
    """Two grey pictures, before above after, as large as the room allows."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.pair: list[QImage] = []
        self.setMinimumSize(280, 160)

    def sizeHint(self) -> QSize:  # noqa: N802, the name is Qt's
        """Return a size at which the pictures can be judged."""
        return QSize(900, 520)

    def show_pair(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> None:
        """Show two pictures (H, W, 3) of equal size."""
        self.pair = [
            QImage(
                np.ascontiguousarray(picture).data,
                picture.shape[1],
                picture.shape[0],
                3 * picture.shape[1],
                QImage.Format.Format_RGB888,
            ).copy()
            for picture in (before, after)
        ]
        self.update()

    def paintEvent(self, _event: Any) -> None:  # noqa: N802, the name is Qt's
        """Draw both, each below its name."""
        painter = QPainter(self)
        self.paint(painter, self.width(), self.height())
        painter.end()

    def paint(self, painter: QPainter, width: int, height: int) -> None:
        """Draw both into a rectangle."""
        painter.fillRect(0, 0, width, height, QColor("#202225"))
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        if not self.pair:
            return
        room = height / 2 - _TITLE
        image = self.pair[0]
        factor = min(width / image.width(), room / image.height())
        shown = QSize(round(image.width() * factor), round(image.height() * factor))
        for number, (picture, name) in enumerate(zip(self.pair, ("before", "after"), strict=True)):
            top = number * height / 2
            painter.setPen(QColor("#e0e0e0"))
            painter.drawText(
                QRectF(6, top, width - 12, _TITLE), int(Qt.AlignmentFlag.AlignVCenter), name
            )
            left = (width - shown.width()) // 2
            painter.drawImage(QRectF(left, top + _TITLE, shown.width(), shown.height()), picture)


class SideWindow(QWidget):
    """The window around the pictures."""

    def __init__(self, parent: QWidget | None) -> None:
        super().__init__(parent, Qt.WindowType.Window)
        self.setWindowTitle("Side view across the fold")
        self.picture = CutPicture(self)
        self.about = QLabel(self)
        self.about.setWordWrap(True)
        self.save = QPushButton("Save picture", self)
        self.save.setToolTip("Save the side view as a PNG file.")
        self.save.clicked.connect(self._ask)
        row = QHBoxLayout()
        row.addWidget(self.about, 1)
        row.addWidget(self.save)
        layout = QVBoxLayout(self)
        layout.addWidget(self.picture, 1)
        layout.addLayout(row)

    def _ask(self, *_: Any) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the side view", str(Path.home() / "side-view.png"), "PNG (*.png)"
        )
        if name:
            self.write(Path(name))

    def write(self, path: Path) -> bool:
        """Save the pictures with their names as PNG."""
        size = self.picture.size() * 2
        pixmap = QPixmap(size)
        painter = QPainter(pixmap)
        self.picture.paint(painter, size.width(), size.height())
        painter.end()
        return bool(pixmap.save(str(path), "PNG"))
