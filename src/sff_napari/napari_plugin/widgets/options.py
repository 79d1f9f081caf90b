"""Choices that most people never need, folded away, and the list of keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from sff_napari.evaluation.method_names import DEFAULTS, name_of
from sff_napari.napari_plugin.actions import ACTIONS, FLICKER_KEY, LIVE_KEY
from sff_napari.napari_plugin.layers.result_layers import EXTRA
from sff_napari.napari_plugin.settings import LAYER_KEYS
from sff_napari.napari_plugin.widgets.sections import wrapped
from sff_napari.napari_plugin.widgets.weights_card import (
    FREE,
    describe_weights,
    weights_in_brief,
)

if TYPE_CHECKING:
    from sff_napari.napari_plugin.controller.controller import Controller
    from sff_napari.napari_plugin.workers.tasks import Machine

_TIPS = {
    "interpolation": "How the slice is guessed from its neighbours.",
    "unfolding": "How the displacement of the fold is found.",
    "fusion": "How the hidden region is filled and joined.",
}


class Options(QCollapsible):
    """Methods, weights, tiles, device, neighbours, cover width and layers."""

    def __init__(self, controller: Controller) -> None:
        super().__init__("Options")
        self.toggleButton().setToolTip("Choices that most people never need.")
        self.controller = controller
        body = QWidget(self)
        form = QFormLayout(body)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        self._add_methods(form, body)
        self._add_weights(form, body)
        self._add_numbers(form, body)
        for row in range(form.rowCount()):
            label = form.itemAt(row, QFormLayout.ItemRole.LabelRole)
            field = form.itemAt(row, QFormLayout.ItemRole.FieldRole)
            if label is not None and field is not None and field.widget() is not None:
                label.widget().setToolTip(field.widget().toolTip())
        self.addWidget(body)
        self.show_form()
        self._connect()

    def _add_methods(self, form: QFormLayout, body: QWidget) -> None:
        self.device = QComboBox(body)
        self.device.addItem("auto")
        self.device.setToolTip("Where to compute; auto takes the best there is.")
        form.addRow("Device", self.device)
        self.methods: dict[str, QComboBox] = {}
        for stage, tip in _TIPS.items():
            box = QComboBox(body)
            box.addItem(f"{name_of(DEFAULTS[stage])} (default)", "")
            box.setToolTip(tip)
            box.setMinimumContentsLength(6)
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            self.methods[stage] = box
            form.addRow(stage.capitalize(), box)

    def _add_weights(self, form: QFormLayout, body: QWidget) -> None:
        self.weights_set = QComboBox(body)
        for text, word in (("bundled (default)", ""), ("free", FREE), ("a folder", None)):
            self.weights_set.addItem(text, word)
        self.weights_set.setToolTip(
            "Weights of the networks: the bundled ones, for non-commercial use only; a free set "
            "trained on synthetic tissue alone; or a folder that training wrote."
        )
        form.addRow("Weights", self.weights_set)
        self.weights = QLineEdit(body)
        self.weights.setPlaceholderText("folder")
        self.weights.setToolTip("The folder with weights that sff-napari-train wrote.")
        browse = QPushButton("Browse", body)
        browse.setToolTip("Choose a folder with weights.")
        browse.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        browse.clicked.connect(self._browse)
        self.folder = QWidget(body)
        row = QHBoxLayout(self.folder)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.weights, 1)
        row.addWidget(browse)
        form.addRow(self.folder)
        self.brief = wrapped()
        form.addRow(self.brief)
        self.more = QPushButton("Details of the weights", body)
        self.more.setCheckable(True)
        self.more.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.more.setToolTip("What the files of the weights say about themselves.")
        form.addRow(self.more)
        self.card = wrapped()
        self.card.setToolTip("What these weights were trained on, and how they scored.")
        self.card.hide()
        self.more.toggled.connect(self.card.setVisible)
        form.addRow(self.card)

    def _add_numbers(self, form: QFormLayout, body: QWidget) -> None:
        self.tile = QSpinBox(body)
        self.tile.setRange(0, 16384)
        self.tile.setSingleStep(256)
        self.tile.setSpecialValueText("automatic")
        self.tile.setToolTip("Side of the tiles in pixels; smaller needs less memory.")
        form.addRow("Tile", self.tile)
        self.cover = QDoubleSpinBox(body)
        self.cover.setRange(-1, 50)
        self.cover.setSpecialValueText("automatic")
        self.cover.setToolTip("Pixels covered beside the dark line, on each side.")
        form.addRow("Cover width", self.cover)
        self.threshold = QDoubleSpinBox(body)
        self.threshold.setRange(-0.01, 1)
        self.threshold.setSingleStep(0.01)
        self.threshold.setSpecialValueText("automatic")
        self.threshold.setToolTip(
            "Grey value, from 0 to 1, below which a pixel may belong to a fold when detecting."
        )
        form.addRow("Threshold", self.threshold)
        self.max_folds = QSpinBox(body)
        self.max_folds.setRange(1, 50)
        self.max_folds.setToolTip("Most lines that are looked for in a slice.")
        form.addRow("Folds a slice", self.max_folds)
        self.skip = QCheckBox("Skip damaged neighbours", body)
        self.skip.setToolTip(
            "Restore from the nearest slices without a fold instead of a damaged neighbour."
        )
        form.addRow(self.skip)
        self.layers: dict[str, QCheckBox] = {}
        for name in EXTRA:
            box = QCheckBox(f"Layer '{name}'", body)
            box.setToolTip(f"Whether a layer '{name}' is made beside 'restored'.")
            self.layers[name] = box
            form.addRow(box)

    def _connect(self) -> None:
        for box in (self.device, *self.methods.values()):
            box.currentTextChanged.connect(self._on_change)
        for spin in (self.tile, self.cover, self.threshold, self.max_folds):
            spin.valueChanged.connect(self._on_change)
        for check in (self.skip, *self.layers.values()):
            check.toggled.connect(self._on_change)
        self.weights.editingFinished.connect(self._on_folder)
        self.weights_set.activated.connect(self._on_weights_set)
        self.controller.machine_known.connect(self._on_machine)

    def show_form(self) -> None:
        """Show the controller's form."""
        form = self.controller.form
        _choose(self.device, form.device)
        for stage, box in self.methods.items():
            _choose_method(box, getattr(form, stage))
        self._show_weights_set()
        self.tile.setValue(form.tile)
        self.cover.setValue(form.cover)
        self.threshold.setValue(form.threshold if form.threshold >= 0 else -0.01)
        self.max_folds.setValue(form.max_folds)
        self.skip.setChecked(form.skip_damaged)
        for name, box in self.layers.items():
            box.setChecked(name in form.show)

    def take_settings(self, changed: dict[str, Any]) -> None:
        """Take over the settings that a person has just changed; the other choices stay."""
        if "device" in changed:
            name = str(changed["device"] or "auto")
            if self.device.findText(name) < 0:
                self.device.addItem(name)
            self.device.setCurrentText(name)
        if "max_folds" in changed:
            self.max_folds.setValue(int(changed["max_folds"]))
        if "skip_damaged" in changed:
            self.skip.setChecked(bool(changed["skip_damaged"]))
        for name, key in LAYER_KEYS.items():
            if key in changed:
                self.layers[name].setChecked(bool(changed[key]))

    def _on_machine(self, machine: Machine) -> None:
        chosen = self.controller.form.device
        blocked = self.device.blockSignals(True)
        self.device.clear()
        self.device.addItems(["auto", *machine.devices])
        self.device.blockSignals(blocked)
        _choose(self.device, chosen)
        for stage, names in machine.methods.items():
            box = self.methods[stage]
            for name in names:
                if box.findData(name) < 0 and name != DEFAULTS[stage]:
                    box.addItem(name_of(name), name)
            _choose_method(box, getattr(self.controller.form, stage))
        self._show_weights()

    def _on_change(self, *_: Any) -> None:
        methods = {stage: str(box.currentData() or "") for stage, box in self.methods.items()}
        before = self.controller.form
        form = before.with_changes(
            device=self.device.currentText() or "auto",
            weights=before.weights,
            tile=self.tile.value(),
            cover=self.cover.value() if self.cover.value() >= 0 else -1.0,
            threshold=self.threshold.value() if self.threshold.value() >= 0 else -1.0,
            max_folds=self.max_folds.value(),
            skip_damaged=self.skip.isChecked(),
            show=tuple(name for name, box in self.layers.items() if box.isChecked()),
            **methods,
        )
        self.controller.form = form
        if form.show != before.show and self.controller.layers is not None:
            self.controller.layers.want(set(form.show))
        if form.device != before.device and self.controller.machine is not None:
            self.controller.machine_known.emit(self.controller.machine)

    def _show_weights_set(self) -> None:
        """Show which weights are chosen."""
        weights = self.controller.form.weights
        at = self.weights_set.findData(weights)
        self.weights_set.setCurrentIndex(at if at >= 0 else self.weights_set.count() - 1)
        self.weights.setText(weights if at < 0 else "")
        self.folder.setVisible(at < 0)

    def _on_weights_set(self, at: int) -> None:
        word = self.weights_set.itemData(at)
        if word is None:
            self.folder.show()  # the folder is still to be named
        else:
            self._take_weights(word)

    def _on_folder(self) -> None:
        text = self.weights.text().strip()
        if self.folder.isVisibleTo(self) or text:
            self._take_weights(text)

    def _take_weights(self, weights: str) -> None:
        self.controller.form = self.controller.form.with_changes(weights=weights)
        self._show_weights_set()
        self._show_weights()

    def _show_weights(self) -> None:
        weights = self.controller.form.weights
        self.brief.setText(weights_in_brief(weights))
        self.card.setText(describe_weights(weights))

    def _browse(self, *_: Any) -> None:
        path = QFileDialog.getExistingDirectory(
            self, "Folder with weights of the networks", str(Path.home())
        )
        if path:
            self._take_weights(path)


