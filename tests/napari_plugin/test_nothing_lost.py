"""Clicks, keys and wheels in a real window that must not lose or change work by accident."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import tensorstore
from qtpy.QtCore import QPoint, QPointF, Qt, QTimer
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication, QComboBox, QMessageBox

from sff_napari.napari_plugin.widgets import questions
from sff_napari.sessions import Sidecar

DAMAGED = 2
LINE = [(0.0, 96.0), (223.0, 130.0)]


@pytest.fixture
def restored(panel, draw, give_result, settle):
    """A panel with a line and an undecided result on its damaged slice."""
    draw(panel.controller, LINE)
    give_result(panel.controller)
    settle(panel.controller)
    return panel


def turn_wheel(widget, steps=-1):
    """Turn the mouse wheel over the middle of a widget."""
    at = widget.rect().center()
    event = QWheelEvent(
        QPointF(at),
        QPointF(widget.mapToGlobal(at)),
        QPoint(0, 0),
        QPoint(0, 120 * steps),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, event)


# -- the wheel ---------------------------------------------------------------------------------


def test_the_wheel_over_the_panel_changes_no_value(restored, clean_stack, qtbot):
    c = restored.controller
    restored.viewer.add_image(clean_stack, name="other")
    restored.review.buttons["accept"].click()
    slider = restored.line_tools.width
    before = c.form, slider.value()
    controls = [w for w in restored.findChildren(QComboBox) if w.count()]
    controls += [restored.options.tile, restored.options.cover, restored.options.max_folds]
    controls += [w for w in slider.findChildren(object) if hasattr(w, "wheelEvent")]
    for widget in [slider, slider._slider, *controls]:
        for steps in (-1, 1, 1):
            turn_wheel(widget, steps)
    restored.stack.layer.setFocus()
    turn_wheel(restored.stack.layer, -1)
    assert c.source.layer.name == "stack" == restored.stack.layer.currentText()
    assert (c.form, slider.value()) == before
    assert c.state_of((DAMAGED,)) == "accepted"


def test_the_wheel_scrolls_the_panel_even_over_a_control(restored, until):
    from qtpy.QtWidgets import QScrollArea

    restored.viewer.window._qt_window.resize(900, 500)
    until(lambda: restored.findChild(QScrollArea).verticalScrollBar().maximum() > 50)
    bar = restored.findChild(QScrollArea).verticalScrollBar()
    control = restored.stack.layer
    # Qt hands on what a widget ignores only for events of the window system: so here by hand.
    while control is not bar.parent() and bar.value() == 0:
        turn_wheel(control)
        control = control.parentWidget()
    assert bar.value() > 0


# -- undo --------------------------------------------------------------------------------------


def press(widget, keys, until=None):
    """Press keys while the canvas has the keyboard."""
    from qtpy.QtTest import QTest

    QTest.keySequence(widget, keys)


def test_undo_takes_back_what_was_done_last(restored, settle, answers):
    c = restored.controller
    undo = restored.line_tools.buttons["undo"]
    restored.review.buttons["reject"].click()
    undo.click()
    assert c.state_of((DAMAGED,)) == "restored", "not the line, the decision"
    assert len(c.lines.records) == 1
    assert "Undid: rejecting the slice (slice 2)" in restored.status.text()
    undo.click()
    assert c.state_of((DAMAGED,)) == "to do"
    assert len(c.lines.records) == 1
    settle(c)
    shown = np.asarray(restored.viewer.layers["restored"].data[DAMAGED])
    np.testing.assert_array_equal(shown, c.source.read((DAMAGED,)))
    undo.click()
    assert c.lines.records == {}
    for state in ("to do", "restored", "rejected"):
        restored.line_tools.buttons["redo"].click()
        assert c.state_of((DAMAGED,)) == state
    assert not answers, "nothing was accepted: nothing was asked"


def test_undo_goes_to_the_slice_it_concerns_and_asks_before_an_accepted_one(
    restored, draw, give_result, answers
):
    c = restored.controller
    restored.review.buttons["accept"].click()
    draw(c, [(5.0, 5.0), (90.0, 9.0)], (4,))
    c.go_to((0,))
    c.undo()
    assert c.index == (4,)
    assert "drawing a line (slice 4)" in restored.status.text()
    answers.answer = None
    c.go_to((0,))
    c.undo()
    assert c.state_of((DAMAGED,)) == "accepted"
    assert "Slice 2 is accepted" in answers[-1]
    assert c.index == (0,)
    answers.answer = 0
    c.undo()
    assert c.state_of((DAMAGED,)) == "restored"
    assert c.index == (DAMAGED,)


def test_undo_of_a_search_takes_back_one_slice(panel, draw, finish):
    c = panel.controller
    from sff_napari import Fold

    c._add_found((1,), [Fold(LINE, 5.0, score=0.9, source="detected")])
    c._add_found((3,), [Fold(LINE, 5.0, score=0.9, source="detected")])
    panel.line_tools.buttons["undo"].click()
    assert [r.index for r in c.lines.records.values()] == [(1,)]
    assert c.index == (3,)


def test_results_that_were_taken_back_are_read_from_disk_again(restored, give_result):
    c = restored.controller
    give_result(c, value=90)
    c.keeper.wait()
    QApplication.processEvents()
    assert c.work.history.next_undo.results[(DAMAGED,)][1].arrays == {}
    c.undo()
    assert c.store.array((DAMAGED,), "restored").max() == 77
    c.redo()
    assert c.store.array((DAMAGED,), "restored").max() == 90


def test_discarding_and_taking_back_a_decision(restored, answers):
    c = restored.controller
    buttons = restored.review.buttons
    buttons["accept"].click()
    buttons["reopen"].click()
    assert c.state_of((DAMAGED,)) == "restored"
    buttons["reject"].click()
    buttons["reopen"].click()
    assert c.state_of((DAMAGED,)) == "restored"
    buttons["discard"].click()
    assert c.state_of((DAMAGED,)) == "to do"
    assert not answers
    c.undo()
    buttons["accept"].click()
    answers.answer = None
    buttons["discard"].click()
    assert c.state_of((DAMAGED,)) == "accepted"
    assert "Discard its restoration" in answers[-1]


def test_the_question_is_a_dialog_whose_default_is_to_do_nothing(panel, qtbot):
    seen = []

    def answer(name):
        box = QApplication.activeModalWidget()
        assert isinstance(box, QMessageBox)
        seen.append(box.defaultButton().text())
        if name is None:
            qtbot.keyClick(box, Qt.Key.Key_Escape)
            return
        (button,) = [b for b in box.buttons() if b.text().replace("&", "") == name]
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    for name, expected in (("Undo", 0), ("Other", 1), (None, None)):
        QTimer.singleShot(100, lambda name=name: answer(name))
        assert questions.choose_answer(panel.viewer, "Really?", ["Undo", "Other"]) == expected
    assert all("Cancel" in text for text in seen)


# -- accepted slices -----------------------------------------------------------------------------


def test_restoring_an_accepted_slice_asks_first(restored, answers, finish, until):
    c = restored.controller
    c.accept_slice()
    answers.answer = None
    restored.restore.buttons["restore"].click()
    assert not c.is_busy
    assert "is accepted" in answers[-1]
    assert c.state_of((DAMAGED,)) == "accepted"
    c.set_half_width(7.0)
    answers.answer = 1
    restored.restore.buttons["restore_all"].click()
    assert "accepted have changed" in answers[-1]
    assert not c.is_busy
    answers.answer = 0
    restored.restore.buttons["restore"].click()
    finish(c)
    assert c.state_of((DAMAGED,)) == "restored"
    c.undo()
    assert c.store.get((DAMAGED,)).record.state == "accepted"
    assert c.store.array((DAMAGED,), "restored").max() == 77


def test_searching_leaves_accepted_slices_alone(restored, finish, answers):
    c = restored.controller
    c.accept_slice()
    restored.find.buttons["detect_all"].click()
    finish(c)
    assert c.state_of((DAMAGED,)) == "accepted"
    answers.answer = None
    restored.find.buttons["detect"].click()
    assert not c.is_busy
    assert "is accepted" in answers[-1]


def test_detecting_beside_an_offer_asks_first(restored, open_panel, folded_stack, answers, finish):
    restored.shut_down()
    again = open_panel(folded_stack)
    c = again.controller
    assert again.stack.offer.isVisibleTo(again)
    answers.answer = None
    for name in ("detect", "detect_all"):
        again.find.buttons[name].click()
        assert "Continue it, or start anew" in answers[-1]
        assert not c.is_busy
    again.line_tools.buttons["line"].click()
    assert len(answers) == 3
    assert again.stack.offer.isVisibleTo(again)
    answers.answer = 0
    again.find.buttons["detect"].click()
    finish(c)
    assert c.state_of((DAMAGED,)) == "restored"


def test_layers_that_were_deleted_come_back(restored, settle):
    c = restored.controller
    layers = restored.viewer.layers
    assert not restored.judge.buttons["show_results"].isVisibleTo(restored)
    for name in ("restored", "folds"):
        layers.remove(name)
    settle(c)
    button = restored.judge.buttons["show_results"]
    assert button.isVisibleTo(restored)
    button.click()
    settle(c)
    assert (layers["restored"].data[DAMAGED] == 77).all()
    assert len(layers["folds"].data) == 1
    assert not button.isVisibleTo(restored)


# -- other programs --------------------------------------------------------------------------------


def test_data_exchanged_by_another_program(restored, settle, monkeypatch, finish, folded_stack):
    told = []
    monkeypatch.setattr("sff_napari.napari_plugin.controller.controller.show_problem", told.append)
    c = restored.controller
    c.accept_slice()
    other = folded_stack[:, ::-1].copy()
    restored.viewer.layers["stack"].data = other
    settle(c)
    assert "changed by another program" in told[-1]
    assert c.state_of((DAMAGED,)) == "stale"
    assert len(c.lines.records) == 1
    np.testing.assert_array_equal(restored.viewer.layers["restored"].data[0], other[0])
    np.testing.assert_array_equal(c.source.read((1,)), other[1])
    restored.line_tools.buttons["line"].click()
    settle(c)
    assert c.lines.layer.mode == "add_line"
    c.restore_here()
    finish(c)
    assert c.state_of((DAMAGED,)) == "restored"
    place = c.keeper.place
    restored.viewer.layers["stack"].data = folded_stack[:, :100]
    settle(c)
    assert str(place) in told[-1]
    assert c.lines.records == {}
    assert Sidecar.load(place).slices[(DAMAGED,)].state == "restored"


def test_a_viewer_closed_from_code_saves_and_calls_nothing_that_is_gone(
    make_napari_viewer, open_panel, folded_stack, draw, give_result, until, qtbot
):
    viewer = make_napari_viewer()
    panel = open_panel(folded_stack, viewer=viewer)
    c = panel.controller
    c.go_to((DAMAGED,))
    draw(c, LINE)
    give_result(c)
    place = c.keeper.place
    with qtbot.captureExceptions() as exceptions:
        viewer.close()
        for _ in range(20):
            QApplication.processEvents()
        c.status.emit("said to nobody")
        c.results_changed.emit()
        until(lambda: not c._jobs)
    assert not exceptions
    saved = Sidecar.load(place)
    assert len(saved.folds) == 1
    assert saved.slices[(DAMAGED,)].state == "restored"
    assert c._closed


# -- kinds of arrays -------------------------------------------------------------------------------


def test_levels_that_are_coarser_in_z_too(open_panel, folded_stack, draw, give_result, settle):
    levels = [folded_stack, folded_stack[::2, ::2, ::2]]
    panel = open_panel(levels, multiscale=True)
    c = panel.controller
    c.go_to((DAMAGED,))
    draw(c, LINE)
    give_result(c, value=200)
    finest, coarse = panel.viewer.layers["restored"].data
    assert coarse.shape == (3, 112, 112)
    assert (finest[DAMAGED] == 200).all()
    np.testing.assert_array_equal(coarse[0], levels[1][0])
    np.testing.assert_array_equal(coarse[2], levels[1][2])
    shares = (200 + folded_stack[3].reshape(112, 2, 112, 2).mean(axis=(1, 3))) / 2
    assert np.abs(coarse[1] - shares).max() <= 1, "slices 2 and 3 in equal shares"


@pytest.mark.parametrize("kind", ["tensorstore", "big-endian", "int16", "dask big-endian"])
def test_what_napari_shows_the_panel_works_on(kind, open_panel, folded_stack, draw, finish, settle):
    data = {
        "tensorstore": lambda: tensorstore.array(folded_stack),
        "big-endian": lambda: (folded_stack.astype(np.uint16) * 257).astype(">u2"),
        "int16": lambda: folded_stack.astype(np.int16),
        "dask big-endian": lambda: da.from_array(folded_stack.astype(">f4"), chunks=(1, -1, -1)),
    }[kind]()
    panel = open_panel(data)
    c = panel.controller
    c.go_to((DAMAGED,))
    panel.find.buttons["detect"].click()
    finish(c)
    assert len(c.lines.on((DAMAGED,))) == 1
    panel.restore.buttons["restore"].click()
    finish(c)
    assert c.state_of((DAMAGED,)) == "restored"
    layer = panel.viewer.layers["restored"]
    assert layer.data.dtype == np.dtype(c.source.dtype)
    assert layer.data.dtype.isnative
    np.testing.assert_array_equal(layer.data[0], np.asarray(data[0]))
    after = c.store.array((DAMAGED,), "restored")
    assert after.dtype == layer.data.dtype
    assert not np.array_equal(after, np.asarray(data[DAMAGED]))
