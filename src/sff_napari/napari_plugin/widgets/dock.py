"""What the docks of all restorers share: a scrolling form, one job at a time, its progress."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from sff_napari.napari_plugin import compat
from sff_napari.napari_plugin.notify import show_problem
from sff_napari.napari_plugin.widgets.scrolled import lay_out_scrolled
from sff_napari.napari_plugin.widgets.sections import wrapped
from sff_napari.napari_plugin.widgets.wheel_guard import WheelGuard
from sff_napari.napari_plugin.workers.job import Channel, Job

if TYPE_CHECKING:
    from napari import Viewer


class Dock(QWidget):
    """A panel that runs one job at a time.

    What is in `at_end` is called once when the panel or its window is deleted; it must not
    touch widgets.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = compat.real_viewer(napari_viewer)
        compat.keep_shader_programs()
        self.job: Job | None = None
        inside = QWidget()
        self.content = QVBoxLayout(inside)
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.status = wrapped()
        lay_out_scrolled(self, inside, self.bar, self.status)
        WheelGuard(self)
        self._ended = ended = threading.Event()
        jobs: list[Job] = []
        at_end: list[Callable[[], object]] = []
        self._jobs, self.at_end = jobs, at_end

        def end(*_: object) -> None:
            # The widget may be deleted by now: nothing of it is touched.
            if ended.is_set():
                return
            ended.set()
            for job in jobs:
                job.cancel()
            for leave in at_end:
                with suppress(RuntimeError):
                    leave()

        self.destroyed.connect(end)
        window = compat.qt_window(self.viewer)
        if window is not None:
            window.destroyed.connect(end)

    @staticmethod
    def button(text: str, tip: str, slot: Callable[[], object] | None = None) -> QPushButton:
        """Return a button that calls `slot` when it is clicked."""
        button = QPushButton(text)
        button.setToolTip(tip)
        if slot is not None:
            button.clicked.connect(lambda *_: slot())
        return button

    @staticmethod
    def row(*widgets: QWidget) -> QHBoxLayout:
        """Return widgets side by side."""
        row = QHBoxLayout()
        for widget in widgets:
            row.addWidget(widget)
        return row

    def say(self, sentence: str, problem: bool = False) -> None:
        """Show what happened last; a problem is shown as a notification, too."""
        self.status.setText(sentence)
        if problem:
            show_problem(sentence)

    @property
    def is_busy(self) -> bool:
        """Whether a job is running."""
        return self.job is not None

    def start_job(
        self,
        work: Callable[[Channel], Any],
        done: Callable[[Any], object],
        wanted: Callable[[], bool],
        stopped: str = "Cancelled; nothing was changed.",
    ) -> Job:
        """Run a function in a worker, and use what it returns in the main thread.

        Parameters
        ----------
        work : callable
            Called in the worker; see `Job`.
        done : callable
            Called with its result.
        wanted : callable
            Asked before the result is used.
        stopped : str
            What is said if it was cancelled.
        """
        ended, jobs = self._ended, self._jobs
        job = self.job = Job(work, lambda: not ended.is_set() and wanted())
        jobs.append(job)

        def alive(function: Callable[..., object]) -> Callable[..., None]:
            """Call a method of this widget only while there is one."""

            def call(*args: object) -> None:
                if not ended.is_set():
                    function(*args)

            return call

        job.progressed.connect(alive(self._on_progress))
        job.returned.connect(alive(done))
        job.failed.connect(alive(lambda sentence: self.say(sentence, True)))
        job.cancelled.connect(alive(lambda: self.say(stopped)))
        job.finished.connect(lambda: jobs.remove(job))
        job.finished.connect(alive(self._on_finished))
        self.bar.setValue(0)
        self.bar.setFormat("")
        self.show_state()
        return job.start()

    def cancel(self) -> None:
        """Stop the running job; what there was stays."""
        if self.job is not None:
            self.job.cancel()

    def _on_progress(self, share: float, text: str) -> None:
        self.bar.setValue(round(1000 * share))
        self.bar.setFormat(f"{text}  %p%")

    def _on_finished(self) -> None:
        self.job = None
        self.show_state()

    def show_state(self) -> None:
        """Enable what can be done now."""
        policy = self.bar.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.bar.setSizePolicy(policy)
        self.bar.setVisible(self.is_busy)
