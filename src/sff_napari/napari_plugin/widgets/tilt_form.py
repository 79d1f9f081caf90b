"""Choose how a tilt series is reconstructed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFormLayout, QSpinBox, QWidget

if TYPE_CHECKING:
    from sff_napari.tilt_series.reconstruct import Options

# Written out here so that opening the dock need not load torch; a test compares them.
METHODS = (
    "grid", "sirt", "wbp", "implicit", "implicit-flow", "implicit-full", "implicit-flow-full"
)  # fmt: skip
PREVIEW_METHODS = ("wbp", "sirt", "grid")


class TiltForm(QWidget):
    """The tilt axis, contrast, thickness, method and limits of a reconstruction."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.axis = QComboBox()
        self.axis.addItem("x, along rows", "x")
        self.axis.addItem("y, along columns", "y")
        self.contrast = QComboBox()
        self.contrast.addItem("bright field", "bright")
        self.contrast.addItem("dark field (HAADF)", "dark")
        self.method = QComboBox()
        self.method.addItems(METHODS)
        self.thickness = QSpinBox()
        self.thickness.setRange(0, 4096)
        self.thickness.setSpecialValueText("estimate")
        self.defocus = _number(0, 50, "Known blur at the edge of the most tilted image.")
        self.minutes = _number(0, 1e5, "Time it may take; 0 as long as it needs.")
        self.offset = _number(-4096, 4096, "Distance of the tilt axis from the middle.")
        self.angle = _number(-45, 45, "Turn of the tilt axis against the rows or columns.")
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for name, box in (
            ("Tilt axis", self.axis),
            ("Axis offset, px", self.offset),
            ("Axis angle, °", self.angle),
            ("Contrast", self.contrast),
            ("Thickness, slices", self.thickness),
            ("Method", self.method),
            ("Defocus, px", self.defocus),
            ("Minutes", self.minutes),
        ):
            layout.addRow(name, box)

    def options(self) -> Options:
        """Return what is chosen."""
        from sff_napari.tilt_series.reconstruct import Options

        return Options(
            contrast=self.contrast.currentData(),
            thickness=self.thickness.value() or None,
            method=self.method.currentText(),  # type: ignore[arg-type]
            defocus=self.defocus.value() or None,
            minutes=self.minutes.value() or None,
        )


def _number(low: float, high: float, tip: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(low, high)
    box.setDecimals(2)
    box.setToolTip(tip)
    return box
