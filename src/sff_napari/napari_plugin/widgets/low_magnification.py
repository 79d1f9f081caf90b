"""The dock widget "Low-magnification slice": bring an overview to full resolution."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFormLayout, QSpinBox, QVBoxLayout

from sff_napari.napari_plugin.layers.native_arrays import as_native
from sff_napari.napari_plugin.widgets.placement_form import PlacedLayer, PlacementForm
from sff_napari.napari_plugin.widgets.sections import wrapped
from sff_napari.napari_plugin.widgets.slice_dock import SliceDock
from sff_napari.napari_plugin.workers.enlarge_request import EnlargeRequest

if TYPE_CHECKING:
    from napari import Viewer

    from sff_napari.alignment import Similarity
    from sff_napari.low_magnification import Enlarged
    from sff_napari.sessions import Index

# Written out here so that opening the dock need not load torch; a test compares them.
METHODS = {
    "default": "detail from the neighbours (default)",
    "bicubic": "bicubic",
    "back-projected": "bicubic, exact when reduced",
    "aligned": "mean of the neighbours, low band replaced",
}
LARGEST_FACTOR = 32


class LowMagnificationWidget(SliceDock):
    """Put a slice that exists only at low magnification into a stack at full resolution.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    PURPOSE = "low-magnification"
    LAYERS: ClassVar[dict[str, str]] = {
        "restored": "enlarged",
        "reference": "from neighbours",
        "synthesised": "inferred detail",
        "confidence": "enlarging confidence",
    }
    INTRODUCTION = (
        "A section that was imaged only at low magnification takes its place in the stack. Go to "
        "that place, choose the overview, let it be placed or drag it, and restore."
    )

    def __init__(self, napari_viewer: Viewer) -> None:
        self.placement: Similarity | None = None
        self.placed: PlacedLayer | None = None
        self._placed_at: Index = ()
        super().__init__(napari_viewer)

    def add_form(self, layout: QVBoxLayout) -> None:
        """Add what is chosen for a restoration, and the placement."""
        self.low = self.choices({}, "The layer with the slice at low magnification.")
        self.low.activated.connect(lambda *_: self._on_low())
        self.factor = QSpinBox()
        self.factor.setRange(2, LARGEST_FACTOR)
        self.factor.setValue(8)
        self.factor.setToolTip("Pixels of the stack along the side of one pixel of the overview.")
        self.factor.valueChanged.connect(lambda *_: self._on_factor())
        self.method = self.choices(METHODS, "How the slice is enlarged.")
        form = QFormLayout()
        form.addRow("Overview", self.low)
        form.addRow("Factor", self.factor)
        form.addRow("Method", self.method)
        form.addRow("Weights", self.weights_file)
        layout.addLayout(form)
        self.find = self.button(
            "Find place", "Look for shift, turn and scale by the slices beside it.", self.find_place
        )
        self.snap = self.button(
            "Snap", "Correct the place made by hand; look only near it.", self.snap_place
        )
        self.by_hand = self.button(
            "Place by hand", "Shows the overview in green over the stack: drag it, turn its handle."
        )
        self.by_hand.setCheckable(True)
        self.by_hand.toggled.connect(self._on_by_hand)
        self.forget = self.button(
            "Forget place", "Find the place anew with each restoration.", self.forget_place
        )
        for button in (self.find, self.snap, self.by_hand, self.forget):
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        layout.addLayout(self.row(self.find, self.snap))
        layout.addLayout(self.row(self.by_hand, self.forget))
        self.place_said = wrapped()
        layout.addWidget(self.place_said)
        self.numbers = PlacementForm()
        self.numbers.changed.connect(self._on_numbers)
        layout.addWidget(self.numbers)

    # -- the overview --------------------------------------------------------------------

    def _list_images(self) -> None:
        super()._list_images()
        source = None if self.repairs is None else self.repairs.source
        chosen = self.low.currentData()
        blocked = self.low.blockSignals(True)
        self.low.clear()
        others = [x for x in self.images() if source is None or x is not source.layer]
        for layer in others:
            self.low.addItem(layer.name, layer)
        self.low.setCurrentIndex(others.index(chosen) if chosen in others else 0)
        self.low.blockSignals(blocked)
        if self.low.currentData() is not chosen:
            self._on_low()
        self.show_state()

    def choose(self, layer: Any) -> None:
        """Take a layer as the stack in work; the overview is one of the others."""
        images = self.images()
        if self.repairs is None and layer is not None and layer.ndim < 3:
            # What opens first may be the overview: the stack is what has slices.
            layer = next((x for x in images if x.ndim > 2), layer)
        super().choose(layer)

    def on_source(self) -> None:
        """Offer the other images as overviews."""
        self._put_away()
        self._relist.start(0)

    def _on_low(self) -> None:
        """Suggest the factor of another overview."""
        self._put_away()
        low, repairs = self.low.currentData(), self.repairs
        if low is None or repairs is None:
            return
        data = low.data[0] if low.multiscale else low.data
        ratio = np.sqrt(np.prod(np.divide(repairs.source.plane, data.shape[-2:])))
        if 1.5 < ratio < LARGEST_FACTOR + 0.5:
            self.factor.setValue(round(float(ratio)))
        self.show_state()

    def low_slice(self) -> Any | None:
        """Return the overview (y, x), perhaps not read yet; of a stack the slice shown."""
        layer = self.low.currentData()
        if layer is None:
            return None
        data = as_native(layer.data[0] if layer.multiscale else layer.data)
        if data.ndim == 2:
            return data
        point = np.asarray(self.viewer.dims.point, float)[-data.ndim :]
        place = np.rint(np.asarray(layer.world_to_data(point))[:-2])
        index = tuple(int(i) for i in np.clip(place, 0, np.array(data.shape[:-2]) - 1))
        return data[index]

    # -- its place -----------------------------------------------------------------------

    def set_placement(self, placement: Similarity | None) -> None:
        """Take a placement, or none, and show it everywhere."""
        self.placement = placement
        if placement is not None:
            self.numbers.show_placement(placement)
            if self.placed is not None:
                self.placed.put(placement)
        if self.repairs is not None and self.index:
            places = dict(self.repairs.settings.get("placements") or {})
            key = ",".join(map(str, self.index))
            if placement is None:
                places.pop(key, None)
            else:
                places[key] = {
                    "turn": placement.rotation_degrees,
                    "scale": placement.scale,
                    "shift": list(placement.shift),
                    "factor": self.factor.value(),
                }
            self.repairs.save_settings(placements=places)
        self.show_state()

    def _placement_from_session(self) -> None:
        """Take up the placement that this slice had in the session."""
        repairs = self.repairs
        self._placed_at = self.index
        if repairs is None or not self.index:
            return
        kept = (repairs.settings.get("placements") or {}).get(",".join(map(str, self.index)))
        if kept is None:
            self.placement = None
            return
        from sff_napari.alignment import Similarity

        blocked = self.factor.blockSignals(True)
        self.factor.setValue(int(kept["factor"]))
        self.factor.blockSignals(blocked)
        shift = (float(kept["shift"][0]), float(kept["shift"][1]))
        self.placement = Similarity(kept["turn"], kept["scale"], shift, 0.0, repairs.source.plane)
        self.numbers.show_placement(self.placement)
        if self.placed is not None:
            self.placed.put(self.placement)

    def on_session(self) -> None:
        """Take up the placement of the session."""
        self._placement_from_session()
        self.show_state()

    def _on_slice(self, *_: Any) -> None:
        # The event also comes when a layer is dragged: the slice is the same then.
        if not self._ended.is_set() and self.index != self._placed_at:
            self._placement_from_session()
        super()._on_slice()

    def _on_numbers(self) -> None:
        if self.repairs is not None:
            self.set_placement(self.numbers.placement(self.repairs.source.plane))

    def _on_factor(self) -> None:
        if self.by_hand.isChecked():
            self._put_away()
        self.show_state()

    def forget_place(self) -> None:
        """Let the place be found with each restoration."""
        self._put_away()
        self.set_placement(None)

    def _on_by_hand(self, on: bool) -> None:
        repairs, low = self.repairs, self.low_slice()
        if not on or repairs is None or low is None:
            self._put_away()
            return
        from sff_napari.low_magnification.frame import in_place

        def moved(placement: Similarity) -> None:
            self.set_placement(replace(placement, score=0.0))

        placed = PlacedLayer(
            self.viewer, repairs.source, np.asarray(low), self.factor.value(), moved
        )
        self.placed = placed
        start = self.placement or in_place(repairs.source.plane)
        self.set_placement(start)
        repairs.queue.later(placed.add)

    def _put_away(self) -> None:
        placed, self.placed = self.placed, None
        blocked = self.by_hand.blockSignals(True)
        self.by_hand.setChecked(False)
        self.by_hand.blockSignals(blocked)
        if placed is None:
            return
        if self.repairs is not None:
            self.repairs.queue.later(placed.remove)

    def find_place(self) -> None:
        """Look for the place everywhere."""
        self._place(None)

    def snap_place(self) -> None:
        """Look for the place near the one made by hand."""
        self._place(self.placement)

    def _place(self, near: Similarity | None) -> None:
        request, repairs = self.request(), self.repairs
        if request is None or repairs is None:
            return
        index = request.index

        def done(found: tuple[Similarity, str | None]) -> None:
            placement, note = found
            if self.index != index:
                self.say("Another slice is shown by now: the place was not taken.")
                return
            self.set_placement(placement)
            said = f"Found; the correlation with the neighbours is {placement.score:.2f}."
            self.say(note or said, bool(note))

        source = repairs.source
        self.start_job(
            lambda channel: request.place(channel, near),
            done,
            lambda: source.is_current(self.viewer),
        )

    # -- restoring -----------------------------------------------------------------------

    def request(self) -> EnlargeRequest | None:
        """Return what is to be done with the slice that is shown; None, said why, if it cannot."""
        low, repairs = self.low_slice(), self.repairs
        if repairs is None:
            return None
        index = self.index
        if not index:
            self.say("Choose a stack: a single image has no slices beside it.", True)
            return None
        if low is None:
            self.say("Open the slice at low magnification as a layer of its own first.", True)
            return None
        source = repairs.source
        places, z = source.every_index(index), source.place_of(index)
        before = places[z - 1] if z > 0 else None
        after = places[z + 1] if z + 1 < len(places) else None
        options = {
            "factor": self.factor.value(),
            "placement": self.placement,
            "method": self.method.currentData(),
            "weights": self.weights,
        }
        return EnlargeRequest(source, index, low, options, (before, after))

    def restore(self) -> None:
        """Enlarge the overview into the slice that is shown."""
        request, repairs = self.request(), self.repairs
        if request is None or repairs is None or not self.may_replace(request.index):
            return
        name = self.low.currentText()

        def done(made: Enlarged) -> None:
            arrays = {
                "restored": made.restored,
                "reference": made.reference,
                "synthesised": made.synthesised,
                "confidence": made.confidence,
            }
            plain = {key: value for key, value in request.options.items() if key != "placement"}
            before, after = request.beside
            repairs.take(
                request.index,
                arrays,
                {**plain, "overview": name},
                dict(made.report),
                {
                    "previous": None if before is None else list(before),
                    "following": None if after is None else list(after),
                },
            )
            if self.placement is None and self.index == request.index:
                self.set_placement(made.placement)
            self._put_away()
            self.say("Restored: hold the button to compare, then keep or reject it.")

        source = repairs.source
        self.start_job(request.enlarge, done, lambda: source.is_current(self.viewer))

    def describe(self, index: Index) -> str:
        """Return how well the result agrees with the overview, and how much of it is inferred."""
        result = None if self.repairs is None else self.repairs.store.get(index)
        report = {} if result is None else dict(result.record.versions.get("report") or {})
        if not report:
            return ""
        notes = " ".join(str(note) for note in report.get("notes") or ())
        return (
            f"Reduced, it differs from the overview by {report.get('off_low_rms', 0):.2g} grey "
            f"values; {report.get('synthesised', 0):.0%} of the fine structure is inferred. {notes}"
        ).strip()

    def show_state(self) -> None:
        """Enable what can be done now."""
        super().show_state()
        ready = self.repairs is not None and self.low.currentData() is not None
        for button in (self.find, self.by_hand):
            button.setEnabled(ready and not self.is_busy)
        self.run.setEnabled(ready and not self.is_busy)
        self.snap.setEnabled(ready and not self.is_busy and self.placement is not None)
        self.forget.setEnabled(self.placement is not None and not self.is_busy)
        self.numbers.setEnabled(ready and not self.is_busy)
        self.place_said.setText(
            "Place: found with the restoration." if self.placement is None else "Place: as below."
        )
