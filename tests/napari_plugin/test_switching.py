"""Two and more stacks in one viewer: nothing is lost, and nothing crashes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import QPoint, Qt

from sff_napari.sessions import Sidecar

DAMAGED = 2
LINE = [(0.0, 96.0), (223.0, 130.0)]

CHILD = """
    import gc, random, sys, time
    import napari, numpy as np
    from qtpy.QtCore import QPoint, Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication
    sys.path.insert(0, sys.argv[1])
    from conftest import give_result
    viewer = napari.Viewer()
    viewer.window._qt_window.setGeometry(0, 0, 1200, 800)
    for path in sys.argv[2:]:
        viewer.open(path, plugin="napari")
    names = [layer.name for layer in viewer.layers]
    for name in names[1:]:
        viewer.layers[name].visible = False
    _dock, panel = viewer.window.add_plugin_dock_widget("sff-napari", "Fold restoration")
    c = panel.controller

    def until(condition):
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            QApplication.processEvents()
            time.sleep(0.003)

    def look(seconds):
        end = time.monotonic() + seconds
        until(lambda: time.monotonic() > end)

    def click_in_list(name):
        view = viewer.window._qt_viewer.layers
        model = view.model()
        for row in range(model.rowCount()):
            index = model.index(row, 0)
            if index.data() == name:
                at = view.visualRect(index).center()
                QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=at)

    until(lambda: c.machine is not None)
    # napari collects garbage at each removal of a layer: what is there now need not be searched.
    gc.collect()
    gc.freeze()
    rng = random.Random(3)
    for turn in range(51):
        name = names[turn % 3] if turn < 4 else rng.choice(names)
        viewer.layers[names[rng.randrange(3)]].visible = rng.random() < 0.5
        click_in_list(name)
        look(0.02)
        if panel.stack.other.isVisible():
            QTest.mouseClick(panel.stack.other, Qt.MouseButton.LeftButton)
        until(lambda: c.source.layer.name == name)
        until(lambda: c.keeper.sidecar is not None)
        until(lambda: c.layer_queue.is_idle)
        if not c.lines.records:
            c.go_to((2,))
            layer = c.lines.ensure_layer()
            layer.add([np.array([[2, 0, 96.0], [2, 223, 130.0]])], shape_type="line")
            give_result(c, (2,), value=50 + names.index(name))
            if names.index(name) == 1:
                c.accept_slice()
        look(0.05)
        until(lambda: c.layer_queue.is_idle)
        look(0.03)
        shown = [layer.name for layer in viewer.layers]
        assert shown.count("restored") == shown.count("folds") == 1, shown
        assert (viewer.layers["restored"].data[2] == 50 + names.index(name)).all(), name
        assert len(c.lines.layer.data) == 1
    panel.shut_down()
    print("SURVIVED", flush=True)
    import os
    os._exit(0)
