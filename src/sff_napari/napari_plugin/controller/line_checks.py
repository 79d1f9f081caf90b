"""What the picture shows along the lines of the slice that is shown, found in the background."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from sff_napari.napari_plugin.layers.line_darkness import LineCheck
from sff_napari.napari_plugin.workers.tasks import check_lines

if TYPE_CHECKING:
    from sff_napari.napari_plugin.controller.controller import Controller
    from sff_napari.sessions import FoldRecord

_PAUSE_MS = 250
"""Lines are looked at once nothing has changed for this long."""


class LineChecks(QObject):
    """Scores of lines, and warnings where there is nothing dark along them.

    Parameters
    ----------
    controller : Controller
        Whose lines are looked at.
    """

    changed = Signal()

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self.controller = controller
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE_MS)
        self._timer.timeout.connect(self._look)
        for signal in (
            controller.lines_changed,
            controller.index_changed,
            controller.source_changed,
        ):
            signal.connect(self._timer.start)

    def of(self, record: FoldRecord) -> LineCheck | None:
        """Return what is known of a line, None until it was looked at."""
        work = self.controller.work
        return None if work is None else work.line_checks.get(_key(record))

    def stop(self) -> None:
        """Look no more."""
        self._timer.stop()

    def _look(self) -> None:
        controller, work = self.controller, self.controller.work
        if work is None:
            return
        index = controller.index
        records = [r for r in work.lines.on(index) if _key(r) not in work.line_checks]
        if not records:
            return
        if controller.is_busy:
            self._timer.start()
            return
        read = work.source.read

        def found(checks: dict[FoldRecord, LineCheck]) -> None:
            work.line_checks.update({_key(record): check for record, check in checks.items()})
            self.changed.emit()

        job = controller._run(
            lambda channel: check_lines(read, index, records, channel), alone=False
        )
        job.returned.connect(found)


def _key(record: FoldRecord) -> Hashable:
    return record.index, record.geometry, record.score
