"""A reader sees all of the old file or all of the new one."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from sff_napari.errors import StackError
from sff_napari.io_atomic import (
    atomic_file,
    atomic_folder,
    remove_folder,
    uninterrupted,
    write_bytes,
    write_json,
)


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


def test_a_thread_that_still_writes_does_not_keep_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    stop = time.monotonic() + 0.5

    def write() -> None:
        number = 0
        while time.monotonic() < stop:
            number += 1
            with suppress(OSError):
                (folder / str(number)).mkdir(parents=True)
                (folder / str(number) / "x").write_bytes(b"x")

    thread = threading.Thread(target=write)
    thread.start()
    time.sleep(0.05)
    while thread.is_alive():
        remove_folder(folder)
    remove_folder(folder)
    assert not folder.exists()


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    done = []
    before = signal.getsignal(signal.SIGINT)

    def work() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("first")
        done.append("second")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["first"]
    assert signal.getsignal(signal.SIGINT) is before


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
