"""What the panel shows while one draws, waits and judges."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt

from sff_napari import Fold, simulate_fold
from sff_napari.evaluation.verdict import plain_verdict
from sff_napari.evaluation.without_truth import NeighbourScores
from sff_napari.napari_plugin.widgets.help_section import problem_report
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


def test_a_preview_shows_only_the_lines_there_are(restored, until, settle, finish):
    c, live, viewer = restored.controller, restored.live, restored.viewer
    restored.restore.live.setChecked(True)
    live.request(c.lines.layer)
    until(lambda: "preview" in viewer.layers)
    assert restored.status.text().startswith("Preview in")
    c.set_half_width(11.0)  # the preview was of other lines
    assert "preview" not in viewer.layers
    assert not restored.status.text().startswith("Preview in")
    live.request(c.lines.layer)
    until(lambda: live._job is not None)
    c.undo()  # while it is being made
    until(lambda: live._job is None)
    settle(c)
    assert "preview" not in viewer.layers
    c.restore_here()
    live.request(c.lines.layer)  # not before the slice is restored; then it is shown alone
    finish(c)
    until(lambda: live._job is None)
    assert live._next is None
    assert "preview" not in viewer.layers


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
    brief = weights_in_brief("")
    for kind in ("Interpolation", "Unfolding", "Fusion", "Filling"):
        (said,) = [line for line in brief.split("<br>") if line.startswith(f"<b>{kind}</b>")]
        assert "trained on nerve cord of the fly larva" in said
        assert "_" not in said, "no names of fields"
    assert "for non-commercial use only" in brief
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


def choose(box, text):
    """Choose an entry of a box as a person does."""
    box.setCurrentIndex(box.findText(text))
    box.activated.emit(box.currentIndex())


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_marked_pixels_stay_and_take_no_part(kind, open_panel, folded_stack, draw, finish):
    data = folded_stack.astype(kind)
    panel = open_panel(data)
    c = panel.controller
    assert not panel.stack.mask.isVisibleTo(panel)
    marks = np.zeros(data.shape, np.uint8)
    marks[DAMAGED, 60:120, 70:150] = 3  # on the fold and beside it
    marks[1, 150:180, 90:110] = 1  # and in a neighbour
    labels = panel.viewer.add_labels(marks, name="dirt")
    wrong = panel.viewer.add_labels(marks[:, :50], name="other shape")
    assert panel.stack.mask.isVisibleTo(panel)
    choose(panel.stack.mask, "dirt")
    assert c.source.mask_layer is labels
    assert np.isnan(c.source.read((1,))[150:180, 90:110]).all()
    c.go_to((DAMAGED,))
    draw(c, LINE)
    c.restore_here()
    finish(c)
    marked = marks[DAMAGED] != 0
    after = c.store.array((DAMAGED,), "restored")
    assert after.dtype == kind
    np.testing.assert_array_equal(after[marked], data[DAMAGED][marked])
    assert (after[:60, 90:120] != data[DAMAGED][:60, 90:120]).any(), "the rest is restored"
    assert np.isnan(c.store.array((DAMAGED,), "flow")[:, marked]).all()
    assert (c.store.array((DAMAGED,), "synthesised")[marked] == 0).all()
    choose(panel.stack.mask, "other shape")
    assert c.source.mask_layer is labels, "labels of another shape are refused"
    assert panel.stack.mask.currentText() == "dirt"
    c.keeper.wait()
    panel.viewer.layers.remove(labels)
    assert c.source.mask_layer is None
    assert panel.stack.mask.currentText() == "none marked"
    panel.viewer.layers.remove(wrong)
    assert not panel.stack.mask.isVisibleTo(panel)


def test_a_marked_fold_is_not_detected(panel, finish, folded_stack):
    c = panel.controller
    panel.viewer.add_labels(np.ones(folded_stack.shape[1:], np.uint8), name="all")
    marks = panel.viewer.add_labels((folded_stack[DAMAGED] < 60).astype(np.uint8), name="dark")
    choose(panel.stack.mask, "dark")
    assert c.source.mask_layer is marks
    panel.find.buttons["detect"].click()
    finish(c)
    assert not c.lines.records


def test_the_mask_is_chosen_again_when_work_is_continued(panel, open_panel, draw, folded_stack):
    marks = np.zeros(folded_stack.shape, np.uint8)
    panel.viewer.add_labels(marks, name="dirt")
    choose(panel.stack.mask, "dirt")
    draw(panel.controller, LINE)
    panel.shut_down()
    again = open_panel(folded_stack)
    again.viewer.add_labels(marks, name="dirt")
    again.stack.go_on.click()
    assert again.controller.source.mask_layer.name == "dirt"
    assert again.stack.mask.currentText() == "dirt"


def test_slices_that_are_missing_in_a_folder_count(
    tmp_path, make_napari_viewer, open_panel, clean_stack, draw, until
):
    import tifffile

    folder = tmp_path / "slices"
    folder.mkdir()
    for z, number in enumerate((1, 2, 3, 8, 9)):
        tifffile.imwrite(folder / f"z{number:04d}.tif", clean_stack[z])
    viewer = make_napari_viewer()
    viewer.open(folder, plugin="sff-napari")
    panel = open_panel(np.zeros((3, 64, 64), np.uint8), viewer=viewer)
    c = panel.controller
    c.choose(viewer.layers["slices"])
    until(lambda: c.source.positions is not None)
    draw(c, LINE, (2,))
    request = c.request_for((2,))
    assert request.neighbours.previous == (1,)
    assert request.neighbours.following is None, "five slices away is too far"
    assert (2,) not in {i for pair in request.pairs for i in pair}
    assert ((2,), (3,)) not in request.pairs


def test_next_after_the_last_says_so(panel, draw, until, qtbot):
    c = panel.controller
    for z in (1, 3):
        draw(c, LINE, (z,))
    panel.viewer.window._qt_window.show()
    canvas = panel.viewer.window._qt_viewer.canvas.native
    c.go_to((1,))

    def press():
        qtbot.keyClick(canvas, Qt.Key.Key_PageDown)

    press()
    assert c.index == (3,)
    press()
    assert c.index == (1,)
    assert "That was the last of the list" in panel.status.text()
    panel.review.buttons["reject"].click()
    press()
    assert c.index == (3,)
    press()
    assert c.index == (3,)
    assert "only slice of the list that is not decided" in panel.status.text()
    panel.review.buttons["reject"].click()
    press()
    assert c.index == (3,)
    assert "Every slice of the list is decided" in panel.status.text()
    panel.review.buttons["reopen"].click()
    assert c.state_of((3,)) == "to do"


def test_a_slice_whose_lines_were_all_rejected_is_taken_back(panel, draw):
    c = panel.controller
    draw(c, LINE)
    c.decide_line("rejected")
    assert c.queue()[0].state == "rejected"
    panel.review.buttons["reopen"].click()
    assert c.queue()[0].state == "to do"
    c.undo()
    assert c.queue()[0].state == "rejected"
