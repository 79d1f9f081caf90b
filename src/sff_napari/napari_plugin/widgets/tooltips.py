"""Tooltips that are as narrow as a person reads them."""

from __future__ import annotations

import textwrap

from qtpy.QtCore import QEvent, QObject
from qtpy.QtGui import QHelpEvent
from qtpy.QtWidgets import QToolTip, QWidget

WIDTH = 60
"""Characters a line."""


def narrow(text: str) -> str:
    """Return a plain text in lines of at most `WIDTH` characters; rich text stays as it is."""
    if text.lstrip().startswith("<"):
        return text
    return "\n".join(textwrap.fill(line, WIDTH) for line in text.splitlines())


_WATCHED = "sff_narrow_tooltips"
"""Property of widgets that are watched already."""


class NarrowToolTips(QObject):
    """Shows the tooltips of a panel in short lines, whenever they were set.

    Parameters
    ----------
    panel : QWidget
        Its widgets, those that are added later too.
    """

    def __init__(self, panel: QWidget) -> None:
        super().__init__(panel)
        self._watch(panel)

    def _watch(self, widget: QWidget) -> None:
        if widget.property(_WATCHED):
            return  # looking through all that lies in a panel takes some milliseconds each time
        for child in [widget, *widget.findChildren(QWidget)]:
            child.installEventFilter(self)
            child.setProperty(_WATCHED, True)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """Show a tooltip in the place of Qt."""
        if event is None or not isinstance(watched, QWidget):
            return False
        if event.type() == QEvent.Type.ChildPolished:
            child = getattr(event, "child", lambda: None)()
            if isinstance(child, QWidget):
                self._watch(child)
            return False
        if event.type() != QEvent.Type.ToolTip or not isinstance(event, QHelpEvent):
            return False
        text = watched.toolTip()
        if not text:
            return False
        QToolTip.showText(event.globalPos(), narrow(text), watched)
        return True
