"""The mouse wheel scrolls the panel; it never changes a value that nobody is working on."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QAbstractSlider, QAbstractSpinBox, QComboBox, QScrollBar, QWidget

_GUARDED = "sff_wheel_guarded"
"""Property of widgets that are guarded already."""


class WheelGuard(QObject):
    """Keeps the wheel from controls: lists of choices always, numbers unless they have the focus.

    Parameters
    ----------
    panel : QWidget
        Its controls are guarded, those that are added later too.
    """

    def __init__(self, panel: QWidget) -> None:
        super().__init__(panel)
        self._guard(panel)

    def _guard(self, widget: QWidget) -> None:
        if widget.property(_GUARDED):
            return  # looking through all that lies in a panel takes some milliseconds each time
        for child in [widget, *widget.findChildren(QWidget)]:
            child.installEventFilter(self)
            child.setProperty(_GUARDED, True)
            is_number = isinstance(child, QAbstractSpinBox | QAbstractSlider)
            if isinstance(child, QComboBox) or (is_number and not isinstance(child, QScrollBar)):
                policy = child.focusPolicy()
                if policy == Qt.FocusPolicy.WheelFocus:
                    child.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """Pass a wheel event on to what lies behind a control that must not take it."""
        if event is None or watched is None:
            return False
        if event.type() == QEvent.Type.ChildPolished:
            child = getattr(event, "child", lambda: None)()
            if isinstance(child, QWidget):
                self._guard(child)
            return False
        if event.type() != QEvent.Type.Wheel or isinstance(watched, QScrollBar):
            return False
        is_number = isinstance(watched, QAbstractSpinBox | QAbstractSlider)
        if isinstance(watched, QComboBox) or (is_number and not watched.hasFocus()):
            event.ignore()
            return True
        return False
