"""Room for the picture in a small window, and a viewer that stays alive while a sample is made."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QScrollArea

from sff_napari.napari_plugin.io import sample


def test_in_a_small_window_the_picture_is_wider_than_the_panel(panel, qtbot):
    window = panel.viewer.window._qt_window
    window.resize(1000, 700)
    window.show()
    qtbot.wait(300)
    assert window.width() <= 1000
    canvas = panel.viewer.window._qt_viewer.canvas.native
    assert canvas.width() >= 370
    assert panel.width() <= 320
    scroll = panel.findChild(QScrollArea)
    assert scroll.widget().minimumSizeHint().width() <= scroll.viewport().width(), "cut off"
    for button in (b for section in panel.sections for b in section.buttons.values()):
        if button.isVisibleTo(panel):
            text = button.fontMetrics().horizontalAdvance(button.text())
            assert text + 6 <= button.width(), button.text()
    dock = panel.parentWidget()
    dock.setFloating(True)
    qtbot.wait(100)
    assert dock.isFloating()
    assert canvas.width() >= 650
    dock.resize(260, 500)
    qtbot.wait(50)
    assert panel.width() <= 265, "it can be narrow"


def test_sections_fold_at_a_click_on_their_title(panel, qtbot):
    panel.viewer.window._qt_window.show()
    qtbot.wait(200)
    section = panel.find
    tall = section.height()
    assert tall > 2 * section.title_height()
    QTest.mouseClick(section, Qt.MouseButton.LeftButton, pos=QPoint(20, 6))
    qtbot.wait(100)
    assert section.is_folded
    assert section.height() <= section.title_height()
    QTest.mouseClick(section, Qt.MouseButton.LeftButton, pos=QPoint(20, 6))
    qtbot.wait(100)
    assert section.height() == tall


def test_the_viewer_lives_while_the_sample_is_made(qapp, monkeypatch):
    go_on = threading.Event()
    beats = []

    def slow(*_):
        assert threading.current_thread() is not threading.main_thread()
        assert go_on.wait(30), "no event was processed meanwhile"
        return np.zeros((3, 8, 8), np.uint8), {}

    monkeypatch.setattr(sample, "_make", slow)
    timer = QTimer()
    timer.timeout.connect(lambda: (beats.append(1), len(beats) > 3 and go_on.set()))
    timer.start(5)
    ((data, _kwargs, kind),) = sample.folded_stack()
    timer.stop()
    assert kind == "image"
    assert data.shape == (3, 8, 8)
    assert len(beats) > 3


def test_an_error_while_the_sample_is_made_is_not_lost(qapp):
    with pytest.raises(ZeroDivisionError):
        sample.while_events_go_on(lambda: 1 // 0)


def test_the_sample_has_noise_everywhere_and_a_fold_where_napari_opens_it():
    stack, truth = sample._make((5, 192, 192), (2,), 4)
    assert (2,) in truth, "the middle one"
    for plane in (*stack, truth[(2,)]):
        blocks = plane.reshape(24, 8, 24, 8).swapaxes(1, 2).reshape(576, 64)
        assert blocks.std(axis=1).min() > 2, "no flat rectangle"
    assert np.abs(stack[2].astype(int) - truth[(2,)]).mean() > 5
    assert (sample.SHAPE[0] - 1) // 2 in sample.FOLDED
