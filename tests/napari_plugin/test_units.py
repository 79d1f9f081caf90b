"""Small parts without a viewer: history, store, form, flow pictures, cuts, weights cards."""

from __future__ import annotations

import json
import struct
from itertools import pairwise

import numpy as np
import pytest

import sff_napari
from sff_napari.flow_colours import colours_of, legend, wheel
from sff_napari.napari_plugin.actions import ACTIONS, FLICKER_KEY, LIVE_KEY, napari_key
from sff_napari.napari_plugin.controller.history import LIMIT, History, Step
from sff_napari.napari_plugin.controller.result_store import ResultStore, SliceResult
from sff_napari.napari_plugin.layers.flow_arrows import arrows
from sff_napari.napari_plugin.state import FormState
from sff_napari.napari_plugin.widgets.side_view import cut_across, stacked
from sff_napari.napari_plugin.widgets.weights_card import describe_weights
from sff_napari.napari_plugin.workers import tasks
from sff_napari.napari_plugin.workers.job import Channel
from sff_napari.sessions import FoldRecord, SliceRecord


def line(uid="a", x=5.0, index=(0,)):
    return FoldRecord(uid, index, ((0.0, x), (90.0, x)), 4.0)


def step(before, after, **kwargs):
    return Step("changing a line", (0,), {"a": (before, after)}, **kwargs)


def test_history_goes_back_and_on():
    history = History()
    states = [None, *(line(x=float(i)) for i in range(3))]
    for before, after in pairwise(states):
        history.record(step(before, after))
    back = [history.undo().lines["a"][0] for _ in range(3)]
    assert back == [states[2], states[1], None]
    assert history.undo() is None
    assert history.redo().lines["a"][1] == states[1]
    history.record(step(states[1], states[3]))
    assert history.redo() is None
    assert history.undo().lines["a"] == (states[1], states[3])


def test_history_is_bounded():
    history = History()
    for i in range(LIMIT + 50):
        history.record(step(line(x=float(i)), line(x=float(i + 1))))
    steps = 0
    while history.undo() is not None:
        steps += 1
    assert steps == LIMIT


def test_steps_of_one_movement_count_as_one():
    history = History()
    for i in range(5):
        history.record(step(line(x=float(i)), line(x=float(i + 1)), merge="drag"))
    assert history.undo().lines["a"] == (line(x=0.0), line(x=5.0))
    assert history.next_undo is None


def test_history_names_the_folders_it_needs_and_lets_arrays_go():
    history = History()
    result = SliceResult(SliceRecord((0,), "restored", "slice-0"), {"restored": np.ones((8, 8))})
    history.record(Step("restoring the slice", (0,), results={(0,): (None, result)}))
    assert history.folders() == {"slice-0"}
    history.let_go("slice-0")
    assert history.next_undo.results[(0,)][1].arrays == {}


def test_store_lets_go_of_what_is_on_disk_first():
    kept = {("slice-0", "restored"): np.zeros((8, 8), np.uint8)}
    store = ResultStore(lambda folder, key: kept.get((folder, key)), budget=700)

    def result(z):
        arrays = {k: np.ones((8, 8), np.uint8) for k in ("restored", "synthesised")}
        arrays["flow"] = np.ones((2, 8, 8), np.float32)
        return SliceResult(SliceRecord((z,), "restored", f"slice-{z}"), arrays)

    store.put(result(0))
    store.put(result(1))
    store.let_go("slice-0")
    assert store.array((0,), "restored").max() == 1, "there is room for one"
    store.put(result(2))
    store.let_go("slice-2")
    assert store.array((0,), "restored").max() == 0, "read back from disk"
    assert store.array((1,), "restored").max() == 1, "not on disk yet: stays in memory"
    assert store.array((5,), "restored") is None
    store.drop((1,))
    assert len(store) == 2


def test_rejected_results_are_not_shown():
    store = ResultStore()
    result = SliceResult(SliceRecord((0,), "restored"), {"restored": np.ones((4, 4))})
    store.put(result)
    assert store.shown((0,)) is not None
    store.put(result.with_record(state="rejected"))
    assert store.shown((0,)) is None


