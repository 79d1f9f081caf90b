"""Autosave, reopening, crashes, export."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tifffile

from sff_napari.errors import InputError
from sff_napari.napari_plugin.widgets.export_dialog import ExportDialog, export_job, start_export
from sff_napari.sessions import Sidecar
from sff_napari.sessions.export import export, export_volumes
from sff_napari.stacks import open_stack, read_folds

DAMAGED = 2
LINE = [(0.0, 96.0), (223.0, 130.0)]


@pytest.fixture
def stack_file(tmp_path, folded_stack):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, folded_stack, photometric="minisblack")
    return path


@pytest.fixture
def open_file(open_panel, make_napari_viewer, stack_file, until):
    """Open the file in a new viewer, with the panel."""
    from sff_napari.napari_plugin.widgets.panel import RestorationWidget

    made = []

    def make():
        viewer = make_napari_viewer()
        viewer.open(stack_file, plugin="napari")
        panel = RestorationWidget(viewer)
        viewer.window.add_dock_widget(panel)
        until(lambda: panel.controller.keeper.sidecar is not None)
        until(lambda: panel.controller.machine is not None)
        made.append(panel)
        return panel

    yield make
    for panel in made:
        panel.shut_down()


def test_work_is_saved_next_to_the_stack_and_taken_up_again(
    give_result, open_file, stack_file, draw, until
):
    panel = open_file()
    c = panel.controller
    c.go_to((DAMAGED,))
    draw(c, LINE)
    rejected = draw(c, [(5.0, 5.0), (90.0, 9.0)], (4,))
    give_result(c)
    c.accept_slice()
    c.keeper.wait()
    place = stack_file.with_name("stack.tif.sff-session")
    until(lambda: c.store.get((DAMAGED,)).record.folder is not None)
    c.go_to((4,))
    c.lines.layer.selected_data = {1}
    c.decide_line("rejected")
    panel.shut_down()
    saved = Sidecar.load(place)
    assert saved.read((DAMAGED,), "restored").max() == 77

    again = open_file()
    c = again.controller
    assert again.stack.offer.isVisibleTo(again)
    assert "2 lines, 1 accepted slice," in again.stack.offer_text.text()
    assert c.lines.records == {}
    again.stack.go_on.click()
    assert not again.stack.offer.isVisibleTo(again)
    until(lambda: c.layer_queue.is_idle)
    assert len(c.lines.layer.data) == 2
    assert c.lines.records[rejected].state == "rejected"
    assert c.state_of((DAMAGED,)) == "accepted"
    assert (again.viewer.layers["restored"].data[DAMAGED] == 77).all()
    assert {item.index: item.state for item in c.queue()} == {(2,): "accepted", (4,): "rejected"}
    np.testing.assert_array_equal(tifffile.imread(stack_file), again.viewer.layers[0].data)


def test_starting_anew_sets_the_old_session_aside(open_file, stack_file, draw):
    panel = open_file()
    draw(panel.controller, LINE)
    panel.shut_down()
    again = open_file()
    again.stack.anew.click()
    draw(again.controller, [(5.0, 5.0), (90.0, 9.0)])
    again.shut_down()
    olds = list(stack_file.parent.glob("stack.tif.sff-session.old-*"))
    assert len(olds) == 1
    assert len(Sidecar.load(olds[0]).folds) == 1
    fresh = Sidecar.load(stack_file.with_name("stack.tif.sff-session"))
    assert fresh.folds[0].vertices[0] == (5.0, 5.0)


def test_working_on_without_an_answer_loses_nothing(open_file, stack_file, draw):
    panel = open_file()
    draw(panel.controller, LINE)
    panel.shut_down()
    again = open_file()
    draw(again.controller, [(5.0, 5.0), (90.0, 9.0)])
    assert not again.stack.offer.isVisibleTo(again)
    again.shut_down()
    sessions = sorted(stack_file.parent.glob("stack.tif.sff-session*"))
    assert [len(Sidecar.load(path).folds) for path in sessions] == [1, 1]


def test_undecided_and_rejected_results_stay_on_disk_too(
    give_result, open_file, stack_file, draw, until
):
    panel = open_file()
    c = panel.controller
    c.go_to((DAMAGED,))
    draw(c, LINE)
    give_result(c)
    c.accept_slice()
    until(lambda: c.store.get((DAMAGED,)).record.folder is not None)
    c.set_half_width(20.0)
    give_result(c, value=50)
    c.keeper.save_now()
    c.keeper.wait()
    place = stack_file.with_name("stack.tif.sff-session")
    saved = Sidecar.load(place)
    assert saved.slices[(DAMAGED,)].state == "restored"
    assert saved.read((DAMAGED,), "restored").max() == 50
    c.undo()
    c.keeper.wait()
    saved = Sidecar.load(place)
    assert saved.slices[(DAMAGED,)].state == "stale", "accepted, with other lines than now"
    assert saved.read((DAMAGED,), "restored").max() == 77
    c.redo()
    c.reject_slice()
    c.keeper.wait()
    assert Sidecar.load(place).slices[(DAMAGED,)].state == "rejected"
    assert Sidecar.load(place).read((DAMAGED,), "restored").max() == 50
    c.reopen_slice()
    assert c.state_of((DAMAGED,)) == "restored"


def test_another_stack_is_not_offered_the_session(open_file, stack_file, draw, folded_stack):
    panel = open_file()
    draw(panel.controller, LINE)
    panel.shut_down()
    tifffile.imwrite(stack_file, folded_stack[::-1], photometric="minisblack")
    again = open_file()
    assert not again.stack.offer.isVisibleTo(again)
    assert again.controller.keeper.place != stack_file.with_name("stack.tif.sff-session")


def test_a_folder_that_cannot_be_written_is_worked_around(open_file, stack_file, draw, monkeypatch):
    real = os.access
    monkeypatch.setattr(
        "sff_napari.napari_plugin.controller.autosave.os.access",
        lambda path, mode: path != stack_file.parent and real(path, mode),
    )
    panel = open_file()
    draw(panel.controller, LINE)
    panel.shut_down()
    assert not stack_file.with_name("stack.tif.sff-session").exists()
    assert (panel.controller.keeper is None) or panel.controller.keeper.place.exists()


CHILD = """
    import sys, time, os
    import napari, numpy as np
    sys.path.insert(0, sys.argv[2])
    from conftest import give_result
    LINE = [(0.0, 96.0), (223.0, 130.0)]
    from sff_napari.napari_plugin.widgets.panel import RestorationWidget
    viewer = napari.Viewer(show=False)
    viewer.open(sys.argv[1], plugin="napari")
    panel = RestorationWidget(viewer)
    c = panel.controller
    from qtpy.QtWidgets import QApplication
    def until(condition):
        while not condition():
            QApplication.processEvents(); time.sleep(0.01)
    until(lambda: c.keeper is not None and c.keeper.sidecar is not None)
    layer = c.lines.ensure_layer()
    for z in (1, 2, 3):
        c.go_to((z,))
        layer.add([np.array([[z, *p] for p in LINE])], shape_type="line")
        give_result(c, (z,), value=70 + z)
        c.accept_slice()
        c.keeper.wait()
        print("ACCEPTED", z, flush=True)
    while True:
        layer.add([np.array([[4, *p] for p in LINE])], shape_type="line")
        QApplication.processEvents()
