"""The part of the panel that says which stack is in work, and offers to continue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from sff_napari.evaluation.html_report import local_time
from sff_napari.napari_plugin.widgets.sections import Section, counted, wrapped

if TYPE_CHECKING:
    from sff_napari.napari_plugin.controller.controller import Controller
    from sff_napari.napari_plugin.workers.tasks import Machine
    from sff_napari.sessions import Sidecar


def shortened(text: str, most: int = 24) -> str:
    """Return a text with its middle left out if it is long."""
    half = most // 2
    return text if len(text) <= most else f"{text[: half - 1]}\u2026{text[-half:]}"


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
        self.mask = QComboBox(self)
        self.mask.setToolTip(
            "Labels that mark pixels without image, such as torn or dirty places: they stay as "
            "they are and take no part."
        )
        self.mask.setMinimumContentsLength(8)
        self.mask.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        form = QFormLayout()
        form.addRow("Image", self.layer)
        form.addRow("Slices", self.axis)
        form.addRow("No data", self.mask)
        form.addRow("Device", self.device)
        self.axis_label = form.labelForField(self.axis)
        self.mask_label = form.labelForField(self.mask)
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

    def show_masks(self, layers: list[Any]) -> None:
        """Offer the labels that can mark pixels without data; hidden where there are none."""
        source = self.controller.source
        chosen = None if source is None else source.mask_layer
        blocked = self.mask.blockSignals(True)
        self.mask.clear()
        self.mask.addItem("none marked", None)
        for layer in layers:
            self.mask.addItem(layer.name, layer)
        self.mask.setCurrentIndex(layers.index(chosen) + 1 if chosen in layers else 0)
        self.mask.blockSignals(blocked)
        for widget in (self.mask, self.mask_label):
            widget.setVisible(bool(layers))

    def show_scale(self) -> None:
        """Offer the voxel size of the file where the layer has none."""
        source = self.controller.source
        size = None if source is None or source.layer_voxel_size else source.facts.voxel_size
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
