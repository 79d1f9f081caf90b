"""The plugin's keys in napari's layer list: they act, and select no layer by its first letter."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from qtpy.QtCore import QEvent, QObject
from qtpy.QtGui import QKeyEvent, QKeySequence

from sff_napari.napari_plugin import compat
from sff_napari.napari_plugin.actions import ACTIONS, FLICKER_KEY, LIVE_KEY


class KeyGuard(QObject):
    """Hands the plugin's keys to the viewer before the layer list searches for a name.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layer list is guarded.
    parent : QObject
        The guard ends with it.
    """

    def __init__(self, viewer: Any, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        keys = [*(action.key for action in ACTIONS.values()), FLICKER_KEY, LIVE_KEY]
        self._keys = {QKeySequence(key).toString() for key in keys}
        self._list = compat.layer_list(viewer)
        if self._list is not None:
            self._list.installEventFilter(self)

    def stop(self) -> None:
        """Leave the layer list alone."""
        if self._list is not None:
            with suppress(RuntimeError):  # Qt may have deleted either
                self._list.removeEventFilter(self)

    def eventFilter(self, _watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """Pass a key of the plugin on, and nothing else."""
        if not isinstance(event, QKeyEvent):
            return False
        kind = event.type()
        if kind not in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
            return False
        if QKeySequence(event.keyCombination()).toString() not in self._keys:
            return False
        return compat.send_key(self._viewer, event, released=kind == QEvent.Type.KeyRelease)
