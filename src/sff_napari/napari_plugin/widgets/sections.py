"""The parts of the panel that find, correct and restore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QVBoxLayout,
)
from superqt import QLabeledDoubleSlider

from sff_napari.napari_plugin.actions import ACTIONS, LIVE_KEY, button

if TYPE_CHECKING:
    from sff_napari.napari_plugin.controller.controller import Controller


_OPEN, _FOLDED = "\u25be", "\u25b8"
_NO_LIMIT = 16777215
"""Qt's largest height."""


class Section(QGroupBox):
    """A titled part of the panel."""

    def __init__(self, title: str, controller: Controller) -> None:
        super().__init__(f"{_OPEN} {title}")
        self.controller = controller
        self.name = title
        self.is_folded = False
        self.buttons: dict[str, QPushButton] = {}
        self.setToolTip("Click the title to fold this part away, or to bring it back.")

    def title_height(self) -> int:
        """Return the height of the title, px."""
        return int(self.fontMetrics().height()) + 8

    def fold(self, folded: bool) -> None:
        """Show the title alone, or all."""
        self.is_folded = folded
        self.setTitle(f"{_FOLDED if folded else _OPEN} {self.name}")
        self.setMaximumHeight(self.title_height() if folded else _NO_LIMIT)
        layout = self.layout()
        if layout is not None:  # its least size must not hold the box open
            free = QLayout.SizeConstraint.SetNoConstraint
            layout.setSizeConstraint(
                free if folded else QLayout.SizeConstraint.SetDefaultConstraint
            )
        self.setMinimumHeight(self.title_height() if folded else 0)

    def mousePressEvent(self, event: Any) -> None:  # noqa: N802, the name is Qt's
        """Fold at a click on the title."""
        if event.position().y() <= self.title_height():
            self.fold(not self.is_folded)
            event.accept()
        else:
            super().mousePressEvent(event)

    def add_button(self, name: str) -> QPushButton:
        """Return the button of an action and remember it."""
        self.buttons[name] = button(ACTIONS[name], self.controller, self)
        return self.buttons[name]

    def grid(self, rows: list[list[str]]) -> QGridLayout:
        """Return a grid of action buttons."""
        layout = QGridLayout()
        width = max(len(row) for row in rows)
        for i, row in enumerate(rows):
            for j, name in enumerate(row):
                span = width if len(row) == 1 else 1
                layout.addWidget(self.add_button(name), i, j, 1, span)
        return layout

    def set_busy(self, busy: bool) -> None:
        """Grey out what has to wait."""
        for name, widget in self.buttons.items():
            if ACTIONS[name].idle:
                widget.setEnabled(not busy)


def counted(number: int, thing: str) -> str:
    """Return ``"1 line"`` or ``"2 lines"``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def wrapped(text: str = "") -> QLabel:
    """Return a label that breaks its lines."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    label.setMinimumWidth(40)
    return label


class FindSection(Section):
    """Detecting folds."""

    def __init__(self, controller: Controller) -> None:
        super().__init__("1  Find", controller)
        layout = QVBoxLayout(self)
        layout.addLayout(self.grid([["detect"], ["detect_all"]]))
        self.searched = wrapped()
        self.searched.setToolTip("How many slices were searched for folds so far.")
        layout.addWidget(self.searched)
        controller.lines_changed.connect(self.refresh)
        controller.source_changed.connect(self.refresh)

    def refresh(self) -> None:
        """Say how far the search has come."""
        source, lines = self.controller.source, self.controller.lines
        if source is None or lines is None:
            self.searched.setText("")
            return
        self.searched.setText(
            f"{len(self.controller.searched)} of {source.count} slices searched, "
            f"{counted(len(lines.records), 'line')} on {counted(len(lines.indices()), 'slice')}"
        )


NOT_DARK = "The picture shows nothing dark along it: is there a fold?"
UNLIKELY = "It looks little like a fold: look at its place and width."
LEAST_SCORE = 0.05
"""A line with a lower score is warned of."""
TOOLS = {
    "line": "add_line",
    "path": "add_polyline",
    "edit": "direct",
    "bend": "vertex_insert",
    "select": "select",
}
"""Modes of the layer `folds` by the names of their actions."""


