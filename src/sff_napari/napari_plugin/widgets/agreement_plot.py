"""A small plot: agreement with the neighbours before and after, and that of clean slices."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QWidget

if TYPE_CHECKING:
    from sff_napari.evaluation.without_truth import NeighbourScores

_LEFT, _RIGHT = 96, 40


class AgreementPlot(QWidget):
    """Two rows, near the fold and away from it: an arrow from before to after on a scale to 1.

    A vertical line marks what clean slices of the stack have.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.scores: NeighbourScores | None = None
        self.setFixedHeight(58)
        self.setToolTip(
            "Agreement (correlation) with the neighbouring slices: ring before, dot after. "
            "The vertical line is what clean slices of this stack have."
        )
        self.hide()

    def show_scores(self, scores: NeighbourScores | None) -> None:
        """Show the scores of a slice, or nothing."""
        self.scores = scores
        self.setVisible(scores is not None)
        self.update()

    def paintEvent(self, _event: Any) -> None:  # noqa: N802, the name is Qt's
        """Draw the plot."""
        scores = self.scores
        if scores is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().color(self.foregroundRole())
        width = self.width() - _LEFT - _RIGHT
        values = (scores.near_before, scores.near_after, scores.away_before, scores.away_after)
        low = min(0.0, *(v for v in (*values, scores.clean) if not math.isnan(v)))

        def at(value: float) -> float:
            return _LEFT + (value - low) / (1 - low) * width

        if not math.isnan(scores.clean):
            painter.setPen(QPen(QColor("#27c27a"), 2))
            painter.drawLine(QPointF(at(scores.clean), 4), QPointF(at(scores.clean), 54))
        for row, (name, before, after) in enumerate(
            (("near the fold", *values[:2]), ("away from it", *values[2:]))
        ):
            y = 16 + 26 * row
            painter.setPen(text)
            flags = int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft)
            painter.drawText(QRectF(0, y - 10, _LEFT, 20), flags, name)
            faint = QColor(text)
            faint.setAlpha(70)
            painter.setPen(faint)
            painter.drawLine(QPointF(_LEFT, y), QPointF(_LEFT + width, y))
            if math.isnan(before) or math.isnan(after):
                continue
            painter.setPen(QPen(QColor("#2f9dff"), 2))
            painter.drawLine(QPointF(at(before), y), QPointF(at(after), y))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawEllipse(QPointF(at(before), y), 4, 4)
            painter.setBrush(QColor("#2f9dff"))
            painter.drawEllipse(QPointF(at(after), y), 4, 4)
            painter.setPen(text)
            painter.drawText(
                QRectF(self.width() - _RIGHT + 6, y - 10, 34, 20), flags, f"{after:.2f}"
            )
        painter.end()
