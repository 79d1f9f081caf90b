"""The parts of the panel that find, correct and restore."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledDoubleSlider

from sff_napari.napari_plugin.actions import ACTIONS, LIVE_KEY, button

if TYPE_CHECKING:
    from sff_napari.napari_plugin.controller.controller import Controller
    from sff_napari.napari_plugin.workers.tasks import Machine
    from sff_napari.sessions import Sidecar


class Section(QGroupBox):
    """A titled part of the panel."""

    def __init__(self, title: str, controller: Controller) -> None:
        super().__init__(title)
        self.controller = controller
        self.buttons: dict[str, QPushButton] = {}

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


def shortened(text: str, most: int = 24) -> str:
    """Return a text with its middle left out if it is long."""
    half = most // 2
    return text if len(text) <= most else f"{text[: half - 1]}\u2026{text[-half:]}"


def local_time(stamp: str) -> str:
    """Return a time in ISO 8601 as a clock here shows it; what cannot be read stays as it is."""
    try:
        return f"{datetime.fromisoformat(stamp).astimezone():%Y-%m-%d %H:%M}"
    except ValueError:
        return stamp


def wrapped(text: str = "") -> QLabel:
    """Return a label that breaks its lines."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    label.setMinimumWidth(40)
    return label


class StackSection(Section):
    """Which image, which slice axis, which device; and the offer to continue."""

    def __init__(self, controller: Controller) -> None:
        super().__init__("Stack", controller)
        self.layer = QComboBox(self)
        self.layer.setToolTip(
            "The stack in work. It changes only here; what was done to another one comes back."
        )
        self.layer.setMinimumContentsLength(8)
        self.layer.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.axis = QComboBox(self)
        self.axis.setToolTip("The axis that counts the slices, for images with more than three.")
        self.device = wrapped("Loading PyTorch")
        self.device.setToolTip("Where the computing is done; another can be chosen in the options.")
        self.place = wrapped("")
        self.place.setToolTip("Where your work on this stack is saved as it happens.")
        form = QFormLayout()
        form.addRow("Image", self.layer)
        form.addRow("Slices", self.axis)
        form.addRow("Device", self.device)
        self.axis_label = form.labelForField(self.axis)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        self.other = QPushButton(self)
        self.other.setObjectName("sff_other")
        self.other.setToolTip("Put the present stack away, all is kept, and work on this one.")
        self.other.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.other.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.other.hide()
        layout.addWidget(self.other)
        self.scale = QPushButton(self)
        self.scale.setObjectName("sff_scale")
        self.scale.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.scale.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.scale.setToolTip(
            "The layer has no scale, but its file says one: use it for the layers and views. "
            "An export has it in any case."
        )
        self.scale.clicked.connect(lambda *_: controller.take_file_scale())
        self.scale.hide()
        layout.addWidget(self.scale)
        controller.scale_known.connect(self.show_scale)
        controller.source_changed.connect(self.show_scale)
        self.offer = QWidget(self)
        offer = QVBoxLayout(self.offer)
        offer.setContentsMargins(0, 0, 0, 0)
        self.offer_text = wrapped()
        self.go_on = QPushButton("Continue", self.offer)
        self.go_on.setToolTip("Load the lines, decisions and accepted slices of that session.")
        self.anew = QPushButton("Start anew", self.offer)
        self.anew.setToolTip("Begin without them; the other session is not deleted.")
        for widget in (self.go_on, self.anew):
            widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        offer.addWidget(self.offer_text)
        row = QHBoxLayout()
        row.addWidget(self.go_on)
        row.addWidget(self.anew)
        offer.addLayout(row)
        self.offer.hide()
        layout.addWidget(self.offer)
        self.go_on.clicked.connect(lambda *_: controller.continue_session())
        self.anew.clicked.connect(lambda *_: controller.start_anew())
        controller.offered.connect(self.show_offer)
        controller.machine_known.connect(self.show_machine)

    def show_scale(self) -> None:
        """Offer the voxel size of the file where the layer has none."""
        source = self.controller.source
        size = None if source is None or source.layer_voxel_size else source.file_voxel_size
        self.scale.setVisible(size is not None)
        if size is not None:
            self.scale.setText(f"Use the file's scale: {' x '.join(f'{s:g}' for s in size)} nm")

    def show_offer(self, session: Sidecar | None) -> None:
        """Offer to continue a session, or put the offer away."""
        self.offer.setVisible(session is not None)
        if session is not None:
            states = [record.state for record in session.slices.values()]
            kept = sum(state in ("accepted", "stale") for state in states)
            when = local_time(session.saved)
            lines = counted(len(session.folds), "line")
            slices = counted(kept, "accepted slice")
            if "restored" in states:
                slices += f", {states.count('restored')} undecided"
            keeper = self.controller.keeper
            rival = None if keeper is None or not keeper.offers_copy else keeper.rival
            self.go_on.setText("Continue" if rival is None else "Use a copy")
            self.anew.setText("Start anew" if rival is None else "Start empty")
            if rival is None:
                said = f"<b>You have worked on this stack before</b>: {lines}, {slices}"
            else:
                who = str(rival)
                said = (
                    f"<b>{who[:1].upper()}{who[1:]} is working on this stack</b>; this viewer "
                    f"saves apart. Its session has {lines}, {slices}"
                )
            self.offer_text.setText(f"{said}, saved {when}.")

    def show_machine(self, machine: Machine) -> None:
        """Say which device is the best here."""
        chosen = self.controller.form.device
        self.device.setText(machine.description if chosen == "auto" else chosen)


class FindSection(Section):
    """Detecting folds."""

    def __init__(self, controller: Controller) -> None:
        super().__init__("1  Find", controller)
        layout = QVBoxLayout(self)
        layout.addLayout(self.grid([["detect", "detect_all"]]))
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
                    ["line", "path", "select"],
                    ["edit", "bend", "delete"],
                    ["undo", "redo", "copy"],
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
        row.addWidget(QLabel("Width"))
        row.addWidget(self.width, 1)
        layout.addLayout(row)
        self.file_lines = QPushButton("Take lines from the opened file", self)
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
        layout.addLayout(self.grid([["restore"], ["restore_all", "cancel"]]))
        self.live = QCheckBox("Live preview while a line is dragged", self)
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
    "StackSection",
    "wrapped",
]
