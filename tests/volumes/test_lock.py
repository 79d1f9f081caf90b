"""One run at a time writes to a result."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sff_napari.volumes.run.errors import Stop
from sff_napari.volumes.run.folder import Folder
from sff_napari.volumes.run.lock import Lock

CHILD = """
import sys, time
from pathlib import Path
from sff_napari.volumes.run.lock import Lock
with Lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_and_nothing_stays_behind(tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    with Lock(out):
        out.mkdir()
        # What ends a run early in its folder does not end the lock.
        Folder(out).clear_work()
        with pytest.raises(Stop, match="Another run is at work"):
            Lock(out)
    with Lock(out):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.zarr"]
    assert list(out.iterdir()) == []


def test_a_killed_run_locks_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(out)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == "held"
        with pytest.raises(Stop, match="Another run is at work"):
            Lock(out)
        child.kill()
    with Lock(out):
        pass


def test_where_it_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Stop, match="file"):
        Lock(tmp_path / "file" / "out.zarr")
