"""Base of the docks that repair single slices: choose, restore, compare, decide, export."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QVBoxLayout,
)

from sff_napari.errors import SffError
from sff_napari.napari_plugin.controller.slice_repairs import SliceRepairs
from sff_napari.napari_plugin.io.stack_reader import FileFacts, facts_in_file
from sff_napari.napari_plugin.layers.image_source import ImageSource
from sff_napari.napari_plugin.layers.result_layers import MARK
from sff_napari.napari_plugin.notify import show_note
from sff_napari.napari_plugin.settings import read_settings
from sff_napari.napari_plugin.widgets.dock import Dock
from sff_napari.napari_plugin.widgets.flicker import Flicker
from sff_napari.napari_plugin.widgets.questions import choose_answer
from sff_napari.napari_plugin.widgets.sections import wrapped
from sff_napari.napari_plugin.widgets.slice_list import STATES, SliceList, name_of
from sff_napari.napari_plugin.workers.job import Channel, Job
from sff_napari.sessions import Identity, Index, identify

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image

    from sff_napari.sessions.records import SliceState


class SliceDock(Dock):
    """Repairs the slice that is shown, and keeps what a person decides about it.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    PURPOSE = ""
    """Part of the name of its sessions."""
    LAYERS: ClassVar[dict[str, str]] = {}
    """Names of the result layers in the viewer, by what they are; see `ResultLayers`."""
    INTRODUCTION = ""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self.repairs: SliceRepairs | None = None
        self.weights: str | None = None
        self.weights_file = self.button(
            "bundled", "Weights of the network: the bundled ones, or a file.", self.choose_weights
        )
        self.weights_file.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.flicker = Flicker(self, self._overlays)
        layout = self.content
        layout.addWidget(wrapped(self.INTRODUCTION))
        form = QFormLayout()
        self.image = self.choices({}, "The image or stack in work; it changes only here.")
        self.image.activated.connect(lambda at: self.choose(self.image.itemData(at)))
        form.addRow("Image", self.image)
        layout.addLayout(form)
        self.add_form(layout)
        self.run = self.button("Restore", "Restore the slice that is shown.", self.restore)
        self.stop = self.button("Cancel", "Stop what is running; nothing is changed.", self.cancel)
        layout.addLayout(self.row(self.run, self.stop))
        self.compare = self.button(
            "Hold: as it was", "Shows the slice as it was for as long as the button is held."
        )
        self.compare.pressed.connect(self.flicker.press)
        self.compare.released.connect(self.flicker.release)
        layout.addWidget(self.compare)
        self.about = wrapped()
        layout.addWidget(self.about)
        self.add_plot(layout)
        self.keep = self.button(
            "Keep", "The restored slice is good.", lambda: self.decide("accepted")
        )
        self.reject = self.button(
            "Reject", "Show the slice as it was; the result is not lost.", lambda: self.undo_keep()
        )
        layout.addLayout(self.row(self.keep, self.reject))
        self.slices = SliceList()
        self.slices.wanted.connect(self._go_to)
        layout.addWidget(self.slices)
        self.export = self.button(
            "Export…",
            "Write the stack with the slices that are kept; the original is not changed.",
            self.ask_where_to_export,
        )
        layout.addWidget(self.export)
        layout.addStretch(1)
        for widget in (self.run, self.stop, self.compare, self.keep, self.reject, self.export):
            widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._relist = QTimer(self)
        self._relist.setSingleShot(True)
        self._relist.timeout.connect(self._list_images)
        self._connect()
        self._list_images()
        self.show_state()

    @staticmethod
    def choices(words: Mapping[str, str], tip: str) -> QComboBox:
        """Return a list of choices, by their names, that asks for little room."""
        box = QComboBox()
        for name, text in words.items():
            box.addItem(text, name)
        box.setToolTip(tip)
        box.setMinimumContentsLength(8)
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        return box

    def choose_weights(self) -> None:
        """Ask for weights of a network; back to the bundled ones if none are chosen."""
        name, _ = QFileDialog.getOpenFileName(
            self, "Weights of the network", "", "Weights (*.safetensors)"
        )
        self.use_weights(name or None)

    def use_weights(self, path: str | None) -> None:
        """Take the weights in a file, or the bundled ones for None."""
        self.weights = path
        self.weights_file.setText("bundled" if path is None else Path(path).name)
        self.on_choice()

    def on_choice(self, *_: Any) -> None:
        """Take note that something was chosen for the next restoration."""

    def add_form(self, layout: QVBoxLayout) -> None:
        """Add the controls of the restorer."""

    def add_plot(self, layout: QVBoxLayout) -> None:
        """Add what shows the result as a plot."""

    def _connect(self) -> None:
        events, dims = self.viewer.layers.events, self.viewer.dims
        connections: list[tuple[Any, Any]] = [
            (events.inserted, self._on_layers),
            (events.removed, self._on_layers),
            (events.reordered, self._on_layers),
            (dims.events.current_step, self._on_slice),
        ]
        for emitter, callback in connections:
            emitter.connect(callback)
            self.at_end.append(partial(emitter.disconnect, callback))
        open_repairs: list[SliceRepairs] = []
        self._open = open_repairs

        def save() -> None:
            while open_repairs:
                open_repairs.pop().close()

        self.at_end.append(save)

    # -- which image ---------------------------------------------------------------------

    def _on_layers(self, *_: Any) -> None:
        # Never inside an event of the layer list.
        if not self._ended.is_set():
            self._relist.start(0)

    def images(self) -> list[Any]:
        """Return the image layers that can be in work."""
        from napari.layers import Image

        return [
            layer
            for layer in self.viewer.layers
            if isinstance(layer, Image) and MARK not in layer.metadata and not layer.rgb
        ]

    def _list_images(self) -> None:
        images = self.images()
        if self.repairs is not None and self.repairs.source.layer not in self.viewer.layers:
            self._leave()
            self.say("The image in work was removed; what was restored is kept with it.")
        blocked = self.image.blockSignals(True)
        self.image.clear()
        for layer in images:
            self.image.addItem(layer.name, layer)
        self.image.blockSignals(blocked)
        if self.repairs is None and images:
            active = self.viewer.layers.selection.active
            self.choose(active if active in images else images[0])
        self._mark_image()
        self.show_state()

    def _mark_image(self) -> None:
        layer = None if self.repairs is None else self.repairs.source.layer
        places = [i for i in range(self.image.count()) if self.image.itemData(i) is layer]
        self.image.setCurrentIndex(places[0] if places else -1)

    def choose(self, layer: Image | None) -> None:
        """Take a layer as the stack in work; what was done to another one is kept."""
        if layer is None or (self.repairs is not None and self.repairs.source.layer is layer):
            return
        if self.is_busy:
            self.say("Something is running: wait for it, or cancel it.", True)
            self._mark_image()
            return
        try:
            source = ImageSource(layer)
        except SffError as error:
            self.say(str(error), True)
            self._mark_image()
            return
        self._leave()
        repairs = self.repairs = SliceRepairs(self.viewer, source, self.PURPOSE, self.LAYERS)
        self._open.append(repairs)
        repairs.said.connect(self.say)
        repairs.changed.connect(self.show_state)
        self._identify(repairs)
        self._mark_image()
        self.on_source()
        self.show_state()

    def _leave(self) -> None:
        if self.repairs is not None:
            self._open.remove(self.repairs)
            self.repairs.end()
            self.repairs = None

    def on_source(self) -> None:
        """Take note that another stack is in work."""

    def _identify(self, repairs: SliceRepairs) -> None:
        """Find the session of the stack; its first slice is read in a worker."""
        source = repairs.source
        folder = str(read_settings()["session_folder"] or "") or None

        def look(_channel: Channel) -> tuple[Identity, FileFacts]:
            first = source.read_stored((0,) * (source.ndim - 2))
            facts = facts_in_file(source.path, source.shape)
            return identify(source.shape, source.dtype, first), facts

        def found(seen: tuple[Identity, FileFacts]) -> None:
            identity, source.facts = seen
            repairs.open(identity, folder)
            self.on_session()

        ended = self._ended
        job = Job(look, lambda: not ended.is_set() and self.repairs is repairs)
        job.returned.connect(found)
        job.failed.connect(lambda text: None if ended.is_set() else self.say(text, True))
        self._looking = job
        job.start()

    def on_session(self) -> None:
        """Take note that the session of the stack was found."""

    # -- the slice that is shown ---------------------------------------------------------

    @property
    def index(self) -> Index:
        """The slice that is shown."""
        return () if self.repairs is None else self.repairs.source.index_at(self.viewer)

    def _on_slice(self, *_: Any) -> None:
        if not self._ended.is_set():
            self.show_state()

    def _overlays(self) -> list[Any]:
        return [] if self.repairs is None else self.repairs.layers.overlays()

    def show_state(self) -> None:
        """Enable what can be done now, and tell of the slice that is shown."""
        super().show_state()
        repairs, busy = self.repairs, self.is_busy
        result = None if repairs is None else repairs.store.get(self.index)
        state = "to do" if result is None else result.state
        self.image.setEnabled(not busy)
        self.run.setEnabled(repairs is not None and not busy)
        self.stop.setEnabled(busy)
        self.compare.setEnabled(result is not None and state != "rejected")
        self.keep.setEnabled(result is not None and state in ("restored", "rejected"))
        self.reject.setEnabled(result is not None and not busy)
        decided = state in ("accepted", "rejected")
        self.reject.setText("Undecided" if decided else "Reject")
        kept = repairs is not None and any(
            r.record.state == "accepted" for r in repairs.store.all()
        )
        self.export.setEnabled(kept and not busy)
        self.slices.show_slices(repairs, self.index)
        if repairs is None:
            self.about.setText("Open an image first.")
            return
        said = "" if result is None else self.describe(self.index)
        self.about.setText(f"{name_of(repairs, self.index)}: {STATES[state]}. {said}".strip())
        self.show_result(self.index)

    def describe(self, index: Index) -> str:
        """Return what there is to say of the result of a slice."""
        return ""

    def show_result(self, index: Index) -> None:
        """Show the result of a slice, if there is one, as a plot."""

    def _go_to(self, index: Index) -> None:
        if self.repairs is not None:
            self.repairs.source.show(self.viewer, index)

    # -- what a person does --------------------------------------------------------------

    def restore(self) -> None:
        """Restore the slice that is shown."""
        raise NotImplementedError

    def may_replace(self, index: Index) -> bool:
        """Ask before a slice that is kept is restored again."""
        if self.repairs is None or self.repairs.state_of(index) != "accepted":
            return True
        return (
            choose_answer(
                self.viewer,
                "This slice is kept. Restore it again? The new result will be undecided.",
                ["Restore again"],
            )
            is not None
        )

    def decide(self, state: SliceState) -> None:
        """Decide what becomes of the slice that is shown."""
        if self.repairs is not None:
            self.repairs.decide(self.index, state)
            done = {"accepted": "Kept", "rejected": "Rejected", "restored": "Undecided again"}
            self.say(f"{done.get(state, state)}; saved in {self.repairs.keeper.place}.")

    def undo_keep(self) -> None:
        """Reject an undecided slice; make a decided one undecided again."""
        if self.repairs is not None:
            undecided = self.repairs.state_of(self.index) in ("restored", "stale")
            self.decide("rejected" if undecided else "restored")

    def ask_where_to_export(self) -> None:
        """Ask for a folder and write the corrected stack there."""
        if self.repairs is None:
            return
        path = self.repairs.source.path
        base = Path(path).parent if path and Path(path).exists() else Path.home()
        name, _ = QFileDialog.getSaveFileName(
            self, "Folder to make for the corrected stack", str(base / "corrected")
        )
        if name:
            self.export_to(Path(name))

    def export_to(self, folder: Path) -> None:
        """Write the stack with the kept slices into a new folder."""
        from sff_napari.sessions.export import export

        repairs = self.repairs
        if repairs is None:
            return
        job = repairs.export_job(self.index)

        def work(channel: Channel) -> list[Path]:
            return export(
                job,
                folder,
                parts=("stack", "masks", "flow"),
                progress=channel.progress,
                cancelled=channel.cancelled,
            )

        def done(_written: list[Path]) -> None:
            count = len(job.patches)
            text = f"Exported with {count} restored slice{'s' * (count != 1)} to {folder}."
            self.say(text)
            show_note(text)

        self.start_job(work, done, lambda: True)
