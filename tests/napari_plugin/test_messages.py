"""What the panel says, how long it says it, and that its keys act wherever the keyboard is."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

DAMAGED = 2
LINE = [(0.0, 96.0), (223.0, 130.0)]


@pytest.fixture
def warnings(monkeypatch):
    """The sentences that were shown as warnings."""
    shown: list[str] = []
    monkeypatch.setattr("sff_napari.napari_plugin.controller.controller.show_problem", shown.append)
    return shown


def test_keys_in_the_layer_list_act_and_select_no_layer(panel, draw, settle, qtbot):
    c, viewer = panel.controller, panel.viewer
    draw(c, LINE)
    for name in ("nucleus", "hidden"):  # their first letters are keys of the plugin
        viewer.add_image(np.zeros((5, 224, 224), np.uint8), name=name)
    active = viewer.layers["stack"]
    viewer.layers.selection.active = active
    layers = viewer.window._qt_viewer.layers
    QTest.keyClick(layers, Qt.Key.Key_H)
    assert viewer.layers.selection.active is active
    panel.flicker.release()
    QTest.keyClick(layers, Qt.Key.Key_N)
    settle(c)
    assert viewer.layers.selection.active is c.lines.layer
    assert c.lines.layer.mode == "add_line"
    c.end_tool()
    QTest.keyClick(layers, Qt.Key.Key_Delete, Qt.KeyboardModifier.ShiftModifier)
    settle(c)
    assert not c.lines.records, "the line is deleted, not the layer"
    assert {"nucleus", "hidden", "stack"} <= {layer.name for layer in viewer.layers}


def test_a_single_image_is_refused_with_the_reason(open_panel, folded_stack, draw, warnings):
    panel = open_panel(folded_stack[DAMAGED])
    draw(panel.controller, LINE)
    panel.restore.buttons["restore"].click()
    assert "A single image cannot be restored" in warnings[-1]
    assert panel.status.text() == warnings[-1]


def test_accept_without_a_result_says_what_is_missing(panel, draw):
    draw(panel.controller, LINE)
    panel.review.buttons["accept"].click()
    assert "not restored yet" in panel.status.text()


def test_a_colour_image_is_refused_and_the_box_names_the_stack_in_work(panel, warnings, settle):
    panel.viewer.add_image(np.zeros((8, 8, 3), np.uint8), rgb=True, name="photo")
    box = panel.stack.layer
    box.setCurrentIndex(box.findText("photo"))
    box.activated.emit(box.findText("photo"))
    assert "'photo' is a colour image" in warnings[-1]
    assert panel.status.text() == warnings[-1]
    assert box.currentText() == "stack"
    assert panel.controller.source.layer.name == "stack"


def test_sentences_go_with_what_they_tell(panel, draw, give_result, until, settle):
    c = panel.controller
    draw(c, LINE)
    give_result(c)
    c.accept_slice()
    assert panel.status.text() == "Accepted."
    c.go_to((DAMAGED + 1,))
    until(lambda: panel.status.text() == "")
    c.undo()  # it goes to the slice, and its sentence stays there
    settle(c)
    told = panel.status.text()
    assert told.startswith("Undid: accepting")
    panel.viewer.window._qt_viewer.update()
    until(lambda: not c._settled.isActive())
    assert panel.status.text() == told
    c.busy.emit(True)
    c.status.emit("Something is still running: wait for it, or cancel it.")
    c.busy.emit(False)
    assert panel.status.text() == ""
