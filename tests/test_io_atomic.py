"""A reader sees all of the old file or all of the new one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sff_napari.errors import StackError
from sff_napari.io_atomic import atomic_file, atomic_folder, write_bytes, write_json


def test_failure_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    old = path.read_bytes()
    with pytest.raises(TypeError), atomic_file(path) as file:
        file.writelines([b"half", "not bytes"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="it is a folder"):
        write_bytes(tmp_path, b"x")


def test_folder_replaces_only_when_told(tmp_path: Path) -> None:
    target = tmp_path / "a"
    for content in ("old", "new"):
        with atomic_folder(target, overwrite=True) as folder:
            (folder / "b").write_text(content)
            assert not target.exists() or (target / "b").read_text() == "old"
    assert (target / "b").read_text() == "new"
    with pytest.raises(StackError, match="exists already"), atomic_folder(target):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_kill_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from sff_napari.io_atomic import atomic_folder\n"
        "with atomic_folder(sys.argv[1]) as folder:\n"
        "    (folder / 'half').write_text('x')\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
    )
    target = tmp_path / "out.zarr"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(target)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.kill()
    process.wait(10)
    process.stdout.close()
    assert not target.exists()
