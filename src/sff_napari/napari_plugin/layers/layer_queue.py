"""Changes of the viewer's layers: one at a time, when the event loop has nothing else to do.

Adding or removing layers while napari tells of such a change, or many at once
between two drawings, has crashed the drawing library.  So all of the plugin
that adds or removes layers hands it over here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from contextlib import suppress

from qtpy.QtCore import QObject, QTimer

log = logging.getLogger(__name__)
_PAUSE_MS = 15
"""Between two changes the canvas gets to draw."""


class LayerQueue(QObject):
    """Runs changes of layers in the order in which they were asked for; main thread only.

    Parameters
    ----------
    parent : QObject, optional
        What it lives as long as, so that it can outlive a panel that closes.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._waiting: list[tuple[Hashable, Callable[[], object]]] = []
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE_MS)
        self._timer.timeout.connect(self._run_one)
        self._running = False

    @property
    def is_idle(self) -> bool:
        """Whether no change is waiting."""
        return not self._waiting and not self._running

    def later(self, change: Callable[[], object], key: Hashable = None) -> None:
        """Make a change soon; a waiting one of the same key, if any, is enough."""
        if key is not None and any(known == key for known, _ in self._waiting):
            return
        self._waiting.append((key, change))
        with suppress(RuntimeError):
            if not self._timer.isActive() and not self._running:
                self._timer.start()

    def run_all(self) -> None:
        """Make all waiting changes now, such as before the panel closes."""
        while self._waiting:
            self._run_one()

    def clear(self) -> None:
        """Forget all waiting changes."""
        self._waiting.clear()
        with suppress(RuntimeError):  # the application may be ending
            self._timer.stop()

    def _run_one(self) -> None:
        if not self._waiting or self._running:
            return
        _key, change = self._waiting.pop(0)
        self._running = True
        try:
            change()
        except Exception:  # the layers are a person's to change: one may be gone by now
            log.warning("A layer could not be changed.", exc_info=True)
        finally:
            self._running = False
            if self._waiting:
                self._timer.start()
