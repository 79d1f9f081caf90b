"""The dock widget "Fold restoration"."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QLabel, QScrollArea, QShortcut, QVBoxLayout, QWidget

from sff_napari.errors import SffError
from sff_napari.napari_plugin import compat
from sff_napari.napari_plugin.actions import (
    FLICKER_KEY,
    LIVE_KEY,
    bind_keys,
    napari_key,
    shortcuts,
    unbind_keys,
)
from sff_napari.napari_plugin.controller import Controller
from sff_napari.napari_plugin.export import ExportDialog
from sff_napari.napari_plugin.live import LivePreview
from sff_napari.napari_plugin.options import Keys, Options
from sff_napari.napari_plugin.results import MARK as RESULT_MARK
from sff_napari.napari_plugin.review import Flicker, JudgeSection, ReviewSection
from sff_napari.napari_plugin.sections import (
    FindSection,
    LinesSection,
    RestoreSection,
    Section,
    StackSection,
    wrapped,
)
from sff_napari.napari_plugin.settings import initial_form, read_settings, watch_settings
from sff_napari.napari_plugin.side_view import SideView

if TYPE_CHECKING:
    from napari import Viewer


class RestorationWidget(QWidget):
    """Find folds, correct their lines, restore, judge and keep.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer whose stack is repaired.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer = compat.real_viewer(napari_viewer)
        values = read_settings()
        self.controller = controller = Controller(napari_viewer, initial_form(values))
        controller.session_folder = str(values["session_folder"] or "") or None
        controller.on_fold_layer = self._on_fold_layer
        self.flicker = Flicker(controller)
        self.stack = StackSection(controller)
        self.find = FindSection(controller)
        self.line_tools = LinesSection(controller)
        self.restore = RestoreSection(controller)
        self.judge = JudgeSection(controller, self.flicker)
        self.review = ReviewSection(controller)
        self.keep = Section("6  Keep", controller)
        keep = QVBoxLayout(self.keep)
        self.saved = wrapped("Your work is saved as it happens.")
        self.saved.setToolTip("When and where your work was saved last.")
        keep.addWidget(self.keep.add_button("export"))
        keep.addWidget(self.saved)
        self.options = Options(controller)
        self.keys = Keys()
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.setToolTip("What happened last.")
        self.sections: tuple[Section, ...] = (
            self.stack,
            self.find,
            self.line_tools,
            self.restore,
            self.judge,
            self.review,
            self.keep,
        )
        self._build()
        self.live = LivePreview(controller)
        self.side_view = SideView(controller, self.judge.side)
        controller.status.connect(self.status.setText)
        controller.saved.connect(self.saved.setText)
        controller.busy.connect(self._on_busy)
        controller.export_wanted.connect(self._export)
        self.restore.live.toggled.connect(self.live.set_on)
        self.restore.live.setChecked(bool(values["live_preview"]))
        self.stack.layer.activated.connect(self._on_layer_chosen)
        self.stack.axis.activated.connect(self._on_axis_chosen)
        events = napari_viewer.layers.events
        events.inserted.connect(self._list_layers)
        events.removed.connect(self._list_layers)
        events.reordered.connect(self._list_layers)
        napari_viewer.layers.selection.events.active.connect(self._on_active)
        self._bind()
        self._settings = values
        self._end_watching = watch_settings(self._on_settings)
        self._closed = False
        self._list_layers()
        self._on_active()
        self._on_busy(False)
        # PyTorch is loaded once the panel is on screen, so that opening it is quick.
        QTimer.singleShot(50, self._warm_up)

    def _warm_up(self) -> None:
        if not self._closed:
            self.controller.warm_up()

    def _build(self) -> None:
        inside = QWidget()
        inside.setObjectName("sff_panel")
        layout = QVBoxLayout(inside)
        layout.setContentsMargins(6, 6, 6, 6)
        for section in self.sections:
            layout.addWidget(section)
        layout.addWidget(self.options)
        layout.addWidget(self.keys)
        layout.addStretch(1)
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inside)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll, 1)
        self.status.setContentsMargins(6, 4, 6, 4)
        outer.addWidget(self.status)
        self.setMinimumWidth(280)

    # -- keys ----------------------------------------------------------------------------

    def _bind(self) -> None:
        bind_keys(self.viewer, self.controller)
        self._bind_held(self.viewer)
        self._shortcuts = shortcuts(self, self.controller)
        toggle = QShortcut(QKeySequence(LIVE_KEY), self)
        toggle.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        toggle.activated.connect(self.restore.live.toggle)
        self._shortcuts.append(toggle)

    def _bind_held(self, target: Any) -> None:
        def hold(_: Any) -> Any:
            self.flicker.press()
            yield
            self.flicker.let_go()

        target.bind_key(napari_key(FLICKER_KEY), hold, overwrite=True)
        target.bind_key(napari_key(LIVE_KEY), lambda _: self.restore.live.toggle(), overwrite=True)

    def _on_fold_layer(self, layer: Any) -> None:
        bind_keys(layer, self.controller)
        self._bind_held(layer)
        self.live.watch(layer)
        layer.mouse_wheel_callbacks.append(self._on_wheel)

    def _on_wheel(self, _layer: Any, event: Any) -> None:
        if "Shift" not in event.modifiers:
            return
        turn = sum(event.delta)
        if turn:
            self.controller.widen(1.05 if turn > 0 else 1 / 1.05)
        event.handled = True

    # -- which image ------------------------------------------------------------------------

    def _images(self) -> list[Any]:
        from napari.layers import Image

        return [
            layer
            for layer in self.viewer.layers
            if isinstance(layer, Image) and RESULT_MARK not in layer.metadata
        ]

    def _list_layers(self, *_: Any) -> None:
        images = self._images()
        box = self.stack.layer
        blocked = box.blockSignals(True)
        box.clear()
        for layer in images:
            box.addItem(layer.name, layer)
        source = self.controller.source
        if source is not None and source.layer in images:
            box.setCurrentIndex(images.index(source.layer))
        box.blockSignals(blocked)
        if source is None and images:
            self._choose(images[-1])
        elif source is None:
            self.status.setText("Open a stack, or try File > Open Sample > Folded synthetic stack.")

    def _on_active(self, *_: Any) -> None:
        """Follow the layer that a person selects, unless something is running."""
        active = self.viewer.layers.selection.active
        if active in self._images() and not self.controller.is_busy:
            self._choose(active)

    def _on_layer_chosen(self, at: int) -> None:
        self._choose(self.stack.layer.itemData(at))

    def _on_axis_chosen(self, at: int) -> None:
        source = self.controller.source
        if source is not None:
            self.controller.choose(source.layer, at)
            self._show_source()

    def _choose(self, layer: Any) -> None:
        self.controller.choose(layer)
        self._show_source()

    def _show_source(self) -> None:
        source = self.controller.source
        box, axis = self.stack.layer, self.stack.axis
        many = source is not None and source.ndim > 3
        axis.setVisible(many)
        self.stack.axis_label.setVisible(many)
        if source is None:
            return
        blocked = box.blockSignals(True)
        box.setCurrentIndex(box.findText(source.layer.name))
        box.blockSignals(blocked)
        axis.clear()
        labels = list(getattr(source.layer, "axis_labels", ())) or [""] * source.ndim
        for i in range(source.ndim - 2):
            axis.addItem(f"axis {i} {labels[i]}".strip())
        axis.setCurrentIndex(source.axis)
        if source.ndim == 2:
            self.status.setText(
                "A single image has no neighbours to be restored from: open a stack."
            )

    # -- the rest ------------------------------------------------------------------------------

    def _on_busy(self, busy: bool) -> None:
        for section in self.sections:
            section.set_busy(busy)

    def _on_settings(self, *_: Any) -> None:
        """Follow napari's preferences while the panel is open."""
        now = read_settings()
        changed = {key: value for key, value in now.items() if value != self._settings[key]}
        self._settings = now
        if not changed or self._closed:
            return
        self.options.take_settings(changed)
        if "live_preview" in changed:
            self.restore.live.setChecked(bool(changed["live_preview"]))
        if "session_folder" in changed:
            self.controller.session_folder = str(changed["session_folder"] or "") or None
            self.status.setText("The new session folder is used from the next stack on.")

    def _export(self) -> None:
        if not self.controller.ready():
            return
        try:
            ExportDialog(self.controller, self).exec()
        except SffError as error:
            self.controller.fail(str(error))

    def closeEvent(self, event: Any) -> None:  # noqa: N802
        """Save and stop when napari closes the panel."""
        self.shut_down()
        super().closeEvent(event)

    def shut_down(self) -> None:
        """Stop jobs, save what is left and let go of the viewer."""
        if self._closed:
            return
        self._closed = True
        events = self.viewer.layers.events
        for emitter, callback in (
            (events.inserted, self._list_layers),
            (events.removed, self._list_layers),
            (events.reordered, self._list_layers),
            (self.viewer.layers.selection.events.active, self._on_active),
        ):
            with suppress(ValueError, RuntimeError, TypeError):
                emitter.disconnect(callback)
        with suppress(KeyError, RuntimeError, AttributeError):
            unbind_keys(self.viewer)
        self._end_watching()
        self.live.set_on(False)
        self.controller.close()
