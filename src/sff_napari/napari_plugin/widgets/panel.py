"""The dock widget "Fold restoration"."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt, QTimer, QUrl
from qtpy.QtGui import QDesktopServices, QKeySequence
from qtpy.QtWidgets import QPushButton, QShortcut, QVBoxLayout, QWidget

from sff_napari.errors import SffError
from sff_napari.evaluation.html_report import NAME as REPORT
from sff_napari.napari_plugin import compat
from sff_napari.napari_plugin.actions import (
    FLICKER_KEY,
    LIVE_KEY,
    bind_keys,
    napari_key,
    shortcuts,
    unbind_keys,
)
from sff_napari.napari_plugin.controller.controller import Controller
from sff_napari.napari_plugin.controller.live_preview import LivePreview
from sff_napari.napari_plugin.layers.result_layers import MARK as RESULT_MARK
from sff_napari.napari_plugin.settings import initial_form, read_settings, watch_settings
from sff_napari.napari_plugin.widgets.export_dialog import ExportDialog
from sff_napari.napari_plugin.widgets.flicker import Flicker
from sff_napari.napari_plugin.widgets.help_section import Help
from sff_napari.napari_plugin.widgets.key_guard import KeyGuard
from sff_napari.napari_plugin.widgets.options import Keys, Options
from sff_napari.napari_plugin.widgets.progress_row import ProgressRow
from sff_napari.napari_plugin.widgets.review import JudgeSection, ReviewSection
from sff_napari.napari_plugin.widgets.scrolled import lay_out_scrolled
from sff_napari.napari_plugin.widgets.sections import (
    FindSection,
    LinesSection,
    RestoreSection,
    Section,
    wrapped,
)
from sff_napari.napari_plugin.widgets.side_view import SideView
from sff_napari.napari_plugin.widgets.stack_section import StackSection, shortened
from sff_napari.napari_plugin.widgets.status_line import StatusLine
from sff_napari.napari_plugin.widgets.tooltips import NarrowToolTips
from sff_napari.napari_plugin.widgets.wheel_guard import WheelGuard

if TYPE_CHECKING:
    from napari import Viewer


_NARROW, _USUAL = 260, 272
"""Widths of the panel, px."""


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
        self.flicker = Flicker(controller, controller.overlays)
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
        self.open_folder = QPushButton("Open the exported folder")
        self.open_folder.setToolTip("Show what was exported last in the file manager.")
        self.open_folder.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.open_folder.hide()
        self.open_folder.clicked.connect(self._show_folder)
        self.open_report = QPushButton("Open the report")
        self.open_report.setToolTip("Show what was done to each slice, in the browser.")
        self.open_report.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.open_report.hide()
        self.open_report.clicked.connect(self._show_report)
        self._exported = ""
        keep.addWidget(self.open_folder)
        keep.addWidget(self.open_report)
        keep.addWidget(self.saved)
        self.options = Options(controller)
        self.keys = Keys()
        self.help = Help()
        self.progress = ProgressRow(controller)
        self.status = StatusLine(controller)
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
        self.live.gone.connect(partial(self.status.forget, LivePreview.SAID))
        self.side_view = SideView(controller, self)
        controller.saved.connect(self.saved.setText)
        controller.busy.connect(self._on_busy)
        controller.export_wanted.connect(self._export)
        controller.exported.connect(self._on_exported)
        self.restore.live.toggled.connect(self.live.set_on)
        self.restore.live.setChecked(bool(values["live_preview"]))
        self.stack.layer.activated.connect(self._on_layer_chosen)
        self.stack.mask.activated.connect(self._on_mask_chosen)
        controller.mask_changed.connect(self._show_masks)
        self.stack.other.clicked.connect(self._on_other)
        controller.source_changed.connect(self._show_source)
        self.stack.axis.activated.connect(self._on_axis_chosen)
        self._closed = False
        self._relist = QTimer(self)
        self._relist.setSingleShot(True)
        self._relist.timeout.connect(self._list_layers)
        self._connect()
        self._bind()
        self._settings = values
        self._list_layers()
        self._on_active()
        self._on_busy(False)
        # PyTorch is loaded once the panel is on screen, so that opening it is quick.
        self._warming = QTimer(self)
        self._warming.setSingleShot(True)
        self._warming.timeout.connect(controller.warm_up)
        self._warming.start(50)
        WheelGuard(self)
        NarrowToolTips(self)

    def _connect(self) -> None:
        """Listen to the viewer, and stop listening however the panel ends."""
        viewer = self.viewer
        events = viewer.layers.events
        connections: list[tuple[Any, Any]] = [
            (events.inserted, self._list_layers),
            (events.removed, self._list_layers),
            (events.reordered, self._list_layers),
            (viewer.layers.selection.events.active, self._on_active),
            (events.inserted, self.line_tools.refresh),
            (events.removed, self.line_tools.refresh),
        ]
        for emitter, callback in connections:
            emitter.connect(callback)
        undo: list[Callable[[], Any]] = [
            partial(emitter.disconnect, callback) for emitter, callback in connections
        ]
        undo.append(watch_settings(self._on_settings))
        undo.append(partial(unbind_keys, viewer))
        undo.append(KeyGuard(viewer, self).stop)
        self._end = end = self._ending(self.controller, self.live, undo)
        # The window can be deleted without closing the panel first, such as by viewer.close().
        self.destroyed.connect(lambda *_: end(True))
        window = compat.qt_window(viewer)
        if window is not None:
            window.destroyed.connect(lambda *_: end(True))

    def _build(self) -> None:
        inside = QWidget()
        inside.setObjectName("sff_panel")
        layout = QVBoxLayout(inside)
        layout.setContentsMargins(6, 6, 6, 6)
        for section in self.sections:
            layout.addWidget(section)
        layout.addWidget(self.options)
        layout.addWidget(self.keys)
        layout.addWidget(self.help)
        layout.addStretch(1)
        lay_out_scrolled(self, inside, self.progress, self.status)
        self.setMinimumWidth(_NARROW)

    def sizeHint(self) -> QSize:  # noqa: N802, the name is Qt's
        """Ask for no more width than is needed: the picture matters most."""
        return QSize(_USUAL, super().sizeHint().height())

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
        if self._closed:
            return
        images = self._images()
        box = self.stack.layer
        blocked = box.blockSignals(True)
        box.clear()
        for layer in images:
            box.addItem(layer.name, layer)
        source = self.controller.source
        box.setCurrentIndex(images.index(source.layer) if source and source.layer in images else -1)
        box.blockSignals(blocked)
        grey = [layer for layer in images if not layer.rgb]
        if source is None and grey:
            active = self.viewer.layers.selection.active
            self.controller.choose(active if active in grey else grey[-1])
        elif source is None:
            self.status.say("Open a stack, or try File > Open Sample > Folded synthetic stack.")
        self._on_active()
        self._show_masks()

    def _on_active(self, *_: Any) -> None:
        """Offer to work on the layer that a person selects; the stack in work stays."""
        if self._closed:
            return
        self.controller.leave_tool()
        active, source = self.viewer.layers.selection.active, self.controller.source
        other = active if source and active in self._images() and active != source.layer else None
        self.stack.other.setVisible(other is not None)
        if other is not None:
            self.stack.other.setText(f"Work on '{shortened(other.name)}' instead")

    def _on_other(self, *_: Any) -> None:
        active = self.viewer.layers.selection.active
        if active in self._images():
            self.controller.choose(active)

    def _on_layer_chosen(self, at: int) -> None:
        self.controller.choose(self.stack.layer.itemData(at))

    def _show_masks(self) -> None:
        from napari.layers import Labels

        self.stack.show_masks([x for x in self.viewer.layers if isinstance(x, Labels)])

    def _on_mask_chosen(self, at: int) -> None:
        self.controller.choose_mask(self.stack.mask.itemData(at))

    def _on_axis_chosen(self, at: int) -> None:
        source = self.controller.source
        if source is not None:
            self.controller.choose(source.layer, at)

    def _show_source(self) -> None:
        source = self.controller.source
        box, axis = self.stack.layer, self.stack.axis
        many = source is not None and source.ndim > 3
        axis.setVisible(many)
        self.stack.axis_label.setVisible(many)
        layers = [box.itemData(i) for i in range(box.count())]
        blocked = box.blockSignals(True)
        box.setCurrentIndex(layers.index(source.layer) if source and source.layer in layers else -1)
        box.blockSignals(blocked)
        self._on_active()
        self._show_masks()
        if source is None:
            # The stack in work was removed: another one takes its place, if there is one.
            self._relist.start(0)
            return
        axis.clear()
        labels = list(getattr(source.layer, "axis_labels", ())) or [""] * source.ndim
        for i in range(source.ndim - 2):
            axis.addItem(f"axis {i} {labels[i]}".strip())
        axis.setCurrentIndex(source.axis)
        if source.ndim == 2:
            self.status.say(
                "This is a single image: folds can be found in it, but nothing can be restored "
                "without neighbouring slices."
            )
        else:
            self.status.say(f"Working on '{source.layer.name}'.")

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
            self.status.say("The new session folder is used from the next stack on.")

    def _export(self) -> None:
        if not self.controller.ready():
            return
        try:
            ExportDialog(self.controller, self).exec()
        except SffError as error:
            self.controller.fail(str(error))

    def _on_exported(self, folder: str) -> None:
        self._exported = folder
        self.open_folder.show()
        self.open_report.setVisible((Path(folder) / REPORT).is_file())

    def _show_folder(self, *_: Any) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(self._exported))

    def _show_report(self, *_: Any) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(Path(self._exported) / REPORT)))

    def closeEvent(self, event: Any) -> None:  # noqa: N802
        """Save and stop when napari closes the panel."""
        self.shut_down()
        super().closeEvent(event)

    def shut_down(self) -> None:
        """Stop jobs, save what is left and let go of the viewer."""
        if not self._closed:
            self._closed = True
            self._end(False)

    @staticmethod
    def _ending(
        controller: Controller, live: LivePreview, undo: list[Callable[[], Any]]
    ) -> Callable[[bool], None]:
        """Return what ends the panel's work, without the widgets: Qt may have deleted them."""
        over: list[bool] = []

        def end(viewer_ends: bool) -> None:
            if over:
                return
            over.append(True)
            for each in undo:
                with suppress(ValueError, RuntimeError, TypeError, KeyError, AttributeError):
                    each()
            with suppress(RuntimeError):
                live.set_on(False)
            controller.close(viewer_ends=viewer_ends)

        return end
