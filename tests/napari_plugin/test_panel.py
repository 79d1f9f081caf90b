"""What the panel shows while one draws, waits and judges."""

from __future__ import annotations

import numpy as np
import pytest

from sff_napari import Fold, simulate_fold
from sff_napari.evaluation.without_truth import NeighbourScores
from sff_napari.napari_plugin.widgets.help_section import problem_report
from sff_napari.napari_plugin.widgets.review import plain_verdict
from sff_napari.napari_plugin.widgets.weights_card import weights_in_brief

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
    assert row.bar.isVisibleTo(panel)
    assert row.cancel.isVisibleTo(panel)
    until(lambda: row.bar.format() or not c.is_busy)
    assert (row.geometry(), panel.stack.geometry(), panel.find.geometry()) == before
    row.cancel.click()
    finish(c)
    assert not row.bar.isVisibleTo(panel)
    assert "Cancelled" in panel.status.text()


def test_the_bar_tells_the_time_left_and_admits_when_it_does_not_know(panel, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(
        "sff_napari.napari_plugin.widgets.progress_row.time.monotonic", lambda: clock[0]
    )
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
    monkeypatch.setattr("sff_napari.napari_plugin.controller.controller.show_problem", told.append)
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


@pytest.mark.parametrize(
    ("before", "after", "clean", "said"),
    [
        (0.16, 0.30, 0.55, "does not fit as well as clean slices"),
        (0.16, 0.53, 0.55, "fits about as well as there"),
        (0.40, 0.38, 0.55, "no better than before"),
        (0.16, 0.30, np.nan, "no clean slices near by"),
        (np.nan, np.nan, 0.5, "judge by eye"),
    ],
)
def test_the_words_say_what_the_numbers_say(before, after, clean, said):
    scores = NeighbourScores(before, after, 0.5, 0.5, clean, 0.9)
    assert said in plain_verdict(scores)
    if after == after:
        assert f"{before:.2f} to {after:.2f}" in plain_verdict(scores)


def test_the_plot_shows_the_scores_of_the_slice(restored):
    plot = restored.judge.plot
    assert plot.isVisibleTo(restored)
    assert plot.scores.near_after == 0.4
    picture = plot.grab().toImage()
    colours = {
        picture.pixelColor(x, y).name()
        for x in range(picture.width())
        for y in range(picture.height())
    }
    assert {"#27c27a", "#2f9dff"} <= colours, "clean slices, and the arrow"
    restored.controller.go_to((0,))
    restored.judge.refresh()
    assert not plot.isVisibleTo(restored)


def test_a_report_holds_versions_and_the_last_errors(panel, qtbot, monkeypatch):
    from qtpy.QtWidgets import QApplication

    from sff_napari.napari_plugin.workers.job import sentence

    sentence(ZeroDivisionError("an odd thing"))
    panel.help.report.click()
    text = QApplication.clipboard().text()
    assert text == problem_report()
    for part in ("sff-napari", "napari ", "Python ", "an odd thing", "What I did"):
        assert part in text
    assert "Copied" in panel.help.said.text()


def test_weights_are_described_in_words(tmp_path):
    assert "were trained on" in weights_in_brief("")
    assert "no weights" in weights_in_brief(str(tmp_path))


def test_a_line_where_no_fold_is_gets_a_warning(panel, draw, finish, monkeypatch, true_fold):
    told = []
    monkeypatch.setattr("sff_napari.napari_plugin.controller.controller.show_problem", told.append)
    c = panel.controller
    draw(c, true_fold.vertices)
    c.restore_here()
    finish(c)
    assert not told, "the true line needs no warning"
    c.delete_lines()
    draw(c, [(5.0, 190.0), (215.0, 200.0)])
    c.restore_here()
    finish(c)
    assert "nothing dark along a line" in told[-1]
    assert c.state_of((DAMAGED,)) == "restored", "it is restored all the same"


def test_the_exported_folder_can_be_opened(restored, finish, tmp_path, monkeypatch, qtbot):
    from sff_napari.napari_plugin.widgets import panel
    from sff_napari.napari_plugin.widgets.export_dialog import start_export

    opened = []
    monkeypatch.setattr(
        panel.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile())
    )
    c = restored.controller
    assert not restored.open_folder.isVisibleTo(restored)
    start_export(c, tmp_path / "out", "tiff", ["lines"])
    finish(c)
    restored.open_folder.click()
    assert opened == [str(tmp_path / "out")]
