"""Frame of a panel: what scrolls, and below it what stays in sight."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QScrollArea, QVBoxLayout, QWidget


def lay_out_scrolled(panel: QWidget, inside: QWidget, *below: QWidget) -> None:
    """Fill a panel with a widget that scrolls up and down, and others that stay below it."""
    scroll = QScrollArea(panel)
    scroll.setWidgetResizable(True)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setWidget(inside)
    outer = QVBoxLayout(panel)
    outer.setContentsMargins(0, 0, 0, 0)
    outer.addWidget(scroll, 1)
    for widget in below:
        outer.addWidget(widget)
