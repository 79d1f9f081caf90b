"""The table of tilts and the plot of what a volume leaves unexplained of each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QTableWidget, QTableWidgetItem, QWidget

from sff_napari.errors import InputError

_COLUMNS = ("use, image", "tilt, °", "dy, px", "dx, px")


class TiltTable(QTableWidget):
    """One row an image: whether it is used, its tilt, and its shift; all can be edited."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(_COLUMNS), parent)
        self.setHorizontalHeaderLabels(list(_COLUMNS))
        self.setToolTip("Untick an image to leave it out; double-click a number to correct it.")
        vertical = self.verticalHeader()
        if vertical is not None:
            vertical.setVisible(False)
        self.setMinimumHeight(140)

    def show_tilts(self, tilts: NDArray[Any]) -> None:
        """Show tilts in degrees, all images used, none shifted."""
        self.setRowCount(len(tilts))
        for row, tilt in enumerate(tilts):
            used = QTableWidgetItem(str(row))
            used.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
            used.setCheckState(Qt.CheckState.Checked)
            self.setItem(row, 0, used)
            for column, text in ((1, f"{float(tilt):g}"), (2, "0"), (3, "0")):
                self.setItem(row, column, QTableWidgetItem(text))
        self.resizeColumnsToContents()

    def used(self) -> NDArray[np.intp]:
        """Return the numbers of the images that are ticked."""
        return np.array(
            [
                row
                for row in range(self.rowCount())
                if self._cell(row, 0).checkState() == Qt.CheckState.Checked
            ],
            dtype=np.intp,
        )

    def tilts(self) -> NDArray[np.float64]:
        """Return all tilts in degrees."""
        return self._numbers(1)

    def shifts(self) -> NDArray[np.float64]:
        """Return all shifts (dy, dx), in pixels."""
        return np.stack([self._numbers(2), self._numbers(3)], 1)

    def show_shifts(self, rows: NDArray[Any], shifts: NDArray[Any]) -> None:
        """Show the shifts (dy, dx) of some images."""
        for row, (dy, dx) in zip(rows, shifts, strict=True):
            self._cell(int(row), 2).setText(f"{dy:.2f}")
            self._cell(int(row), 3).setText(f"{dx:.2f}")

    def _cell(self, row: int, column: int) -> QTableWidgetItem:
        cell = self.item(row, column)
        assert cell is not None
        return cell

    def _numbers(self, column: int) -> NDArray[np.float64]:
        values = []
        for row in range(self.rowCount()):
            text = self._cell(row, column).text()
            try:
                values.append(float(text))
            except ValueError as error:
                raise InputError(
                    f"{text!r} in the row of image {row} is not a number: correct it in the table."
                ) from error
        return np.array(values)


class ResidualPlot(QWidget):
    """Root mean square of the residuals of each image, over its tilt."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.tilts: NDArray[Any] = np.zeros(0)
        self.values: NDArray[Any] = np.zeros(0)
        self.setFixedHeight(90)
        self.setToolTip(
            "What the volume leaves unexplained of each image, over its tilt: an image that "
            "stands out is worth a look, or leaving out."
        )
        self.hide()

    def show_residuals(self, tilts: NDArray[Any], values: NDArray[Any]) -> None:
        """Show a value for each tilt."""
        self.tilts, self.values = np.asarray(tilts), np.asarray(values)
        self.setVisible(len(self.values) > 0)
        self.update()

    def paintEvent(self, _event: Any) -> None:  # noqa: N802, the name is Qt's
        """Draw the plot."""
        if not len(self.values):
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().color(self.foregroundRole())
        left, top, width, height = 8, 16, self.width() - 16, self.height() - 34
        low, span = float(self.tilts.min()), max(float(np.ptp(self.tilts)), 1e-9)
        most = max(float(self.values.max()), 1e-12)
        painter.setPen(text)
        painter.drawText(left, 12, f"residuals, rms (largest {most:.3g})")
        painter.drawText(left, self.height() - 4, f"{low:g}°")
        painter.drawText(left + width - 36, self.height() - 4, f"{low + span:g}°")
        painter.drawLine(left, top + height, left + width, top + height)
        painter.setPen(QPen(QColor("#2f9dff"), 1))
        painter.setBrush(QColor("#2f9dff"))
        for tilt, value in zip(self.tilts, self.values, strict=True):
            x = left + (float(tilt) - low) / span * width
            painter.drawEllipse(QPointF(x, top + height * (1 - float(value) / most)), 2.5, 2.5)
        painter.end()
