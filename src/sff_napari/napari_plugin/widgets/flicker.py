"""Before and after: hide layers while a button or key is held."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from qtpy.QtCore import QObject, QTimer

_REPEAT_MS = 60
"""A key that comes back within this time was never let go."""


class Flicker:
    """Hides the results while held, so that the damaged slice shows through.

    Parameters
    ----------
    parent : QObject
        What it lives as long as.
    results : callable
        Returns the layers that are hidden.
    """

    def __init__(self, parent: QObject, results: Callable[[], Iterable[Any]]) -> None:
        self._results = results
        self._hidden: list[tuple[Any, float]] = []
        self._let_go = QTimer(parent)
        self._let_go.setSingleShot(True)
        self._let_go.setInterval(_REPEAT_MS)
        self._let_go.timeout.connect(self.release)

    def let_go(self) -> None:
        """Show the restored slice again, unless the key is pressed anew at once.

        A key that repeats while it is held can look like many short presses; they must not
        make the picture flash.
        """
        self._let_go.start()

    def press(self, *_: Any) -> None:
        """Show the damaged slice."""
        self._let_go.stop()
        if self._hidden:
            return
        # Opacity, not visibility: hiding a layer would end its drawing tool and read it anew.
        self._hidden = [(layer, layer.opacity) for layer in self._results() if layer.visible]
        for layer, _opacity in self._hidden:
            layer.opacity = 0

    def release(self, *_: Any) -> None:
        """Show the restored slice again."""
        hidden, self._hidden = self._hidden, []
        for layer, opacity in hidden:
            layer.opacity = opacity
