"""Place a low-magnification slice on a stack by hand: numbers, and a layer that can be dragged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDoubleSpinBox, QFormLayout, QWidget

from sff_napari.napari_plugin.layers.result_layers import MARK

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image

    from sff_napari.alignment import Similarity
    from sff_napari.napari_plugin.layers.image_source import ImageSource

NAME = "low slice, placed"
_TRANSFORMED = ("affine", "scale", "translate", "rotate", "shear")


class PlacementForm(QWidget):
    """Shift, turn and scale of a low-magnification slice, in numbers.

    They say how the stack's slices lie in the low one's grid; see `Frame`.
    """

    changed = Signal()
    """A person has changed a number."""

    def __init__(self) -> None:
        super().__init__()
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        self.dy = _number(-1e5, 1e5, 1, "How far down the middle of the stack lies, in px.")
        self.dx = _number(-1e5, 1e5, 1, "How far right the middle of the stack lies, in px.")
        self.turn = _number(-180, 180, 0.5, "Turn, from the rows towards the columns.")
        self.scale = _number(50, 200, 0.5, "Size beside what the factor says, in per cent.")
        self.scale.setValue(100)
        for label, box in (
            ("Down, px", self.dy),
            ("Right, px", self.dx),
            ("Turn, °", self.turn),
            ("Size, %", self.scale),
        ):
            form.addRow(label, box)
            box.valueChanged.connect(lambda *_: self.changed.emit())

    def show_placement(self, placement: Similarity) -> None:
        """Show a placement; `changed` is not emitted."""
        values = (
            (self.dy, placement.shift[0]),
            (self.dx, placement.shift[1]),
            (self.turn, placement.rotation_degrees),
            (self.scale, 100 * placement.scale),
        )
        for box, value in values:
            blocked = box.blockSignals(True)
            box.setValue(value)
            box.blockSignals(blocked)

    def placement(self, shape: tuple[int, int]) -> Similarity:
        """Return the placement that the numbers say, on slices (Y, X)."""
        from sff_napari.alignment import Similarity

        shift = (self.dy.value(), self.dx.value())
        return Similarity(self.turn.value(), self.scale.value() / 100, shift, 0.0, shape)


class PlacedLayer:
    """A copy of the low slice that lies where it is placed, and can be dragged and turned.

    Parameters
    ----------
    viewer : napari.Viewer
        Where it is shown.
    source : ImageSource
        The stack.
    low : ndarray, (y, x)
        The low slice.
    factor : int
        Pixels of the stack along the side of one of its pixels.
    on_moved : callable
        Called with the new placement after a person moved it.
    """

    def __init__(
        self, viewer: Viewer, source: ImageSource, low: NDArray[Any], factor: int, on_moved: Any
    ) -> None:
        from napari.layers import Image

        self.viewer, self.source, self.factor = viewer, source, factor
        self._on_moved = on_moved
        self._quiet = False
        self.layer: Image = Image(
            low,
            name=NAME,
            colormap="green",
            blending="additive",
            opacity=0.7,
            metadata={MARK: "placed"},
            units=tuple(str(unit) for unit in source.layer.units)[-2:],
        )
        for name in _TRANSFORMED:
            getattr(self.layer.events, name).connect(self._moved)

    def add(self) -> None:
        """Bring the layer into the viewer, ready to be dragged."""
        self.viewer.layers.append(self.layer)
        self.viewer.layers.selection.active = self.layer
        self.layer.mode = "transform"

    def remove(self) -> None:
        """Take the layer away."""
        if self.layer in self.viewer.layers:
            was_active = self.viewer.layers.selection.active is self.layer
            self.layer.mode = "pan_zoom"
            self.viewer.layers.remove(self.layer)
            if was_active and self.source.layer in self.viewer.layers:
                self.viewer.layers.selection.active = self.source.layer

    def _stack_to_world(self) -> NDArray[np.float64]:
        """Return the map (3, 3) from the stack's (y, x) to the world's."""
        source = self.source
        zero = np.zeros(source.ndim)
        columns = []
        for y, x in ((0, 0), (1, 0), (0, 1)):
            point = zero.copy()
            point[-2:] = y, x
            columns.append(np.asarray(source.layer.data_to_world(point))[-2:])
        origin = columns[0]
        matrix = np.eye(3)
        matrix[:2, 0], matrix[:2, 1] = columns[1] - origin, columns[2] - origin
        matrix[:2, 2] = origin
        return matrix

    def put(self, placement: Similarity) -> None:
        """Lay the layer where a placement says."""
        from sff_napari.low_magnification.placing import low_to_stack

        self._quiet = True
        try:
            layer = self.layer
            layer.scale, layer.translate, layer.rotate = (1, 1), (0, 0), 0
            layer.affine = self._stack_to_world() @ low_to_stack(placement, self.factor)
        finally:
            self._quiet = False

    def _moved(self, *_: Any) -> None:
        if self._quiet:
            return
        from napari.utils.transforms import Affine

        from sff_napari.low_magnification.placing import placement_of

        layer = self.layer
        # `layer.data_to_world` still tells of the place before when this event comes.
        inner = Affine(
            scale=layer.scale, translate=layer.translate, rotate=layer.rotate, shear=layer.shear
        )
        world = np.asarray(layer.affine.affine_matrix) @ np.asarray(inner.affine_matrix)
        matrix = np.linalg.inv(self._stack_to_world()) @ world
        self._on_moved(placement_of(matrix, self.factor, self.source.plane))


def _number(low: float, high: float, step: float, tip: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(low, high)
    box.setDecimals(2)
    box.setSingleStep(step)
    box.setToolTip(tip)
    return box
