"""Fold lines: drawing, correcting, undo and redo, as napari's own tools do it."""

from __future__ import annotations

import numpy as np
import pytest

from sff_napari import Fold

DAMAGED = 2

LINE = [(10.0, 100.0), (200.0, 120.0)]


def only(controller):
    (record,) = controller.lines.records.values()
    return record


def test_a_drawn_line_becomes_a_record_on_its_slice(panel, draw):
    c = panel.controller
    draw(c, LINE)
    record = only(c)
    assert record.index == (DAMAGED,)
    assert record.vertices == tuple(LINE)
    assert record.source == "drawn"
    features = c.lines.layer.features
    assert list(features["slice"]) == [DAMAGED]
    assert list(features["state"]) == ["to do"]
    assert c.lines.layer.edge_width == [2 * record.half_width]
    np.testing.assert_allclose(c.lines.layer.scale, c.source.layer.scale)
    assert c.lines.layer.units == c.source.layer.units


def test_undo_and_redo_of_everything(panel, draw):
    c = panel.controller
    states = [dict(c.lines.records)]

    def remember():
        states.append(dict(c.lines.records))

    uid = draw(c, LINE)
    remember()
    layer = c.lines.layer
    moved = [np.array([[DAMAGED, 10.0, 90.0], [DAMAGED, 200.0, 120.0]])]
    layer.data = moved  # napari's own way to change a shape
    remember()
    assert c.lines.records[uid].vertices[0] == (10.0, 90.0)
    layer.selected_data = {0}
    c.set_half_width(11.0)
    remember()
    assert layer.edge_width == [22.0]
    draw(c, [(50.0, 20.0), (60.0, 90.0), (110.0, 160.0)])
    remember()
    c.lines.remove([uid])
    remember()
    assert len(c.lines.records) == 1
    for state in reversed(states[:-1]):
        c.undo()
        assert c.lines.records == state
        assert len(layer.data) == len(state)
        assert list(layer.features["uid"]) == c.lines._order
    c.undo()
    assert c.lines.records == {}
    for state in states[1:]:
        c.redo()
        assert c.lines.records == state
        for i, name in enumerate(layer.features["uid"]):
            np.testing.assert_allclose(layer.data[i][:, 1:], state[name].vertices)
            assert layer.edge_width[i] == pytest.approx(2 * state[name].half_width)


def test_an_edit_of_one_line_leaves_the_others_as_they_are(panel, draw):
    from sff_napari import Fold
    from sff_napari.sessions import FoldRecord

    c = panel.controller
    fold = Fold(
        [(0.1, 96.123456789), (77.7, 101.1), (223.0, 130.3)],
        6.0,
        score=0.9,
        source="detected",
        half_widths=[5.1, 6.2, 7.3],
    )
    detected = FoldRecord.of(fold, (1,))
    c.lines.put([detected])
    draw(c, LINE)
    c.lines.layer.events.data(
        value=c.lines.layer.data, action="changed", data_indices=(1,), vertex_indices=((),)
    )
    assert c.lines.records[detected.uid] == detected


def test_deleting_with_naparis_key(panel, draw):
    c = panel.controller
    draw(c, LINE)
    other = draw(c, [(5.0, 5.0), (90.0, 9.0)])
    c.lines.layer.selected_data = {0}
    c.lines.layer.remove_selected()
    assert list(c.lines.records) == [other]
    c.undo()
    assert len(c.lines.layer.data) == 2


def test_a_pasted_line_is_a_new_line(panel, draw):
    c = panel.controller
    draw(c, LINE)
    layer = c.lines.layer
    layer.selected_data = {0}
    layer._copy_data()
    c.go_to((DAMAGED + 1,))
    layer._paste_data()
    layer.events.data(value=layer.data, action="added", data_indices=(-1,), vertex_indices=((),))
    assert sorted(r.index for r in c.lines.records.values()) == [(DAMAGED,), (DAMAGED + 1,)]
    assert len(set(layer.features["uid"])) == 2


