"""Judge and decide: flicker, scores, accept or reject, and the review list."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QImage, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
)

from sff_napari.evaluation.verdict import is_alarming, plain_verdict
from sff_napari.flow_colours import legend
from sff_napari.napari_plugin import compat
from sff_napari.napari_plugin.actions import FLICKER_KEY
from sff_napari.napari_plugin.layers.shapes_style import COLOURS
from sff_napari.napari_plugin.widgets.agreement_map import AgreementMap
from sff_napari.napari_plugin.widgets.agreement_plot import AgreementPlot
from sff_napari.napari_plugin.widgets.flicker import Flicker
from sff_napari.napari_plugin.widgets.sections import Section, wrapped

if TYPE_CHECKING:
    from sff_napari.napari_plugin.controller.controller import Controller
    from sff_napari.sessions import Index


class JudgeSection(Section):
    """Before and after, and the scores that need no ground truth."""

    def __init__(self, controller: Controller, flicker: Flicker) -> None:
        super().__init__("4  Judge", controller)
        layout = QVBoxLayout(self)
        self.flicker = QPushButton("Hold: damaged slice", self)
        self.flicker.setObjectName("sff_flicker")
        self.flicker.setToolTip(
            f"While held, the slice as it was is shown. Key: hold {FLICKER_KEY}"
        )
        self.flicker.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.flicker.pressed.connect(flicker.press)
        self.flicker.released.connect(flicker.release)
        layout.addWidget(self.flicker)
        layout.addLayout(self.grid([["side"], ["show_results"]]))
        self.scores = wrapped()
        self.scores.setToolTip(
            "Correlation with the neighbouring slices, without pixels that were synthesised; "
            "'near' is where the fold moved tissue. Clean slices of this stack tell what to expect."
        )
        layout.addWidget(self.scores)
        self.plot = AgreementPlot(self)
        layout.addWidget(self.plot)
        self.map = AgreementMap(self)
        layout.addWidget(self.map)
        self.verdict = wrapped()
        layout.addWidget(self.verdict)
        self.notes = wrapped()
        self.notes.setToolTip("What the restoration of this slice has to say.")
        layout.addWidget(self.notes)
        row = QHBoxLayout()
        self.wheel = QLabel(self)
        picture = legend(44)
        image = QImage(picture.data, 44, 44, QImage.Format.Format_RGBA8888)
        self.wheel.setPixmap(QPixmap.fromImage(image.copy()))
        self.wheel.setToolTip("Colours of the layers 'flow' and 'flow colours'.")
        row.addWidget(self.wheel)
        row.addWidget(wrapped("Flow: an arrow points to the place where its pixel was found."), 1)
        layout.addLayout(row)
        controller.results_changed.connect(self.refresh)
        controller.lines_changed.connect(self.refresh)
        controller.index_changed.connect(self.refresh)
        controller.source_changed.connect(self.refresh)
        controller.layers_changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the scores of the slice that is shown."""
        controller = self.controller
        layers = controller.layers
        self.buttons["show_results"].setVisible(layers is not None and layers.is_missing)
        result = controller.store.get(controller.index) if controller.source else None
        scores = result.scores if result is not None else None
        self.flicker.setEnabled(result is not None)
        local = None if result is None else result.local
        self.plot.show_scores(scores, None if local is None else local.clean)
        self.map.show_local(local)
        notes = [] if result is None else result.notes
        self.notes.setText(" ".join(f"Note: {note}" for note in notes))
        self.notes.setVisible(bool(notes))
        if result is None or scores is None:
            self.scores.setText("No result on this slice yet." if result is None else "")
            self.verdict.setText("")
            return
        head = "<tr><td></td><td align=right>before&nbsp;</td><td align=right>after</td></tr>"
        rows = "".join(
            f"<tr><td>{name}&nbsp;&nbsp;</td><td align=right>{_number(a)}&nbsp;</td>"
            f"<td align=right><b>{_number(b)}</b></td></tr>"
            for name, a, b in (
                ("near the fold", scores.near_before, scores.near_after),
                ("away from it", scores.away_before, scores.away_after),
            )
        )
        rows += (
            f"<tr><td>clean slices</td><td></td><td align=right>{_number(scores.clean)}</td></tr>"
        )
        rows += f"<tr><td>observed</td><td></td><td align=right>{scores.observed:.0%}</td></tr>"
        truth = result.truth
        if truth is not None:
            rows += (
                f"<tr><td>PSNR, dB (truth known)</td><td align=right>{truth[0]:.1f}&nbsp;</td>"
                f"<td align=right><b>{truth[1]:.1f}</b></td></tr>"
            )
        source = _from_slices(result.record.neighbours)
        self.scores.setText(f"{source}Correlation with the neighbours<table>{head}{rows}</table>")
        colours = compat.theme_colours(controller.viewer)
        text = plain_verdict(scores, local)
        if result.state == "stale":
            text = "The lines have changed since: restore the slice again."
        alarm = result.state == "stale" or is_alarming(scores, local)
        colour = colours["warning"] if alarm else colours["text"]
        mark = "\u26a0 " if alarm else ""
        self.verdict.setText(f'<span style="color:{colour}">{mark}{text}</span>')


