"""Simulating a fold, fold line files, the sample, the live preview, the panel itself."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from napari.layers import Shapes
from napari.utils.events import EventedModel
from pydantic import create_model
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QDialogButtonBox,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QScrollBar,
    QTableWidget,
    QTextEdit,
)

from sff_napari.errors import InputError
from sff_napari.napari_plugin import compat
from sff_napari.napari_plugin.actions import ACTIONS
from sff_napari.napari_plugin.io.fold_lines_reader import get_reader
from sff_napari.napari_plugin.io.fold_lines_writer import write_fold_lines
from sff_napari.napari_plugin.io.sample import TRUTH, folded_stack
from sff_napari.napari_plugin.menus import new_fold_lines
from sff_napari.napari_plugin.settings import DEFAULTS, PLUGIN
from sff_napari.napari_plugin.widgets.export_dialog import ExportDialog
from sff_napari.napari_plugin.widgets.simulate import SimulateWidget
from sff_napari.restoration.preview import SIDE
from sff_napari.stacks import read_folds

DAMAGED = 2
LINE = [(0.0, 96.0), (223.0, 130.0)]
REAL_SETTINGS = compat.register_plugin_settings


def test_simulating_a_fold_gives_a_stack_with_known_truth(
    make_napari_viewer, clean_stack, until, open_panel, draw, finish
):
    viewer = make_napari_viewer()
    layer = viewer.add_image(clean_stack, name="mine", scale=(9, 2, 2))
    widget = SimulateWidget(viewer)
    viewer.window.add_dock_widget(widget)
    viewer.dims.set_point(0, 3 * 9)
    widget.run.click()
    assert "Draw a line" in widget.status.text()
    widget.draw.click()
    lines = viewer.layers.selection.active
    assert lines.mode == "add_line"
    lines.add([np.array([[3, *p] for p in LINE])], shape_type="line")
    widget.run.click()
    until(lambda: "mine folded" in viewer.layers)
    made = viewer.layers["mine folded"]
    assert not np.array_equal(made.data[3], clean_stack[3])
    np.testing.assert_array_equal(made.data[2], clean_stack[2])
    np.testing.assert_array_equal(made.metadata[TRUTH][(3,)], clean_stack[3])
    np.testing.assert_array_equal(layer.data, clean_stack)
    np.testing.assert_allclose(made.scale, layer.scale)


def test_the_small_panel_leaves_room_to_the_large_one(make_napari_viewer, until):
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1200, 900)
    large = QTextEdit()
    viewer.window.add_dock_widget(large, area="right")
    small = SimulateWidget(viewer)
    viewer.window.add_dock_widget(small, area="right")
    until(lambda: large.height() > small.height() > 100, 20)


def test_simulating_needs_an_image(make_napari_viewer):
    widget = SimulateWidget(make_napari_viewer())
    widget.run.click()
    assert "Open a stack" in widget.status.text()
    widget.draw.click()
    assert "Open a stack" in widget.status.text()


def test_fold_lines_survive_writing_and_reading(panel, draw, tmp_path, make_napari_viewer, until):
    c = panel.controller
    draw(c, LINE)
    draw(c, [(50.0, 20.0), (60.0, 90.0), (110.0, 160.0)], (4,))
    path = tmp_path / "folds.json"
    written = panel.viewer.layers["folds"].save(str(path), plugin="sff-napari")
    assert written == [str(path)]
    assert {z: len(f) for z, f in read_folds(path).folds.items()} == {2: 1, 4: 1}
    (layer,) = panel.viewer.open(str(path), plugin="sff-napari")
    assert isinstance(layer, Shapes)
    assert list(layer.features["slice"]) == [2, 4]
    np.testing.assert_allclose(layer.data[0], [[2, *p] for p in LINE])
    c.lines.remove(list(c.lines.records))
    assert panel.line_tools.file_lines.isVisibleTo(panel)
    panel.line_tools.file_lines.click()
    assert sorted(r.index for r in c.lines.records.values()) == [(2,), (4,)]
    assert not panel.line_tools.file_lines.isVisibleTo(panel)


def test_the_reader_leaves_other_files_alone(tmp_path):
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"format": "other"}))
    assert get_reader(str(other)) is None
    other.write_text("{")
    assert get_reader(str(other)) is None
    assert get_reader(str(tmp_path / "missing.json")) is None
    assert get_reader("image.tif") is None
    other.write_text(json.dumps({"format": "sff-napari-folds", "version": 1, "folds": []}))
    reader = get_reader([str(other)])
    ((data, kwargs, kind),) = reader([str(other)])
    assert kind == "shapes"
    assert not data
    Shapes(data, **kwargs)


def test_the_writer_refuses_a_layer_without_lines(tmp_path):
    with pytest.raises(InputError, match="no line"):
        write_fold_lines(str(tmp_path / "a.json"), [], {})


def test_the_sample_is_a_folded_stack():
    ((data, kwargs, kind),) = folded_stack((5, 192, 192), folded=(1, 3))
    assert kind == "image"
    assert data.shape == (5, 192, 192)
    for (z,), clean in kwargs["metadata"][TRUTH].items():
        assert not np.array_equal(data[z], clean)
    assert sorted(kwargs["metadata"][TRUTH]) == [(1,), (3,)]


def test_live_preview_while_a_line_is_dragged(panel, draw, until, true_fold):
    c = panel.controller
    draw(c, true_fold.vertices)
    layer = c.lines.layer
    panel.live.request(layer)
    assert panel.live._next is None, "it is off by default"
    panel.restore.live.setChecked(True)

    class Event:
        type = "mouse_press"

    event = Event()
    drag = panel.live._on_drag(layer, event)
    next(drag)
    event.type = "mouse_move"
    for shift in range(6):
        points = layer.data[0].copy()
        points[0, 2] += shift
        layer._data_view.edit(0, points)
        next(drag)
    event.type = "mouse_release"
    with pytest.raises(StopIteration):
        next(drag)
    until(lambda: "preview" in panel.viewer.layers)
    until(lambda: panel.live._job is None)
    preview = panel.viewer.layers["preview"]
    assert max(preview.data[DAMAGED].shape) <= 1.5 * SIDE
    assert np.isnan(preview.data[0]).all()
    assert np.isfinite(preview.data[DAMAGED]).any()
    extent = panel.viewer.layers["stack"].extent.world
    np.testing.assert_allclose(preview.extent.world, extent, atol=2 * 4.6)
    assert len(panel.live.seconds) <= 4, "requests are throttled"
    panel.restore.live.setChecked(False)
    assert "preview" not in panel.viewer.layers


def test_every_control_has_a_tooltip(panel, make_napari_viewer, qtbot):
    kinds = (QAbstractButton, QAbstractSlider, QAbstractSpinBox, QComboBox, QLineEdit, QTableWidget)
    simulate = SimulateWidget(panel.viewer)
    dialog = ExportDialog(panel.controller)
    for widget in (simulate, dialog):
        qtbot.addWidget(widget)
    bare, seen = [], 0
    for top in (panel, simulate, dialog):
        for kind in kinds:
            for widget in top.findChildren(kind):
                # Parts of a control, as the arrows of a box, share its tooltip.
                inner = widget
                while inner is not None and inner is not top and not inner.toolTip():
                    inner = inner.parentWidget()
                buttons = isinstance(widget.parentWidget(), QDialogButtonBox)
                if isinstance(widget, QScrollBar) or buttons:
                    continue
                seen += 1
                if inner is None or inner is top:
                    bare.append((type(top).__name__, type(widget).__name__, widget.objectName()))
    assert bare == []
    assert seen > 50


def test_every_action_has_a_button_and_a_key_of_its_own(panel):
    keys = [action.key for action in ACTIONS.values()]
    assert all(keys)
    assert len(set(keys)) == len(keys)
    texts = {button.text() for button in panel.findChildren(QPushButton)}
    slider = {"wider", "narrower"}  # their button is the slider
    missing = [a.name for a in ACTIONS.values() if a.text not in texts and a.name not in slider]
    assert missing == []
    assert panel.line_tools.width.toolTip()


def test_the_panel_scrolls_on_a_small_screen(panel):
    panel.resize(300, 300)
    assert panel.minimumSizeHint().height() < 300
    (scroll,) = [s for s in panel.findChildren(QScrollArea) if s.parent() is panel]
    assert scroll.widget().sizeHint().height() > 600
    assert scroll.widget().minimumSizeHint().width() <= 330


def test_keys_are_listed_and_bound(panel, draw):
    draw(panel.controller, LINE)
    bound = {str(key) for key in panel.viewer.keymap}
    text = panel.keys.content().findChild(type(panel.status)).text()
    for action in ACTIONS.values():
        assert action.key in text
    assert len(bound) >= len(ACTIONS) + 2
    assert {str(key) for key in panel.controller.lines.layer.keymap} >= bound


def test_options_reach_the_core_arguments(panel):
    options, c = panel.options, panel.controller
    options.tile.setValue(512)
    box = options.methods["unfolding"]
    assert box.currentText() == "fitted law of the fold (default)"
    box.setCurrentText("trained network")
    options.skip.setChecked(False)
    options.cover.setValue(3)
    options.threshold.setValue(0.4)
    options.max_folds.setValue(2)
    options.weights.setText("/nowhere")
    options.weights.editingFinished.emit()
    assert c.form.as_restore_arguments() == {
        "device": "auto",
        "unfolding": "network",
        "tile": 512,
        "cover": 3.0,
        "weights": "/nowhere",
    }
    assert c.form.as_detect_arguments() == {"device": "auto", "max_folds": 2, "threshold": 0.4}
    assert "cannot be read" in options.card.text()
    assert not options.card.isVisibleTo(options)
    options.more.click()
    assert options.card.isVisibleTo(options)
    options.device.setCurrentText("cpu")
    assert panel.stack.device.text() == "cpu"


def test_the_stack_changes_only_in_the_panel(panel, clean_stack, qtbot):
    second = panel.viewer.add_image(clean_stack[:, :100], name="second")
    assert panel.controller.source.layer.name == "stack", "a new layer changes nothing"
    assert panel.viewer.layers.selection.active is second
    assert panel.stack.layer.currentText() == "stack"
    assert panel.stack.other.isVisibleTo(panel)
    assert panel.stack.other.text() == "Work on 'second' instead"
    qtbot.mouseClick(panel.stack.other, Qt.MouseButton.LeftButton)
    assert panel.controller.source.layer is second
    assert panel.stack.layer.currentText() == "second"
    assert not panel.stack.other.isVisibleTo(panel)
    panel.viewer.layers.selection.active = panel.viewer.layers["stack"]
    assert panel.controller.source.layer is second
    panel.stack.layer.setCurrentIndex(0)
    panel.stack.layer.activated.emit(0)
    assert panel.controller.source.layer.name == "stack"


def test_colour_and_flat_images_are_explained(open_panel, monkeypatch):
    told = []
    monkeypatch.setattr("sff_napari.napari_plugin.controller.controller.show_problem", told.append)
    panel = open_panel(np.zeros((64, 64), np.uint8), ready=False)
    assert "without neighbouring slices" in panel.status.text()
    panel.viewer.add_image(np.zeros((64, 64, 3), np.uint8), name="photo", rgb=True)
    box = panel.stack.layer
    box.setCurrentIndex(box.findText("photo"))
    box.activated.emit(box.currentIndex())
    assert "colour image" in told[-1]
    assert box.currentText() == "stack" == panel.controller.source.layer.name
    panel.viewer.layers.clear()
    panel.controller.detect_here()
    assert "no image" in told[-1]


def test_the_annotate_menu_opens_the_panel_with_the_drawing_tool(
    make_napari_viewer, folded_stack, until
):
    viewer = make_napari_viewer()
    viewer.add_image(folded_stack)
    new_fold_lines(viewer)
    until(lambda: viewer.layers.selection.active.name == "folds")
    assert viewer.layers.selection.active.mode == "add_line"
    widget = viewer.window._wrapped_dock_widgets["Fold restoration (sff-napari)"]
    widget.inner_widget().shut_down() if callable(getattr(widget, "inner_widget", None)) else None


def test_light_theme(panel, draw, qtbot):
    panel.viewer.theme = "light"
    draw(panel.controller, LINE)
    panel.judge.refresh()
    panel.viewer.theme = "dark"


@pytest.fixture
def preferences(monkeypatch):
    """The plugin's section of napari's preferences, not that of the person who runs the tests."""
    fields = {name: (type(value), value) for name, value in DEFAULTS.items()}
    section = create_model("Section", __base__=EventedModel, **fields)()
    real = REAL_SETTINGS(PLUGIN)
    assert real is None or {"connect", "disconnect"} <= set(dir(real.restoration.events))
    monkeypatch.setattr(
        compat, "register_plugin_settings", lambda _: SimpleNamespace(restoration=section)
    )
    return section


def test_changed_settings_reach_an_open_panel(
    preferences, panel, tmp_path, draw, give_result, until
):
    section, c = preferences, panel.controller
    draw(c, LINE)
    give_result(c)
    panel.options.cover.setValue(3)
    section.max_folds = 3
    section.skip_damaged = False
    section.device = "cpu"
    section.live_preview = True
    section.show_flow = False
    section.show_reference = True
    section.session_folder = str(tmp_path)
    assert (c.form.max_folds, c.form.skip_damaged, c.form.device) == (3, False, "cpu")
    assert c.form.cover == 3, "what was chosen in the panel stays"
    assert panel.live.on
    assert panel.restore.live.isChecked()
    until(lambda: "flow" not in panel.viewer.layers)
    until(lambda: "reference" in panel.viewer.layers)
    assert c.session_folder == str(tmp_path)
    assert panel.options.max_folds.value() == 3
    panel.shut_down()
    section.max_folds = 5
    assert c.form.max_folds == 3, "a closed panel follows nothing"