def test_other_shapes_are_taken_away(panel, draw):
    c = panel.controller
    draw(c, LINE)
    c.lines.layer.add(
        np.array([[DAMAGED, 0, 0], [DAMAGED, 0, 50], [DAMAGED, 50, 50], [DAMAGED, 50, 0]]),
        shape_type="rectangle",
    )
    assert len(c.lines.layer.data) == 1
    assert len(c.lines.records) == 1


def test_a_freehand_path_is_thinned(panel, draw):
    c = panel.controller
    points = [(float(y), 100 + 10 * np.sin(y / 40)) for y in range(0, 200, 2)]
    draw(c, points)
    assert 3 <= len(only(c).vertices) < 20
    assert len(c.lines.layer.data[0]) == len(only(c).vertices)


def test_naparis_width_slider_changes_the_fold(panel, draw):
    c = panel.controller
    draw(c, LINE)
    c.lines.layer.selected_data = {0}
    c.lines.layer.current_edge_width = 30
    assert only(c).half_width == 15
    assert panel.line_tools.width.value() == 30


def test_width_slider_and_keys_are_one_step_to_undo(panel, draw):
    c = panel.controller
    draw(c, LINE)
    before = only(c).half_width
    for value in (20, 22, 24, 26):
        panel.line_tools.width.setValue(value)
    assert only(c).half_width == 13
    c.undo()
    assert only(c).half_width == before


def test_copy_to_next_slice(panel, draw):
    c = panel.controller
    draw(c, LINE)
    c.copy_to_next()
    assert c.index == (DAMAGED + 1,)
    assert [r.vertices for r in c.lines.on(c.index)] == [tuple(LINE)]
    c.go_to((4,))
    c.copy_to_next()
    assert c.index == (4,), "there is no slice after the last"


def test_snap_moves_the_line_onto_the_fold(panel, draw, finish, true_fold):
    c = panel.controller
    rough = [(y, x + 6) for y, x in true_fold.vertices]
    uid = draw(c, rough)
    c.snap()
    finish(c)
    snapped = c.lines.records[uid]
    from sff_napari.sessions.simplify import sampled

    true = sampled(true_fold.vertices)
    gaps = [np.abs(np.linalg.norm(true - p, axis=1)).min() for p in sampled(snapped.vertices)]
    assert np.mean(gaps) < 2.5
    assert abs(snapped.half_width - true_fold.half_width) < 2.5
    c.undo()
    assert c.lines.records[uid].vertices == tuple(rough)


def test_snap_says_that_it_found_nothing(panel, draw, finish, true_fold):
    c = panel.controller
    far = [(y, x + 70) for y, x in true_fold.vertices]
    uid = draw(c, far)
    said = []
    c.status.connect(said.append)
    c.snap()
    finish(c)
    assert c.lines.records[uid].vertices == tuple(far)
    assert said[-1].startswith("Nothing to snap to")
    c.undo()
    assert not c.lines.records, "there was nothing to undo but the drawing"


def test_removing_the_layer_keeps_the_lines(panel, draw):
    c = panel.controller
    draw(c, LINE)
    panel.viewer.layers.remove(c.lines.layer)
    assert len(c.lines.records) == 1
    draw(c, [(5.0, 5.0), (90.0, 9.0)])
    assert len(c.lines.layer.data) == len(c.lines.records) == 2


def test_tools_select_the_layer_and_its_mode(panel, draw, settle):
    c = panel.controller
    draw(c, LINE)
    for button, mode in (
        ("line", "add_line"),
        ("path", "add_polyline"),
        ("edit", "direct"),
        ("bend", "vertex_insert"),
        ("select", "select"),
    ):
        panel.line_tools.buttons[button].click()
        settle(c)
        assert panel.viewer.layers.selection.active is c.lines.layer
        assert c.lines.layer.mode == mode
    assert c.lines.layer.selected_data == {0}


def test_the_wheel_changes_the_width(panel, draw):
    c = panel.controller
    draw(c, LINE)
    before = only(c).half_width

    class Wheel:
        delta, modifiers, handled = (0, 1), ("Shift",), False

    event = Wheel()
    panel._on_wheel(c.lines.layer, event)
    assert only(c).half_width > before
    assert event.handled
    plain = Wheel()
    plain.modifiers = ()
    panel._on_wheel(c.lines.layer, plain)
    assert not plain.handled


