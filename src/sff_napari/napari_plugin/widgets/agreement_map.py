"""Two small maps: where a slice agrees with its neighbours, before and after."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, Qt
from qtpy.QtGui import QImage, QPainter
from qtpy.QtWidgets import QWidget

if TYPE_CHECKING:
    from sff_napari.evaluation.local_agreement import LocalAgreement

_CAPTION, _GAP, _HEIGHT = 16, 8, 150
_STEPS = np.array([[194, 59, 34], [232, 160, 60], [63, 158, 99]], dtype=float)
"""Far below clean slices, at the lower end of their spread, at their middle."""
_UNKNOWN = (128, 128, 128, 90)


def map_colours(
    values: NDArray[np.float64], clean: tuple[float, float, float]
) -> NDArray[np.uint8]:
    """Return agreement (GY, GX) as colours (GY, GX, 4): red below clean slices, green as there."""
    low, middle, _high = clean if not math.isnan(clean[0]) else (0.25, 0.5, 0.75)
    span = max(middle - low, 0.05)
    at = np.clip((np.nan_to_num(values) - (low - span)) / span, 0, 2)
    out = np.empty((*values.shape, 4), np.uint8)
    for channel in range(3):
        out[..., channel] = np.interp(at, (0, 1, 2), _STEPS[:, channel]).round()
    out[..., 3] = 255
    out[np.isnan(values)] = _UNKNOWN
    return out


class AgreementMap(QWidget):
    """The agreement before and after, place by place."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.local: LocalAgreement | None = None
        self.setFixedHeight(_CAPTION + _HEIGHT)
        self.setToolTip(
            "The slice seen from above, in squares. Green: agrees with the neighbours as clean "
            "slices do. Orange: as little as the worst tenth of clean slices. Red: less. "
            "Grey: made up, or nothing to compare."
        )
        self.hide()

    def show_local(self, local: LocalAgreement | None) -> None:
        """Show the maps of a slice, or nothing."""
        self.local = local
        if local is not None:
            rows, columns = local.before.shape
            width = max(60, (self.width() - _GAP) // 2)
            self.setFixedHeight(_CAPTION + min(_HEIGHT, round(width * rows / columns)))
        self.setVisible(local is not None)
        self.update()

    def paintEvent(self, _event: Any) -> None:  # noqa: N802, the name is Qt's
        """Draw the maps."""
        if self.local is None:
            return
        painter = QPainter(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        width = (self.width() - _GAP) / 2
        for number, (name, values) in enumerate(
            (("before", self.local.before), ("after", self.local.after))
        ):
            left = number * (width + _GAP)
            flags = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
            painter.drawText(QRectF(left, 0, width, _CAPTION), flags, name)
            rows, columns = values.shape
            scale = min(width / columns, (self.height() - _CAPTION) / rows)
            colours = np.ascontiguousarray(map_colours(values, self.local.clean))
            image = QImage(colours.data, columns, rows, 4 * columns, QImage.Format.Format_RGBA8888)
            painter.drawImage(QRectF(left, _CAPTION, scale * columns, scale * rows), image)
        painter.end()