"""


@pytest.fixture
def stack_files(tmp_path, folded_stack):
    paths = []
    for name, data in (
        ("a", folded_stack),
        ("b", folded_stack[:, ::-1]),
        ("c", folded_stack[:, :, ::-1]),
    ):
        paths.append(tmp_path / f"{name}.tif")
        tifffile.imwrite(paths[-1], data, photometric="minisblack")
    return paths


def test_fifty_switches_among_three_stacks(stack_files, tmp_path):
    """In a process of its own: a crash of the drawing library would end the tests, too."""
    script = tmp_path / "child.py"
    script.write_text(textwrap.dedent(CHILD))
    child = subprocess.run(
        [sys.executable, "-X", "faulthandler", script, Path(__file__).parent, *stack_files],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "NAPARI_CONFIG": str(tmp_path / "settings.yaml")},
    )
    assert "SURVIVED" in child.stdout, child.stdout[:3000]
    for at, path in enumerate(stack_files):
        session = Sidecar.load(path.with_name(f"{path.name}.sff-session"))
        assert len(session.folds) == 1
        assert session.slices[(DAMAGED,)].state == ("accepted" if at == 1 else "restored")
        assert session.read((DAMAGED,), "restored").max() == 50 + at


def click_in_layer_list(viewer, name, qtbot):
    view = viewer.window._qt_viewer.layers
    model = view.model()
    (index,) = [
        model.index(row, 0) for row in range(model.rowCount()) if model.index(row, 0).data() == name
    ]
    at = view.visualRect(index).center()
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(at.x(), at.y()))


def test_selecting_a_layer_changes_nothing(
    panel, draw, give_result, settle, clean_stack, qtbot, until
):
    c = panel.controller
    panel.viewer.add_image(clean_stack, name="other", visible=False)
    draw(c, LINE)
    give_result(c)
    settle(c)
    before = {layer.name for layer in panel.viewer.layers}
    click_in_layer_list(panel.viewer, "other", qtbot)
    settle(c)
    assert panel.viewer.layers.selection.active.name == "other"
    assert {layer.name for layer in panel.viewer.layers} == before
    assert c.source.layer.name == "stack"
    assert c.state_of((DAMAGED,)) == "restored"


def test_undecided_results_and_undo_come_back_with_their_stack(
    panel, draw, give_result, settle, clean_stack, until
):
    c = panel.controller
    other = panel.viewer.add_image(clean_stack, name="other", visible=False)
    draw(c, LINE)
    give_result(c)
    c.set_half_width(11.0)
    place = c.keeper.place
    c.choose(other)
    settle(c)
    assert not {"folds", "restored", "flow", "synthesised"} & {x.name for x in panel.viewer.layers}
    assert not c.store.all()
    until(lambda: c.keeper.sidecar is not None)
    draw(c, [(10.0, 10.0), (200.0, 20.0)], (1,))
    saved = Sidecar.load(place)
    assert saved.slices[(DAMAGED,)].state == "restored"
    assert saved.folds[0].half_width == 11.0
    c.choose(panel.viewer.layers["stack"])
    settle(c)
    assert not panel.stack.offer.isVisibleTo(panel), "it need not be asked for"
    assert c.state_of((DAMAGED,)) == "stale"
    assert (panel.viewer.layers["restored"].data[DAMAGED] == 77).all()
    c.undo()
    assert c.state_of((DAMAGED,)) == "restored"
    c.choose(other)
    settle(c)
    assert [r.index for r in c.lines.records.values()] == [(1,)]


def test_a_stack_is_not_switched_while_something_runs(panel, clean_stack, until, finish):
    c = panel.controller
    panel.viewer.add_image(clean_stack, name="other")
    panel.find.buttons["detect_all"].click()
    box = panel.stack.layer
    box.setCurrentIndex(box.findText("other"))
    box.activated.emit(box.currentIndex())
    assert c.source.layer.name == "stack" == box.currentText()
    assert "wait for it or cancel it" in panel.status.text()
    finish(c)
    assert len(c.searched) == 5, "nothing was cancelled"


def test_the_layer_of_a_stack_is_removed_and_opened_again(
    stack_files, make_napari_viewer, open_panel, draw, give_result, until, settle
):
    viewer = make_napari_viewer()
    viewer.open(stack_files[0], plugin="napari")
    viewer.open(stack_files[1], plugin="napari")
    panel = open_panel(np.zeros((3, 64, 64), np.uint8), viewer=viewer)
    c = panel.controller
    c.choose(viewer.layers["a"])
    until(lambda: c.keeper.sidecar is not None)
    draw(c, LINE, (DAMAGED,))
    give_result(c)
    inside = []
    viewer.layers.events.removed.connect(lambda e: inside.append([x.name for x in viewer.layers]))
    viewer.layers.remove("a")
    assert inside == [[x.name for x in viewer.layers]], "no layer is changed inside an event"
    settle(c)
    assert not {"folds", "restored"} & {x.name for x in viewer.layers}
    viewer.open(stack_files[0], plugin="napari")
    c.choose(viewer.layers["a"])
    until(lambda: panel.stack.offer.isVisibleTo(panel))
    assert "1 undecided" in panel.stack.offer_text.text()
    panel.stack.go_on.click()
    settle(c)
    assert c.state_of((DAMAGED,)) == "restored"
    assert (viewer.layers["restored"].data[DAMAGED] == 77).all()


def test_folding_a_slice_leaves_the_stack_in_work(panel, draw, give_result, until, settle):
    from sff_napari.napari_plugin.widgets.simulate import SimulateWidget

    c = panel.controller
    draw(c, LINE)
    give_result(c)
    widget = SimulateWidget(panel.viewer)
    panel.viewer.layers.selection.active = panel.viewer.layers["stack"]
    panel.viewer.dims.set_current_step(0, 0)
    widget.draw.click()
    lines = widget._line_layer()
    lines.add([np.array([[0, 5.0, 60.0], [0, 218.0, 90.0]])], shape_type="line")
    widget.run.click()
    until(lambda: "stack folded" in panel.viewer.layers)
    settle(c)
    assert c.source.layer.name == "stack"
    assert c.state_of((DAMAGED,)) == "restored"
    assert "folds" in panel.viewer.layers
    widget.close()


def test_continuing_goes_to_the_slice_where_one_stopped(
    stack_files, make_napari_viewer, open_panel, until, draw
):
    viewer = make_napari_viewer()
    viewer.open(stack_files[0], plugin="napari")
    panel = open_panel(np.zeros((3, 64, 64), np.uint8), viewer=viewer)
    c = panel.controller
    c.choose(viewer.layers["a"])
    until(lambda: c.keeper.sidecar is not None)
    c.go_to((3,))
    draw(c, LINE)
    place = c.keeper.place
    panel.shut_down()
    assert json.loads((place / "session.json").read_text())["settings"]["shown"] == [3]
    second = make_napari_viewer()
    second.open(stack_files[0], plugin="napari")
    panel = open_panel(np.zeros((3, 64, 64), np.uint8), viewer=second)
    c = panel.controller
    c.choose(second.layers["a"])
    until(lambda: panel.stack.offer.isVisibleTo(panel))
    c.go_to((0,))
    panel.stack.go_on.click()
    assert c.index == (3,)