def test_a_result_that_comes_while_a_line_is_drawn_is_kept(panel, draw, give_result, until):
    c = panel.controller
    draw(c, LINE)
    layer = c.lines.layer
    layer.mode = "add_polyline"
    # A person has clicked twice: napari adds a shape before it is finished.
    layer._is_creating = True
    with c.lines._silence():
        layer.add([np.array([[DAMAGED, 5.0, 5.0], [DAMAGED, 9.0, 9.0]])], shape_type="path")
    give_result(c)
    assert c.state_of((DAMAGED,)) == "restored"
    c.keeper.wait()
    assert c.keeper.sidecar.read((DAMAGED,), "restored").max() == 77
    layer._is_creating = False
    layer.remove([1])
    assert list(layer.features["state"]) == ["restored"]


def half_drawn(c, points: list[list[float]]) -> None:
    """Leave a path as napari does while a person clicks; the last point is where the mouse is."""
    layer = c.lines.layer
    c.viewer.layers.selection.active = layer
    layer.mode = "add_polyline"
    layer._is_creating = True
    with c.lines._silence():
        layer.add([np.array(points)], shape_type="path")
    layer._moving_value = (layer.nshapes - 1, len(points) - 1)


def test_lines_that_are_found_while_one_is_drawn_do_not_lose_it(panel, draw, settle):
    c = panel.controller
    draw(c, LINE)
    layer = c.lines.layer
    half_drawn(c, [[DAMAGED, y, 150.0 + y / 9] for y in (20.0, 60.0, 110.0, 111.0)])
    c._add_found((DAMAGED,), [Fold([(0.0, 30.0), (223.0, 40.0)], 5.0, source="detected")])
    settle(c)
    assert len(c.lines.records) == 3
    assert layer.nshapes == 3
    assert list(layer.features["uid"]) == c.lines._order
    assert any(len(record.vertices) == 3 for record in c.lines.records.values())


def test_a_stray_path_that_is_finished_by_the_program_is_taken_away(panel, draw, settle):
    c = panel.controller
    draw(c, LINE)
    layer = c.lines.layer
    outside = [[DAMAGED, -50.0 - i, -60.0] for i in range(4)]
    half_drawn(c, outside)
    c._add_found((DAMAGED,), [Fold([(0.0, 30.0), (223.0, 40.0)], 5.0, source="detected")])
    settle(c)
    assert len(c.lines.records) == layer.nshapes == 2
    # The same when a person finishes it.
    half_drawn(c, outside)
    layer._finish_drawing()
    settle(c)
    assert len(c.lines.records) == layer.nshapes == 2


def test_moving_the_slider_compiles_no_shader_and_draws_no_empty_outline(panel, draw, settle):
    c = panel.controller
    draw(c, [(5.0, 60.0), (220.0, 50.0)])
    layer = c.lines.layer
    node = panel.viewer.window._qt_viewer.canvas.layer_to_visual[layer].node
    parts = (node.shape_highlights, node.highlight_lines, node.highlight_vertices)
    for mesh in (node.shape_faces, node.shape_highlights):
        first = mesh._build_color_transform(np.ones((3, 3, 4)))
        assert mesh._build_color_transform(np.zeros((6, 3, 4))) is first
    c.draw("select")
    settle(c)
    layer.selected_data = {0}
    c.go_to((0,))
    assert not any(part.visible for part in parts)
    c.go_to((2,))
    assert [part.visible for part in parts] == [True] * 3, "the selected line is shown so"
    layer.selected_data = set()
    c.go_to((1,))
    c.go_to((2,))
    assert not any(part.visible for part in parts)


def canvas_point(panel, y, x):
    """Return where a point of the shown slice is on the canvas."""
    from qtpy.QtCore import QPoint

    layer = panel.controller.source.layer
    world = layer.data_to_world((*panel.controller.index, y, x))
    canvas = panel.viewer.window._qt_viewer.canvas
    at = canvas.view.scene.transform.map([world[-1], world[-2], 0, 1])[:2]
    return QPoint(round(float(at[0])), round(float(at[1])))


