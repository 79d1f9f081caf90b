"""Report progress and ask for cancellation, wherever something takes long."""

from __future__ import annotations

from collections.abc import Callable

from sff_napari.errors import Cancelled

ProgressCallback = Callable[[float, str], None]
"""Called with the share done, in [0, 1], and a short text."""

CancelledCallback = Callable[[], bool]
"""Asked often; once it returns True the work stops with `Cancelled`."""


class Reporter:
    """Pair of optional callbacks, with sub-ranges for the stages of a job.

    Parameters
    ----------
    progress : callable, optional
        Called as ``progress(share, text)`` with the share done in [0, 1].
    cancelled : callable, optional
        Called without arguments; True stops the work.
    start, stop : float
        The range of the whole job that this reporter covers.
    """

    def __init__(
        self,
        progress: ProgressCallback | None = None,
        cancelled: CancelledCallback | None = None,
        start: float = 0.0,
        stop: float = 1.0,
    ) -> None:
        self._progress = progress
        self._cancelled = cancelled
        self._start = start
        self._stop = stop

    def __call__(self, share: float, text: str = "") -> None:
        """Report a share in [0, 1] of this range and stop if asked to.

        Raises
        ------
        Cancelled
            When the ``cancelled`` callback returns True.
        """
        self.check()
        if self._progress is not None:
            share = min(max(share, 0.0), 1.0)
            self._progress(self._start + share * (self._stop - self._start), text)

    def check(self) -> None:
        """Raise `Cancelled` if the caller asked to stop."""
        if self._cancelled is not None and self._cancelled():
            raise Cancelled

    def part(self, start: float, stop: float) -> Reporter:
        """Return a reporter for the sub-range [start, stop] of this one."""
        span = self._stop - self._start
        return Reporter(
            self._progress,
            self._cancelled,
            self._start + start * span,
            self._start + stop * span,
        )
