"""Reviewing fold lines and volumes that were made outside the viewer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sff_napari.errors import InputError, StackError
from sff_napari.napari_plugin.controller import opening
from sff_napari.napari_plugin.controller.opening import (
    ask_for_lines,
    open_path,
    read_lines,
    read_result,
)
from sff_napari.stacks import open_stack, write_folds, write_stack
from sff_napari.stacks.description import Readers, StackInfo
from sff_napari.stacks.stack import Stack

DAMAGED = 2


@pytest.fixture
def told(monkeypatch):
    sentences: list[str] = []
    monkeypatch.setattr(
        "sff_napari.napari_plugin.controller.controller.show_problem", sentences.append
    )
    return sentences


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_a_file_of_a_whole_volume_fills_the_review_list(
    suffix, panel, true_fold, finish, tmp_path, monkeypatch, told
):
    c = panel.controller
    path = tmp_path / f"folds{suffix}"
    other = true_fold.with_changes(vertices=[(0.0, 20.0), (223.0, 30.0)], score=0.5)
    write_folds(path, {DAMAGED: [true_fold], 4: [other]})
    monkeypatch.setattr(
        opening.QFileDialog, "getOpenFileName", lambda *args, **kwargs: (str(path), "")
    )
    for _ in range(2):
        ask_for_lines(c)
        finish(c)
        assert [item.index for item in c.queue()] == [(DAMAGED,), (4,)]
        assert len(c.lines.records) == 2, "opening it again adds nothing"
    assert "Opened 0 fold lines" in panel.status.text()
    write_folds(path, {90: [true_fold]})
    ask_for_lines(c)
    finish(c)
    assert "slice 90" in told[-1]
    with pytest.raises(StackError):
        read_lines(tmp_path / "missing.json", (5, 224, 224))


def test_a_restored_volume_is_reviewed(
    panel, true_fold, finish, tmp_path, folded_stack, told, until
):
    from sff_napari.volumes.plan.request import VolumeRequest
    from sff_napari.volumes.restore_volume import restore_volume
    from sff_napari.volumes.run.executors import Threads

    source, out = tmp_path / "stack.zarr", tmp_path / "out.zarr"
    write_stack(
        source,
        Stack(
            Readers(lambda z: folded_stack[z]),
            StackInfo(folded_stack.shape, np.uint8, kind="a", name="a"),
        ),
    )
    with open_stack(source) as stack:
        restore_volume(VolumeRequest(source, stack, {DAMAGED: [true_fold]}, out), Threads(1))
    c = panel.controller
    open_path(c, Path(out), read_result)
    finish(c)
    assert "1 restored slice" in panel.status.text()
    assert c.state_of((DAMAGED,)) == "restored"
    shown = np.asarray(panel.viewer.layers["restored"].data[DAMAGED])
    assert not np.array_equal(shown, folded_stack[DAMAGED])
    assert c.store.array((DAMAGED,), "flow").shape == (2, 224, 224)
    assert c.store.array((DAMAGED,), "reference") is None
    c.accept_slice()
    c.keeper.wait()
    np.testing.assert_array_equal(
        c.keeper.read(c.store.get((DAMAGED,)).record.folder, "restored"), shown
    )
    with pytest.raises(InputError, match="shape"):
        read_result(out, (5, 100, 100))
    with pytest.raises(InputError, match="no record"):
        read_result(source, (5, 224, 224))