def drag(panel, start, stop, qtbot):
    """Press the mouse at one point of the slice, move, and let go at another."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    native = panel.viewer.window._qt_viewer.canvas.native
    a, b = canvas_point(panel, *start), canvas_point(panel, *stop)
    QTest.mouseMove(native, a)
    QTest.mousePress(native, Qt.MouseButton.LeftButton, pos=a)
    for share in (0.3, 0.6, 1.0):
        QTest.mouseMove(native, a + (b - a) * share)
        qtbot.wait(10)
    QTest.mouseRelease(native, Qt.MouseButton.LeftButton, pos=b)
    qtbot.wait(10)


@pytest.fixture
def shown(panel, until, qtbot):
    """The panel in a window that is on the screen."""
    window = panel.viewer.window._qt_window
    window.resize(1100, 800)
    window.show()
    qtbot.wait(300)
    panel.viewer.reset_view()
    qtbot.wait(100)
    return panel


def test_drawing_ends_after_one_line_unless_it_is_to_go_on(shown, settle, qtbot):
    c = shown.controller
    button = shown.line_tools.buttons["line"]
    button.click()
    settle(c)
    assert button.isChecked()
    assert "Drawing: press the mouse" in shown.status.text()
    drag(shown, (20, 100), (200, 120), qtbot)
    settle(c)
    assert len(c.lines.records) == 1
    assert c.lines.layer.mode == "pan_zoom"
    assert not button.isChecked()
    drag(shown, (20, 40), (200, 50), qtbot)
    settle(c)
    assert len(c.lines.records) == 1, "the mouse moves the picture again"
    shown.viewer.reset_view()
    shown.line_tools.keep_tool.setChecked(True)
    button.click()
    settle(c)
    for x in (40, 180):
        drag(shown, (20, x), (200, x + 10), qtbot)
        settle(c)
    assert len(c.lines.records) == 3
    assert c.lines.layer.mode == "add_line"
    shown.line_tools.width.setValue(30)
    assert [r.half_width for r in c.lines.records.values()].count(15) == 1, "the newest one"
    button.click()
    settle(c)
    assert c.lines.layer.mode == "pan_zoom", "pressing again puts the tool away"


def test_clicks_with_a_tool_make_no_folds(shown, settle, qtbot):
    c = shown.controller
    for tool in ("line", "path"):
        for at in ((50, 50), (-90, -60)):  # on the slice, and outside of the image
            shown.line_tools.buttons[tool].click()
            settle(c)
            drag(shown, at, at, qtbot)
            settle(c)
            c.end_tool()
            settle(c)
    assert not c.lines.records
    assert len(c.lines.layer.data) == 0


def test_selecting_another_layer_puts_the_tool_away(shown, settle, draw, give_result):
    c = shown.controller
    draw(c, LINE)
    button = shown.line_tools.buttons["line"]
    button.click()
    settle(c)
    give_result(c)  # its layers are added while one draws
    settle(c)
    assert button.isChecked()
    assert c.lines.layer.mode == "add_line"
    shown.viewer.layers.selection.active = shown.viewer.layers["stack"]
    settle(c)
    assert not button.isChecked()
    assert c.lines.layer.mode == "pan_zoom"


def test_each_line_has_a_score_and_a_warning_where_nothing_is_dark(panel, draw, until, true_fold):
    c = panel.controller
    about = panel.line_tools.about
    draw(c, true_fold.vertices)
    c.set_half_width(6.0)
    until(lambda: "score" in about.text())
    score = float(about.text().split("score ")[1])
    assert score > 0.5
    assert "nothing dark" not in about.text()
    c.undo()
    c.undo()
    draw(c, [(5.0, 160.0), (215.0, 170.0)])
    until(lambda: "nothing dark along it" in about.text())
    assert "score 0.00." in about.text()
    c.undo()
    draw(c, [(5.0, 190.0), (215.0, 200.0)])  # a little dark by chance
    c.set_half_width(6.0)
    until(lambda: "looks little like a fold" in about.text())
    c.go_to((0,))
    until(lambda: about.text() == "")