"""


def test_killed_in_the_middle_nothing_accepted_is_lost(stack_file, open_file, tmp_path, settle):
    script = tmp_path / "child.py"
    script.write_text(textwrap.dedent(CHILD))
    child = subprocess.Popen(
        [sys.executable, str(script), str(stack_file), os.path.dirname(__file__)],  # noqa: PTH120
        stdout=subprocess.PIPE,
        text=True,
    )
    accepted = []
    for line in child.stdout:
        if line.startswith("ACCEPTED"):
            accepted.append(int(line.split()[1]))
        if len(accepted) == 3:
            break
    child.kill()
    child.wait()
    panel = open_file()
    panel.stack.go_on.click()
    settle(panel.controller)
    for z in accepted:
        assert panel.controller.state_of((z,)) == "accepted"
        assert (panel.viewer.layers["restored"].data[z] == 70 + z).all()


@pytest.mark.parametrize("format", ["ome-zarr", "tiff"])
def test_export_writes_everything_and_leaves_the_original(
    give_result, format, panel, draw, finish, tmp_path, folded_stack
):
    c = panel.controller
    draw(c, LINE)
    draw(c, [(5.0, 5.0), (90.0, 9.0)], (4,))
    give_result(c)
    give_result(c, (4,), value=44)
    c.accept_slice()
    folder = tmp_path / "out"
    start_export(c, folder, format, ["stack", "lines", "masks", "flow"])
    finish(c)
    suffix = ".ome.zarr" if format == "ome-zarr" else ".tif"
    stack = open_stack(folder / f"restored{suffix}")
    assert stack.shape == folded_stack.shape
    assert stack.dtype == folded_stack.dtype
    assert (stack[DAMAGED] == 77).all()
    for z in (0, 1, 3, 4):
        np.testing.assert_array_equal(stack[z], folded_stack[z])
    assert open_stack(folder / f"synthesised{suffix}").shape == folded_stack.shape
    assert read_folds(folder / "folds.json").slices == [DAMAGED, 4]
    flow = tifffile.imread(folder / f"flow_{DAMAGED:05d}.tif")
    assert flow.shape == (2, 224, 224)
    assert flow[0, 0, 0] == 1.5
    assert np.isnan(flow[0, -1, 0])
    assert (folder / "report.json").exists()
    np.testing.assert_array_equal(panel.viewer.layers["stack"].data, folded_stack)


def test_export_of_undecided_slices_and_only_some_parts(give_result, panel, draw, tmp_path):
    c = panel.controller
    draw(c, LINE)
    give_result(c)
    assert export_job(c).patches == {}
    job = export_job(c, undecided=True)
    written = export(job, tmp_path / "out", parts=["lines"])
    assert sorted(path.name for path in written) == ["folds.json", "report.json"]


def test_a_cancelled_export_leaves_nothing(give_result, panel, draw, finish, tmp_path):
    c = panel.controller
    draw(c, LINE)
    give_result(c)
    c.accept_slice()
    start_export(c, tmp_path / "out", "ome-zarr", ["stack", "masks"])
    c.cancel()
    finish(c)
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.glob(".out*")) == []


def test_the_dialog_refuses_what_would_overwrite(give_result, panel, draw, finish, tmp_path, qtbot):
    c = panel.controller
    draw(c, LINE)
    give_result(c)
    c.accept_slice()
    dialog = ExportDialog(c)
    qtbot.addWidget(dialog)
    dialog.folder.setText(str(tmp_path))
    dialog._start()
    assert "exists" in dialog.note.text()
    dialog.folder.setText(str(tmp_path / "new"))
    for box in dialog.parts.values():
        box.setChecked(False)
    dialog._start()
    assert "Tick" in dialog.note.text()
    dialog.parts["lines"].setChecked(True)
    dialog._start()
    finish(c)
    assert (tmp_path / "new" / "folds.json").exists()


def test_two_napari_processes_on_one_stack_save_apart(
    stack_file, open_file, tmp_path, draw, give_result, until
):
    script = tmp_path / "child.py"
    script.write_text(textwrap.dedent(CHILD))
    child = subprocess.Popen(
        [sys.executable, str(script), str(stack_file), os.path.dirname(__file__)],  # noqa: PTH120
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        while not child.stdout.readline().startswith("ACCEPTED 1"):
            assert child.poll() is None
        panel = open_file()
        c = panel.controller
        text = panel.stack.offer_text.text()
        assert f"process {child.pid} on this computer" in text
        assert "saves apart" in text
        assert panel.stack.go_on.text() == "Use a copy"
        panel.stack.go_on.click()
        until(lambda: c.layer_queue.is_idle)
        assert c.state_of((1,)) == "accepted"
        assert (panel.viewer.layers["restored"].data[1] == 71).all()
        c.go_to((0,))
        draw(c, LINE)
        give_result(c, (0,), value=50)
        c.accept_slice()
        until(lambda: c.store.get((0,)).record.folder is not None)
    finally:
        child.kill()
        child.wait()
    theirs = stack_file.with_name("stack.tif.sff-session")
    mine = stack_file.with_name("stack.tif.sff-session-2")
    assert c.keeper.place == mine
    assert (0,) not in Sidecar.load(theirs).slices
    assert Sidecar.load(theirs).read((1,), "restored").max() == 71
    assert Sidecar.load(mine).read((0,), "restored").max() == 50
    panel.shut_down()
    assert not list(stack_file.parent.glob("*-2.lock"))
    # The other process was killed: its lock is stale, its session is offered as usual.
    again = open_file()
    assert again.stack.go_on.text() == "Continue"
    again.stack.go_on.click()
    assert again.controller.keeper.place == theirs
    assert again.controller.state_of((1,)) == "accepted"


def test_a_second_viewer_on_a_fresh_stack_is_told_where_it_saves(open_file, monkeypatch):
    told = []
    monkeypatch.setattr("sff_napari.napari_plugin.controller.controller.show_problem", told.append)
    first, second = open_file(), open_file()
    assert len(told) == 1
    assert told[0].startswith("Another viewer of this napari has this stack open")
    assert told[0].count(". ") == 0
    assert first.controller.keeper.place != second.controller.keeper.place
    assert str(second.controller.keeper.place) in told[0]


def test_a_stack_with_four_axes_is_exported_whole_or_as_shown(
    open_panel, folded_stack, draw, give_result, finish, tmp_path, qtbot
):
    data = np.stack([folded_stack, folded_stack[::-1], folded_stack])
    labels = ("t", "z", "y", "x")
    panel = open_panel(data, axis_labels=labels)
    c = panel.controller
    for time, value in ((0, 60), (2, 80)):
        c.go_to((time, DAMAGED))
        draw(c, LINE)
        give_result(c, (time, DAMAGED), value=value)
        c.accept_slice()
    dialog = ExportDialog(c)
    qtbot.addWidget(dialog)
    assert dialog.which.isVisibleTo(dialog)
    assert "3 volumes, 15 slices, of which 2 corrected" in dialog.note.text()
    dialog.folder.setText(str(tmp_path / "all"))
    dialog.format.setCurrentIndex(1)
    dialog._start()
    finish(c)
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["t0000", "t0001", "t0002"]
    for time in range(3):
        stack = open_stack(tmp_path / "all" / f"t{time:04d}" / "restored.tif")
        expected = data[time].copy()
        if time != 1:
            expected[DAMAGED] = {0: 60, 2: 80}[time]
        np.testing.assert_array_equal(np.stack([stack[z] for z in range(5)]), expected)
    assert read_folds(tmp_path / "all" / "t0002" / "folds.json").slices == [DAMAGED]
    dialog = ExportDialog(c)
    qtbot.addWidget(dialog)
    dialog.which.setCurrentIndex(1)
    assert "t0002" in dialog.which.currentText()
    assert "Writes 5 slices, of which 1 corrected" in dialog.note.text()
    dialog.folder.setText(str(tmp_path / "one"))
    dialog._start()
    finish(c)
    assert (open_stack(tmp_path / "one" / "restored.ome.zarr")[DAMAGED] == 80).all()


def test_volumes_are_exported_all_or_none(open_panel, folded_stack, tmp_path, finish):
    c = open_panel(np.stack([folded_stack, folded_stack])).controller
    start_export(c, tmp_path / "out", "tiff", ["stack"], every_volume=True)
    c.cancel()
    finish(c)
    assert list(tmp_path.glob("*out*")) == []
    with pytest.raises(InputError, match="no volume"):
        export_volumes({}, tmp_path / "out")


def test_the_slice_one_stopped_on_is_kept_though_nothing_else_changed(
    panel, open_panel, draw, until, folded_stack
):
    c = panel.controller
    place = c.keeper.place
    c.go_to((1,))
    until(lambda: not c._settled.isActive())
    c.keeper.wait()
    assert not place.exists(), "looking at a stack leaves nothing behind"
    draw(c, [(0.0, 96.0), (223.0, 130.0)], (1,))
    c.keeper.save_now()
    panel.viewer.dims.set_current_step(0, 4)  # the slider is moved, nothing is done
    until(lambda: not c._settled.isActive())
    panel.shut_down()
    again = open_panel(folded_stack)
    again.controller.go_to((0,))
    until(lambda: not again.controller._settled.isActive())
    assert again.stack.offer.isVisibleTo(again), "moving the slider declines no offer"
    again.stack.go_on.click()
    assert again.controller.index == (4,)