class LinesSection(Section):
    """Drawing and correcting fold lines."""

    def __init__(self, controller: Controller) -> None:
        super().__init__("2  Correct", controller)
        layout = QVBoxLayout(self)
        layout.addLayout(
            self.grid(
                [
                    ["line", "path"],
                    ["edit", "bend"],
                    ["select", "delete"],
                    ["undo", "redo"],
                    ["copy"],
                    ["snap"],
                ]
            )
        )
        self.width = QLabeledDoubleSlider(Qt.Orientation.Horizontal, self)
        self.width.setRange(1, 120)
        self.width.setDecimals(1)
        self.width.setValue(16)
        self.width.setToolTip(
            "Full width of the dark line in pixels, for the selected line and new ones. "
            "Keys: [ and ], or Shift and the mouse wheel over the picture."
        )
        row = QHBoxLayout()
        label = QLabel("Full width, px")
        label.setToolTip(self.width.toolTip())
        row.addWidget(label)
        row.addWidget(self.width, 1)
        layout.addLayout(row)
        self.keep_tool = QCheckBox("Draw several lines", self)
        self.keep_tool.setToolTip(
            "Draw one line after the other; else the tool is put away after each."
        )
        self.keep_tool.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.keep_tool.toggled.connect(self._on_keep_tool)
        layout.addWidget(self.keep_tool)
        self.about = wrapped()
        self.about.setToolTip(
            "The lines of this slice: how much each looks like a fold, from 0 to 1."
        )
        layout.addWidget(self.about)
        self.file_lines = QPushButton("Take the opened lines", self)
        self.file_lines.setToolTip("Copy the lines of a fold lines file that was opened in napari.")
        self.file_lines.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.file_lines.hide()
        layout.addWidget(self.file_lines)
        self.file_lines.clicked.connect(self._take)
        self.width.valueChanged.connect(self._on_width)
        for name in TOOLS:
            self.buttons[name].setCheckable(True)
        controller.tool_changed.connect(self.show_tool)
        controller.lines_changed.connect(self.refresh)
        controller.index_changed.connect(self.refresh)
        controller.source_changed.connect(self.refresh)
        controller.results_changed.connect(self.refresh)
        controller.line_checks.changed.connect(self.describe)

    def _on_keep_tool(self, on: bool) -> None:
        self.controller.keeps_tool = on

    def describe(self) -> None:
        """Say of each line on this slice how much it looks like a fold."""
        lines, checks = self.controller.lines, self.controller.line_checks
        records = [] if lines is None else lines.on(self.controller.index)
        texts = []
        for number, record in enumerate(records, 1):
            name = "Line" if len(records) == 1 else f"Line {number}"
            check = checks.of(record)
            score = record.score if check is None else check.score
            said = f"{name}: {record.source}" + ("" if score is None else f", score {score:.2f}")
            if check is not None and not check.is_dark:
                said += f". \u26a0 {NOT_DARK}"
            elif check is not None and check.score < LEAST_SCORE:
                said += f". \u26a0 {UNLIKELY}"
            texts.append(said)
        self.about.setText("\n".join(texts))

    def show_tool(self, mode: str) -> None:
        """Mark the button of the tool in use."""
        for name, its_mode in TOOLS.items():
            self.buttons[name].setChecked(mode == its_mode)

    def _on_width(self, value: float) -> None:
        self.controller.set_half_width(value / 2)

    def _take(self, *_: object) -> None:
        count = 0
        for layer in self.controller.fold_files():
            count += self.controller.take_lines_from(layer)
            layer.visible = False
            layer.metadata = {}
        self.controller.status.emit(f"Took {counted(count, 'line')} from the file.")
        self.refresh()

    def refresh(self, *_: object) -> None:
        """Show the width of the selected line, and what can be undone."""
        lines = self.controller.lines
        if lines is not None:
            chosen = lines.chosen(self.controller.index)
            if chosen:
                blocked = self.width.blockSignals(True)
                self.width.setValue(2 * chosen[0].half_width)
                self.width.blockSignals(blocked)
        self.describe()
        history = None if lines is None else lines.history
        for name, step in (
            ("undo", None if history is None else history.next_undo),
            ("redo", None if history is None else history.next_redo),
        ):
            self.buttons[name].setEnabled(step is not None)
            tip = ACTIONS[name].tip if step is None else f"{ACTIONS[name].text}: {step.text}."
            self.buttons[name].setToolTip(f"{tip} Key: {ACTIONS[name].key}")
        self.file_lines.setVisible(lines is not None and bool(self.controller.fold_files()))


class RestoreSection(Section):
    """Restoring."""

    def __init__(self, controller: Controller) -> None:
        super().__init__("3  Restore", controller)
        layout = QVBoxLayout(self)
        layout.addLayout(self.grid([["restore"], ["restore_all"], ["cancel"]]))
        self.live = QCheckBox("Live preview", self)
        self.live.setToolTip(
            f"Restore a quick preview at lower resolution while you drag a line. Key: {LIVE_KEY}"
        )
        self.live.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        layout.addWidget(self.live)
        self.buttons["cancel"].setEnabled(False)

    def set_busy(self, busy: bool) -> None:
        """Let a running job be cancelled."""
        super().set_busy(busy)
        self.buttons["cancel"].setEnabled(busy)


__all__ = [
    "FindSection",
    "LinesSection",
    "RestoreSection",
    "Section",
    "wrapped",
]
