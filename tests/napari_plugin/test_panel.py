"""What the panel shows while one draws, waits and judges."""

from __future__ import annotations

import numpy as np
import pytest

from sff_napari import Fold, simulate_fold

DAMAGED = 2
LINE = [(0.0, 96.0), (223.0, 130.0)]


@pytest.fixture
def restored(panel, draw, give_result, settle):
    """A panel with a line and an undecided result on its damaged slice."""
    draw(panel.controller, LINE)
    give_result(panel.controller)
    settle(panel.controller)
    return panel


def test_drawing_shows_the_damaged_slice_and_restoring_the_result(restored, settle, finish):
    c = restored.controller
    layer = restored.viewer.layers["restored"]
    for tool in ("line", "edit"):
        restored.line_tools.buttons[tool].click()
        settle(c)
        assert not layer.visible
        assert restored.line_tools.buttons[tool].isChecked()
        c.lines.layer.mode = "pan_zoom"
        assert layer.visible
        assert not restored.line_tools.buttons[tool].isChecked()
    layer.visible = False  # a person hides it
    c.lines.layer.mode = "direct"
    c.lines.layer.mode = "pan_zoom"
    assert not layer.visible, "what a person hid stays hidden"
    c.restore_here()
    finish(c)
    assert layer.visible


def test_the_preview_goes_with_an_undo(restored, until, settle):
    c = restored.controller
    restored.restore.live.setChecked(True)
    restored.live.request(c.lines.layer)
    until(lambda: "preview" in restored.viewer.layers)
    c.set_half_width(11.0)
    c.undo()
    settle(c)
    until(lambda: "preview" not in restored.viewer.layers)


def test_progress_and_cancel_are_seen_from_everywhere_and_move_nothing(panel, finish, until):
    c = panel.controller
    row = panel.progress
    before = row.geometry(), panel.stack.geometry(), panel.find.geometry()
    panel.find.buttons["detect_all"].click()
    assert row.bar.isVisible()
    assert row.cancel.isVisible()
    until(lambda: row.bar.format() or not c.is_busy)
    assert (row.geometry(), panel.stack.geometry(), panel.find.geometry()) == before
    row.cancel.click()
    finish(c)
    assert not row.bar.isVisible()
    assert "Cancelled" in panel.status.text()


def test_the_bar_tells_the_time_left_and_admits_when_it_does_not_know(panel, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("sff_napari.napari_plugin.progress_row.time.monotonic", lambda: clock[0])
    row = panel.progress
    row._on_busy(True)
    clock[0] += 10
    row._on_progress(0.25, "Unfolding")
    assert row.bar.format() == "Unfolding about 30 s left"
    assert (row.bar.maximum(), row.bar.value()) == (1000, 250)
    clock[0] += 5
    row._show()
    assert row.bar.maximum() == 0, "no news: it does not claim to know"
    assert row.bar.format() == "Unfolding 15 s"
    row._on_progress(1.0, "Following lines")
    assert row.bar.maximum() == 0
    row._on_busy(False)


def test_stray_clicks_make_no_folds(panel, draw, monkeypatch):
    told = []
    monkeypatch.setattr("sff_napari.napari_plugin.controller.show_problem", told.append)
    c = panel.controller
    layer = c.lines.ensure_layer()
    for ends in ([(50.0, 50.0), (51.0, 52.0)], [(-80.0, 5.0), (-10.0, 90.0)]):
        layer.add([np.array([[DAMAGED, *p] for p in ends])], shape_type="line")
        assert "mere clicks" in told[-1]
    assert c.lines.records == {}
    assert len(layer.data) == 0
    assert c.work.history.next_undo is None
    draw(c, LINE)
    assert len(c.lines.records) == 1


def test_what_is_no_image_stays_so(open_panel, clean_stack, draw, finish, settle):
    data = clean_stack.astype(np.float32)
    fold = Fold(LINE, 6.0)
    data[DAMAGED] = simulate_fold(clean_stack[DAMAGED], fold, 22.0, 0.04).damaged
    data[:, :, :40] = np.nan
    panel = open_panel(data)
    c = panel.controller
    c.go_to((DAMAGED,))
    draw(c, LINE)
    c.restore_here()
    finish(c)
    restored = c.store.array((DAMAGED,), "restored")
    assert np.isnan(restored[:, :40]).all()
    assert np.isfinite(restored[:, 48:]).all()
    assert (c.store.array((DAMAGED,), "synthesised")[:, :40] == 0).all()
    assert np.isnan(c.store.array((DAMAGED,), "flow")[:, :, :40]).all()
