"""Work in other threads.

The contract: a function that runs in a worker gets arrays and plain values,
reports through its `Channel`, and never touches the viewer, a layer or a
widget.  Its result comes back to the main thread, which first asks whether it
is still wanted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal

from sff_napari.errors import Cancelled, SffError

log = logging.getLogger(__name__)
_INTERVAL = 1 / 8
"""Least time between two progress reports, in seconds."""


class Channel(QObject):
    """What a running function may use: progress, partial results, and whether to stop."""

    progressed = Signal(float, str)
    delivered = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._stop = threading.Event()
        self._last = 0.0

    def progress(self, share: float, text: str = "") -> None:
        """Report the share done in [0, 1] and a short text; safe in any thread."""
        now = time.monotonic()
        if share < 1 and now - self._last < _INTERVAL:
            return
        self._last = now
        self.progressed.emit(float(share), text)

    def deliver(self, part: object) -> None:
        """Hand a part of the result to the main thread."""
        self.delivered.emit(part)

    def cancel(self) -> None:
        """Ask the function to stop."""
        self._stop.set()

    def cancelled(self) -> bool:
        """Tell whether the function should stop."""
        return self._stop.is_set()

    def check(self) -> None:
        """Raise `Cancelled` if the function should stop."""
        if self.cancelled():
            raise Cancelled


class Job(QObject):
    """One function running in a worker thread.

    Parameters
    ----------
    function : callable
        Called as ``function(channel)`` in the worker.
    wanted : callable, optional
        Asked in the main thread before a result or a part of it is used.
    """

    returned = Signal(object)
    delivered = Signal(object)
    failed = Signal(str)
    cancelled = Signal()
    progressed = Signal(float, str)
    finished = Signal()

    def __init__(
        self, function: Callable[[Channel], Any], wanted: Callable[[], bool] | None = None
    ) -> None:
        super().__init__()
        self.channel = Channel()
        self._wanted = wanted or (lambda: True)
        self._over = False
        self.channel.progressed.connect(self._on_progress)
        self.channel.delivered.connect(self._on_part)
        self._worker = create_worker(function, self.channel, _ignore_errors=True)
        # napari asks workers to quit when it closes; that must reach the function.
        quit_worker = self._worker.quit

        def stop() -> None:
            self.channel.cancel()
            quit_worker()

        self._worker.quit = stop
        self._worker.returned.connect(self._on_result)
        self._worker.errored.connect(self._on_error)
        self._worker.finished.connect(self._on_finished)

    def start(self) -> Job:
        """Start the function and return the job."""
        self._worker.start()
        return self

    def cancel(self) -> None:
        """Ask the function to stop; `cancelled` and `finished` follow."""
        self.channel.cancel()

    @property
    def is_over(self) -> bool:
        """Whether the function has ended."""
        return self._over

    def _on_progress(self, share: float, text: str) -> None:
        if not self.channel.cancelled():
            self.progressed.emit(share, text)

    def _on_part(self, part: object) -> None:
        if not self.channel.cancelled() and self._wanted():
            self.delivered.emit(part)

    def _on_result(self, result: object) -> None:
        if self.channel.cancelled():
            self.cancelled.emit()
        elif self._wanted():
            self.returned.emit(result)
        else:
            log.info("A result came back for something that has changed; it was dropped.")

    def _on_error(self, error: BaseException) -> None:
        if isinstance(error, Cancelled) or self.channel.cancelled():
            self.cancelled.emit()
        elif not self._wanted():
            log.info("Dropped the error of a job that is no longer wanted: %s", error)
        else:
            self.failed.emit(sentence(error))

    def _on_finished(self) -> None:
        self._over = True
        self.finished.emit()


def sentence(error: BaseException) -> str:
    """Return an error as one sentence for a notification; unexpected ones are logged in full."""
    if isinstance(error, SffError):
        return str(error)
    log.error("Unexpected error", exc_info=error)
    if isinstance(error, MemoryError):
        return "There is not enough memory: choose a smaller tile in the options."
    if isinstance(error, ImportError | OSError) and "torch" in str(error).lower():
        return (
            "PyTorch could not be loaded (on Windows this happens when it is imported after Qt): "
            "start napari with 'python -c \"import torch, napari; napari.Viewer(); napari.run()\"'."
        )
    text = " ".join(str(error).split()) or type(error).__name__
    return f"Something unexpected went wrong ({type(error).__name__}): {text[:200]}"
