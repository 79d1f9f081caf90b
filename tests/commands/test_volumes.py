"""Whole volumes with the commands: restore, verify, revert."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sff_napari.folds import Fold
from sff_napari.simulation import neuropil
from sff_napari.stacks import open_stack, write_folds, write_stack

Command = Callable[..., Any]
QUICK = ("--interpolation", "mean", "--unfolding", "none", "--fusion", "stitch", "--device", "cpu")


@pytest.fixture
def volume(tmp_path: Path) -> tuple[Path, Path]:
    """Return a stack and its folds file, of which slice 3 cannot be restored."""
    images = neuropil((7, 96, 96), seed=2).astype(np.float32)
    images[3] = np.nan
    source = write_stack(tmp_path / "in.zarr", images)
    fold = Fold([(0, 40), (95, 50)], 3, source="detected")
    write_folds(tmp_path / "folds.json", {1: [fold], 3: [fold], 5: [fold]})
    return source, tmp_path / "folds.json"


def test_a_run_that_could_not_do_all_says_so(
    volume: tuple[Path, Path], tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "out.zarr"
    arguments = ("restore", volume[0], "--folds", volume[1], "-o", out, *QUICK)
    done = command(*arguments)
    assert done.code == 3
    assert "2 slices restored" in done.out
    assert "1 slice could not be restored" in done.out
    assert "Slice 3" in done.err
    assert "NaN" in done.err
    again = command(*arguments, "--json")
    assert again.code == 3
    assert (again.json["restored"], again.json["present"]) == ([], [1, 5])
    assert list(again.json["failed"]) == ["3"]
    assert [record["status"] for record in again.json["slices"]] == [
        "restored", "failed", "restored",
    ]  # fmt: skip
    checked = command("verify", out)
    assert checked.code == 3
    assert "0 wrong; slices: 2 restored, 1 failed" in checked.out


def test_verify_and_revert(volume: tuple[Path, Path], tmp_path: Path, command: Command) -> None:
    out = tmp_path / "out.zarr"
    arguments = ("restore", volume[0], "--folds", volume[1], "-o", out, "--slices", "1,5", *QUICK)
    assert command(*arguments).code == 0
    assert command("verify", out, "--json").json["good"] is True
    back = command("revert", out, "--fold", "z1-0")
    assert back.code == 0
    assert "1 fold taken back" in back.out
    before, after = open_stack(volume[0]), open_stack(out)
    assert np.array_equal(before[1], after[1])
    assert not np.array_equal(before[5], after[5])
    assert command("verify", out).code == 0
    assert command("revert", out, "--all", "--json").json["reverted"] == ["z5-0"]
    assert np.array_equal(before[5], open_stack(out)[5])
    key = next(path for path in (out / "0" / "c" / "5").rglob("*") if path.is_file())
    assert command("verify", out).code == 0
    assert command("revert", out).code == 2
    unknown = command("revert", out, "--fold", "z9-9")
    assert unknown.code == 2
    assert "no fold 'z9-9'" in unknown.err
    assert command(*arguments).code == 0
    assert key.exists()


def test_verify_names_what_is_wrong(
    volume: tuple[Path, Path], tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "out.zarr"
    assert command(
        "restore", volume[0], "--folds", volume[1], "-o", out, "--slices", "1", "--overlay", *QUICK
    ).code == 0  # fmt: skip
    row = json.loads((out / "sff_napari" / "chunks.jsonl").read_text().splitlines()[0])
    (out / row["key"]).write_bytes(b"x")
    checked = command("verify", out)
    assert checked.code == 3
    assert f"{row['key']}: The chunk is not what was written." in checked.out
    missing = command("verify", tmp_path)
    assert missing.code == 2
    assert "is no volume that sff-napari restored" in missing.err


def test_info_tells_what_a_volume_was_made_from(
    volume: tuple[Path, Path], tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, out = tmp_path / "home", tmp_path / "home" / "out.zarr"
    home.mkdir()
    images = neuropil((7, 96, 96), seed=2)
    source = write_stack(home / "in.tif", images)
    arguments = ("restore", source, "--folds", volume[1], "-o", out, "--overlay", *QUICK)
    assert command(*arguments).code == 0
    assert command("revert", out, "--fold", "z3-0").code == 0
    facts = command("info", out, "--json").json
    assert (facts["restored from"], facts["kind of source"]) == ("in.tif", "OME-TIFF")
    assert facts["only changes are stored"] is True
    assert (facts["slices restored"], facts["slices reverted"]) == ([1, 5], [3])
    assert "slices failed" not in facts
    # One that lies elsewhere is named by the user.
    away = source.rename(tmp_path / "away.tif")
    assert "there is nothing" in command("info", out).err
    told = command("info", out, "--source", away)
    assert told.code == 0
    assert "slices restored" in told.out
    assert "is no overlay" in command("info", away, "--source", away).err
    (out / "sff_napari/slices/000001.json").write_text("{}")
    assert "is damaged" in command("info", out, "--source", away, "--json").json["record"]
    assert "restored from" not in command("info", away).out


def test_worker_processes(volume: tuple[Path, Path], tmp_path: Path, command: Command) -> None:
    arguments = ("restore", volume[0], "--folds", volume[1], "--slices", "1,5", *QUICK)
    one, two = tmp_path / "one.zarr", tmp_path / "two.zarr"
    assert command(*arguments, "-o", one).code == 0
    done = command(*arguments, "-o", two, "--workers", "1")
    assert done.code == 0, done.err
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(
        open_stack(one), open_stack(two), strict=True
    ))  # fmt: skip


def test_options_that_do_not_fit(
    volume: tuple[Path, Path], tmp_path: Path, command: Command
) -> None:
    arguments = ("restore", volume[0], "--folds", volume[1])
    tiff = command(*arguments, "-o", tmp_path / "out.tif", "--overlay")
    assert tiff.code == 2
    assert "is no zarr" in tiff.err
    both = ("--workers", "2", "--scheduler", "tcp://127.0.0.1:1")
    assert "give only one" in command(*arguments, "-o", tmp_path / "out.zarr", *both).err


@pytest.mark.parametrize("workers", [(), ("--workers", "1")])
def test_ctrl_c_leaves_what_can_be_gone_on_with(
    volume: tuple[Path, Path], tmp_path: Path, workers: tuple[str, ...], command: Command
) -> None:
    out = tmp_path / "out.zarr"
    arguments = ["restore", volume[0], "--folds", volume[1], "-o", out, "--slices", "1,5"]
    with subprocess.Popen(
        [sys.executable, "-m", "sff_napari", *map(str, arguments), *workers, "--device", "cpu"],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        todo = tmp_path / "out.zarr.part" / "sff_napari" / "work" / "todo.json"
        while not todo.exists():
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr is not None
        told = process.stderr.read()
        assert process.wait(60) == 130
    assert "run the same command again" in told
    assert "Traceback" not in told
    assert not out.exists()
    assert command(*arguments, "--device", "cpu").code == 0
