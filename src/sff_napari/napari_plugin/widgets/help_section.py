"""Where to read more, which version this is, and what to send when something goes wrong."""

from __future__ import annotations

import logging
import platform
from collections import deque
from importlib.metadata import PackageNotFoundError, metadata

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QApplication, QPushButton, QVBoxLayout, QWidget
from superqt import QCollapsible

from sff_napari import __version__
from sff_napari.napari_plugin.controller.restoration_actions import versions
from sff_napari.napari_plugin.widgets.sections import wrapped

_ERRORS: deque[str] = deque(maxlen=10)


class _Remember(logging.Handler):
    """Keeps the last errors of the plugin, for a report."""

    def emit(self, record: logging.LogRecord) -> None:
        _ERRORS.append(self.format(record))


def remember_errors() -> None:
    """Begin to keep the plugin's last errors; a second call does nothing."""
    log = logging.getLogger("sff_napari")
    if not any(isinstance(handler, _Remember) for handler in log.handlers):
        handler = _Remember(logging.WARNING)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        log.addHandler(handler)


def problem_report() -> str:
    """Return versions and the last errors as text to be sent."""
    lines = [f"{name} {version}" for name, version in versions().items()]
    errors = list(_ERRORS) or ["none"]
    return "\n".join(
        [
            f"Python {platform.python_version()} on {platform.platform()}",
            *lines,
            "",
            "Last errors:",
            *errors,
            "",
            "What I did, and what I expected:",
            "",
        ]
    )


def documentation_address() -> str:
    """Return where the documentation is, as the package says; empty if it does not."""
    try:
        urls = metadata("sff-napari").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    known = dict(entry.split(", ", 1) for entry in urls if ", " in entry)
    return known.get("Documentation") or known.get("Homepage") or known.get("Repository") or ""


class Help(QCollapsible):
    """Version, documentation, and a report to copy."""

    def __init__(self) -> None:
        super().__init__("Help")
        remember_errors()
        self.toggleButton().setToolTip("Version, documentation, and how to report a problem.")
        body = QWidget(self)
        layout = QVBoxLayout(body)
        layout.addWidget(wrapped(f"sff-napari {__version__}"))
        self.read = QPushButton("Documentation", body)
        self.read.setToolTip("Open the documentation in the browser.")
        address = documentation_address()
        self.read.setVisible(bool(address))
        self.read.clicked.connect(lambda *_: QDesktopServices.openUrl(QUrl(address)))
        self.report = QPushButton("Report a problem", body)
        self.report.setObjectName("sff_report")
        self.report.setToolTip(
            "Copy a text with versions and the last errors, to be pasted into a report."
        )
        self.report.clicked.connect(self._copy)
        self.said = wrapped()
        for widget in (self.read, self.report, self.said):
            layout.addWidget(widget)
        self.addWidget(body)

    def _copy(self, *_: object) -> None:
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(problem_report())
        self.said.setText("Copied: paste it into your report and say what you did.")