def test_form_becomes_core_arguments():
    assert FormState().as_restore_arguments() == {"device": "auto"}
    assert FormState().as_detect_arguments() == {"device": "auto", "max_folds": 8}
    form = FormState(unfolding="network", tile=512, cover=2.5, weights="w", threshold=0.3)
    assert form.as_restore_arguments() == {
        "device": "auto",
        "unfolding": "network",
        "tile": 512,
        "cover": 2.5,
        "weights": "w",
    }
    assert form.as_detect_arguments()["threshold"] == 0.3
    assert FormState.from_dict(json.loads(json.dumps(form.to_dict()))) == form
    assert FormState.from_dict({"tile": "many", "show": 3, "unknown": 1}) == FormState()


def test_colours_tell_directions_apart():
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    colours = wheel(angles, np.ones(8))
    assert len({tuple(np.round(c, 2)) for c in colours}) == 8
    np.testing.assert_allclose(wheel(angles, np.zeros(8)), 1)
    flow = np.zeros((2, 6, 6), np.float32)
    flow[:, :2] = np.nan
    flow[1, 3:] = 4
    picture = colours_of(flow)
    assert (picture[:2, :, 3] == 0).all()
    assert (picture[2:, :, 3] == 255).all()
    assert (picture[2, 0, :3] == 255).all()
    assert legend(31).shape == (31, 31, 4)


def test_arrows_lie_on_their_slice_and_carry_the_flow():
    class Source:
        plane, ndim = (64, 64), 3

    store = ResultStore()
    flow = np.full((2, 64, 64), np.nan, np.float32)
    flow[:, 32:] = np.array([3.0, -2.0])[:, None, None]
    store.put(SliceResult(SliceRecord((4,), "restored"), {"flow": flow}))
    vectors, colours = arrows(store, Source())
    assert len(vectors) == len(colours) > 10
    assert (vectors[:, 0, 0] == 4).all()
    assert (vectors[:, 0, 1] >= 32).all()
    np.testing.assert_allclose(vectors[:, 1], np.tile([0, 3, -2], (len(vectors), 1)))
    store.put(SliceResult(SliceRecord((4,), "rejected"), {"flow": flow}))
    assert len(arrows(store, Source())[0]) == 0


def test_the_side_view_cuts_across():
    upright = cut_across(line(x=50.0), (100, 100))
    assert upright.plane == "XZ"
    assert upright.selection[0] == pytest.approx(45, abs=3)
    lying = FoldRecord("b", (0,), ((40.0, 0.0), (44.0, 99.0)), 4.0)
    assert cut_across(lying, (100, 100)).plane == "YZ"
    outside = FoldRecord("c", (0,), ((-50.0, 20.0), (-10.0, 30.0)), 4.0)
    assert cut_across(outside, (100, 100)).selection[0] == 0
    picture = stacked([np.arange(5), np.arange(5) + 5], (0, 9), 3)
    assert picture.shape == (6, 5)
    assert (picture.min(), picture.max()) == (0, 255)


def test_keys_are_given_once_and_have_tips():
    keys = [action.key for action in ACTIONS.values()] + [FLICKER_KEY, LIVE_KEY]
    assert len(keys) == len(set(keys))
    assert all(action.tip.endswith(".") and action.text for action in ACTIONS.values())
    assert napari_key("Ctrl+Shift+Z") == "Control-Shift-Z"
    assert napari_key("PgDown") == "PageDown"


def test_weights_cards(tmp_path):
    header = json.dumps({"__metadata__": {"kind": "fusion", "data": "<stack>"}}).encode()
    file = tmp_path / "w.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    assert "kind: fusion" in describe_weights(str(file))
    assert "&lt;stack&gt;" in describe_weights(str(file))
    file.write_bytes(b"nonsense")
    assert "cannot be read" in describe_weights(str(file))
    assert "cannot be read" in describe_weights(str(tmp_path / "missing.safetensors"))
    assert "w.safetensors" in describe_weights(str(tmp_path))
    assert "no weights" in describe_weights(str(tmp_path.parent))
    assert describe_weights("")


def test_a_failed_rehearsal_troubles_nobody(monkeypatch):
    tried = []

    def fail(*args, **kwargs):
        tried.append(args)
        raise ValueError("an unlucky slice")

    monkeypatch.setattr(sff_napari, "restore", fail)
    monkeypatch.setattr(tasks, "_rehearsed", [])
    machine = tasks.warm_up(Channel())
    assert tried
    assert machine.devices
    assert machine.description
