"""What the first version wrote is read, checked and taken back by this one.

`fixtures/version-0.1.zip` was written before the modules moved: a stack of synthetic
tissue with two folded slices, its folds (JSON, JSON Lines, detected), the stack
restored as a copy and as an overlay, and the session of a viewer.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sff_napari.sessions import Sidecar
from sff_napari.stacks import open_stack, read_folds


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with zipfile.ZipFile(Path(__file__).parent / "fixtures" / "version-0.1.zip") as file:
        file.extractall(tmp_path)
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sff_napari", *arguments],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip


def test_folds_files(old: Path) -> None:
    for name in ("folds.json", "folds.jsonl"):
        assert sorted(read_folds(old / name).folds) == [1, 2]
    with open_stack(old / "stack.zarr") as stack:
        found = read_folds(old / "detected.json")
        found.check(stack.shape)
    assert sorted(found.folds) == [1, 2]
    # What was searched is known: nothing is searched again.
    assert run(old, "detect", "stack.zarr", "-o", "detected.json").stderr == ""


@pytest.mark.parametrize("name", ["out.zarr", "over.zarr"])
def test_results(old: Path, name: str) -> None:
    assert "0 wrong; slices: 2 restored" in run(old, "verify", name).stdout
    with open_stack(old / "stack.zarr") as before, open_stack(old / name) as after:
        source = [before[z] for z in range(4)]
        changed = [z for z in range(4) if not np.array_equal(source[z], after[z])]
        assert after.voxel_size == (50, 4, 4)
    assert changed == [1, 2]
    run(old, "export", name, "--to", "sofima", "-o", "masks")
    assert any((old / "masks").iterdir())
    run(old, "revert", name, "--fold", "z1-0", "--device", "cpu")
    with open_stack(old / name) as after:
        assert np.array_equal(after[1], source[1])
        assert not np.array_equal(after[2], source[2])


def test_sessions(old: Path) -> None:
    session = Sidecar.load(old / "stack.zarr.sff-session")
    assert [line.index for line in session.folds] == [(1,)]
    assert session.searched == {(0,), (1,)}
    assert session.slices[(1,)].state == "accepted"
    flow = session.read((1,), "flow")
    assert flow is not None
    assert np.nanmax(flow) == 1.5