def _from_slices(neighbours: dict[str, Any]) -> str:
    """Return which slices a result was made from, e.g. ``"Restored from slices 1 and 3."``."""
    used = [neighbours.get(name) for name in ("previous", "following")]
    names = [", ".join(str(i) for i in index) for index in used if index]
    if not names:
        return ""
    plural = "s" if len(names) > 1 else ""
    return f"Restored from slice{plural} {' and '.join(names)}.<br>"


def _number(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.2f}"


class ReviewSection(Section):
    """Accept, reject, and the list of all slices with folds."""

    def __init__(self, controller: Controller) -> None:
        super().__init__("5  Decide", controller)
        layout = QVBoxLayout(self)
        layout.addLayout(
            self.grid(
                [
                    ["accept", "reject"],
                    ["reopen"],
                    ["discard"],
                    ["accept_line", "reject_line"],
                    ["previous", "next"],
                    ["open_lines"],
                    ["open_result"],
                ]
            )
        )
        self.table = QTableWidget(0, 4, self)
        self.table.setHorizontalHeaderLabels(["Slice", "Lines", "Score", "State"])
        self.table.setToolTip("All slices with folds, the surest first. Click one to go there.")
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.table.verticalHeader().hide()
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(3, QHeaderView.ResizeMode.Stretch)
        self.table.setMinimumHeight(150)
        layout.addWidget(self.table)
        self.summary = wrapped()
        layout.addWidget(self.summary)
        self._rows: list[Index] = []
        self._shown: list[tuple[Any, ...]] = []
        self.table.cellClicked.connect(self._on_click)
        for signal in (
            controller.lines_changed,
            controller.results_changed,
            controller.source_changed,
        ):
            signal.connect(self.refresh)
        controller.index_changed.connect(self._mark_here)

    def refresh(self) -> None:
        """Show the list anew where it differs."""
        source = self.controller.source
        items = self.controller.queue()
        self._rows = [item.index for item in items]
        shown = [
            (
                source.name_of(item.index) if source else "",
                str(item.lines),
                f"{item.score:.2f}",
                item.state,
            )
            for item in items
        ]
        self.table.setRowCount(len(shown))
        for i, row in enumerate(shown):
            if i < len(self._shown) and self._shown[i] == row:
                continue
            for j, text in enumerate(row):
                cell = QTableWidgetItem(text)
                cell.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                if j == 3:
                    cell.setData(Qt.ItemDataRole.DecorationRole, QColor(COLOURS[row[3]]))
                self.table.setItem(i, j, cell)
        self._shown = shown
        decided = sum(item.state in ("accepted", "rejected") for item in items)
        self.summary.setText(f"{decided} of {len(items)} slices decided" if items else "")
        self._mark_here()

    def _mark_here(self) -> None:
        if self.controller.index in self._rows:
            self.table.selectRow(self._rows.index(self.controller.index))
        else:
            self.table.clearSelection()

    def _on_click(self, row: int, _column: int) -> None:
        if row < len(self._rows):
            self.controller.go_to(self._rows[row])
            compat.focus_canvas(self.controller.viewer)
