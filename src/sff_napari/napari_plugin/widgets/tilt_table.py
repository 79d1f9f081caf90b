"""The table of tilts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt
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
