"""A small plot of values over rows, tilts or another axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QWidget

COLOURS = ("#2f9dff", "#ffb000", "#ff5fa2")


class CurvePlot(QWidget):
    """Curves or points over one axis; hidden while there are none.

    Parameters
    ----------
    title : str
        What is drawn; ``{most:.3g}`` in it becomes the largest absolute value.
    unit : str
        Of the axis.
    points : bool
        Whether dots are drawn in the place of a line.
    """

    def __init__(self, title: str, unit: str = "", points: bool = False) -> None:
        super().__init__()
        self.title, self.unit, self.points = title, unit, points
        self.places: NDArray[Any] = np.zeros(0)
        self.curves: dict[str, NDArray[Any]] = {}
        self.setFixedHeight(96)
        self.hide()

    def show_curves(self, places: NDArray[Any], curves: Mapping[str, NDArray[Any]]) -> None:
        """Show values by the names of their curves, each one value a place (N,)."""
        self.places = np.asarray(places, float)
        self.curves = {name: np.asarray(values, float) for name, values in curves.items()}
        self.setVisible(len(self.places) > 0 and bool(self.curves))
        self.update()

    def paintEvent(self, _event: Any) -> None:  # noqa: N802, the name is Qt's
        """Draw the plot."""
        finite = [v[np.isfinite(v)] for v in self.curves.values()]
        every = np.concatenate([*finite, np.zeros(1)])
        if every.size < 2:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().color(self.foregroundRole())
        left, top, width, height = 8, 18, self.width() - 16, self.height() - 36
        low, span = float(self.places.min()), max(float(np.ptp(self.places)), 1e-9)
        bottom, rise = float(every.min()), max(float(np.ptp(every)), 1e-12)
        painter.setPen(text)
        painter.drawText(left, 12, self.title.format(most=float(np.abs(every).max())))
        painter.drawText(left, self.height() - 4, f"{low:g}{self.unit}")
        end = f"{low + span:g}{self.unit}"
        room = painter.fontMetrics().horizontalAdvance(end)
        painter.drawText(left + width - room, self.height() - 4, end)
        zero = top + height * (1 + bottom / rise)
        painter.drawLine(QPointF(left, zero), QPointF(left + width, zero))
        at = left + room + 8
        for (name, values), colour in zip(self.curves.items(), COLOURS, strict=False):
            pen = QColor(colour)
            painter.setPen(QPen(pen, 1))
            if len(self.curves) > 1:
                painter.drawText(at, self.height() - 4, name)
                at += painter.fontMetrics().horizontalAdvance(name) + 10
            x = left + (self.places - low) / span * width
            y = top + height * (1 - (values - bottom) / rise)
            dots = [QPointF(a, b) for a, b in zip(x, y, strict=True) if np.isfinite(b)]
            if self.points:
                painter.setBrush(pen)
                for dot in dots:
                    painter.drawEllipse(dot, 2.5, 2.5)
            else:
                painter.drawPolyline(QPolygonF(dots))
        painter.end()