def _choose(box: QComboBox, text: str) -> None:
    blocked = box.blockSignals(True)
    if box.findText(text) < 0:
        box.addItem(text)
    box.setCurrentText(text)
    box.blockSignals(blocked)


def _choose_method(box: QComboBox, name: str) -> None:
    blocked = box.blockSignals(True)
    if box.findData(name) < 0:
        box.addItem(name_of(name), name)
    box.setCurrentIndex(box.findData(name))
    box.blockSignals(blocked)


class Keys(QCollapsible):
    """The list of keys."""

    def __init__(self) -> None:
        super().__init__("Keys")
        self.toggleButton().setToolTip("The keys of all actions.")
        rows = [(action.key, action.text) for action in ACTIONS.values()]
        rows += [(f"hold {FLICKER_KEY}", "See the damaged slice"), (LIVE_KEY, "Live preview")]
        rows += [("Shift + wheel", "Width of the line"), ("Esc", "End the line being drawn")]
        table = "".join(
            f"<tr><td><b>{key}</b>&nbsp;&nbsp;</td><td>{text}</td></tr>" for key, text in rows
        )
        label = wrapped(f"<table>{table}</table>")
        label.setToolTip("Keys work while the picture or this panel has the keyboard.")
        body = QWidget(self)
        layout = QVBoxLayout(body)
        layout.addWidget(label)
        self.addWidget(body)
