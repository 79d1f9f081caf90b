"""Volumes that are written anew under their name: what was made before is not handed out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sff_napari.errors import Cancelled, StackError
from sff_napari.folds import Fold
from sff_napari.simulation import neuropil, simulate_fold
from sff_napari.stacks import open_stack, read_folds, write_folds, write_stack
from sff_napari.stacks.fingerprint import changed_slices, fingerprint
from sff_napari.volumes.find.checkpoint import progress_path
from sff_napari.volumes.find.detect_volume import detect_volume

Command = Callable[..., Any]
QUICK = ("--interpolation", "mean", "--unfolding", "none", "--fusion", "stitch", "--device", "cpu")
LINE = Fold([(0, 60), (159, 100)], 5)


def folded(z: int = 2) -> NDArray[np.uint8]:
    images = neuropil((5, 160, 160), seed=2)
    images[z] = simulate_fold(images[z], LINE, hidden_half_width=12).damaged
    return images


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_stack(tmp_path / "in.zarr", folded())


def rewrite(path: Path, images: NDArray[Any]) -> None:
    shutil.rmtree(path)
    write_stack(path, images)


def test_detect_searches_a_rewritten_volume_anew(
    source: Path, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "folds.json"
    assert "1 fold found" in command("detect", source, "-o", out).out
    assert "5 of them by an earlier run" in command("detect", source, "-o", out).out
    rewrite(source, np.ascontiguousarray(folded()[::-1, :, ::-1]))
    done = command("detect", source, "-o", out)
    assert "5 slices are searched again" in done.err
    assert "earlier run" not in done.out
    start, *_, stop = read_folds(out).folds[2][0].vertices
    assert sorted([start[1], stop[1]]) == pytest.approx([59, 99], abs=6)


def test_only_what_changed_is_searched_again(
    source: Path, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "folds.json"
    command("detect", source, "-o", out)
    images = folded()
    images[2] = neuropil((1, 160, 160), seed=9)[0]
    rewrite(source, images)
    done = command("detect", source, "-o", out)
    assert "1 slice is searched again" in done.err
    assert "4 of them by an earlier run" in done.out
    assert "No fold" in done.out


def test_another_volume_of_the_same_name(source: Path, tmp_path: Path, command: Command) -> None:
    out = tmp_path / "folds.json"
    command("detect", source, "-o", out)
    (tmp_path / "b").mkdir()
    other = write_stack(tmp_path / "b" / "in.zarr", neuropil((5, 160, 160), seed=7))
    done = command("detect", other, "-o", out)
    assert "No fold found" in done.out
    assert "searched again" in done.err
    # A copy elsewhere is the same volume.
    shutil.copytree(other, tmp_path / "c" / "in.zarr")
    again = command("detect", tmp_path / "c" / "in.zarr", "-o", out)
    assert "5 of them by an earlier run" in again.out


def test_an_interrupted_search_of_what_has_changed(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "folds.json"
    with open_stack(source) as stack, pytest.raises(Cancelled):
        detect_volume(
            stack, out=out, cancelled=lambda: progress_path(out).exists()
            and progress_path(out).read_text().count('"searched"') >= 3,
        )  # fmt: skip
    images = folded()
    images[2] = neuropil((1, 160, 160), seed=9)[0]
    rewrite(source, images)
    with open_stack(source) as stack:
        found = detect_volume(stack, out=out)
    assert found.before == [0, 1]
    assert found.folds == {}
    assert "1 slice is searched again" in found.notes[0]


def test_restore_refuses_and_verify_says_so(source: Path, tmp_path: Path, command: Command) -> None:
    write_folds(tmp_path / "f.json", {2: [LINE]})
    out = tmp_path / "out.zarr"
    arguments = ("restore", source, "--folds", tmp_path / "f.json", "-o", out, *QUICK)
    assert command(*arguments).code == 0
    assert "Nothing was missing" in command(*arguments).out
    rewrite(source, np.ascontiguousarray(folded()[:, ::-1]))
    done = command(*arguments)
    assert done.code == 2
    assert "before its pixels changed (slice 0 and others)" in done.err
    checked = command("verify", out)
    assert "in has changed since out.zarr was made from it" in checked.err
    assert command(*arguments, "--overwrite").code == 0
    with open_stack(out) as made, open_stack(source) as now:
        assert np.array_equal(made[0], now[0])


def test_one_slice_of_a_large_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sff_napari.stacks import fingerprint as module

    monkeypatch.setattr(module, "_WHOLE", 0)
    images = folded()
    source = write_stack(tmp_path / "in.zarr", images)
    with open_stack(source) as stack:
        before = fingerprint(stack)
        assert before["windows"] > 0
        assert changed_slices(stack, before) == []
    images[3] = np.roll(images[3], 5, axis=0)
    rewrite(source, images)
    with open_stack(source) as stack:
        assert changed_slices(stack, before) == [3]
        assert changed_slices(stack, {"version": 99}) is None
        assert changed_slices(stack, None) is None


def test_an_overlay_over_what_has_changed(source: Path, tmp_path: Path, command: Command) -> None:
    write_folds(tmp_path / "f.json", {2: [LINE]})
    out = tmp_path / "out.zarr"
    arguments = ("restore", source, "--folds", tmp_path / "f.json", "-o", out, "--overlay", *QUICK)
    assert command(*arguments).code == 0
    shutil.copytree(source, tmp_path / "kept.zarr")
    images = folded()
    images[0] = 255 - images[0]
    rewrite(source, images)
    with pytest.raises(StackError, match="have changed since"):
        open_stack(out)
    checked = command("verify", out)
    assert checked.code == 3
    assert "The source has changed since, e.g. slice 0" in checked.out
    assert command("revert", out, "--all").code == 2
    assert command(*arguments).code == 2
    assert command("verify", out, "--source", tmp_path / "kept.zarr").code == 0


def test_an_unfinished_run_over_what_has_changed_begins_anew(
    source: Path, tmp_path: Path, command: Command
) -> None:
    write_folds(tmp_path / "f.json", {2: [LINE]})
    out = tmp_path / "out.zarr"
    arguments = ("restore", source, "--folds", tmp_path / "f.json", "-o", out, *QUICK)
    assert command(*arguments).code == 0
    out.rename(tmp_path / "out.zarr.part")
    rewrite(source, np.ascontiguousarray(folded()[:, :, ::-1]))
    done = command(*arguments)
    assert done.code == 0
    assert "it is begun anew" in done.err
    with open_stack(out) as made, open_stack(source) as now:
        assert np.array_equal(made[1], now[1])


def test_records_of_earlier_versions_are_used(
    source: Path, tmp_path: Path, command: Command
) -> None:
    write_folds(tmp_path / "f.json", {2: [LINE]})
    out = tmp_path / "out.zarr"
    arguments = ("restore", source, "--folds", tmp_path / "f.json", "-o", out, *QUICK)
    assert command(*arguments).code == 0
    plan = json.loads((out / "sff_napari/plan.json").read_text())
    assert plan["source"].pop("fingerprint")["slices"]
    (out / "sff_napari/plan.json").write_text(json.dumps(plan))
    record = out / "sff_napari/slices/000002.json"
    said = json.loads(record.read_text())
    assert set(said.pop("inputs")) == {"1", "2", "3"}
    record.write_text(json.dumps(said))
    assert "Nothing was missing" in command(*arguments).out
    assert command("verify", out).code == 0
    assert command("revert", out, "--all").code == 0


def test_folds_of_other_pixels_are_used_with_a_word(
    source: Path, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "folds.json"
    command("detect", source, "-o", out)
    brighter = write_stack(tmp_path / "b.zarr", folded() // 2 + 100)
    done = command("restore", brighter, "--folds", out, "-o", tmp_path / "o.zarr", *QUICK)
    assert done.code == 0
    assert "found on other pixels than b holds (slice 2)" in done.err
