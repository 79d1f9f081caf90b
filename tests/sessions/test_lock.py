"""One writer for each session."""

from __future__ import annotations

import os
import subprocess
import sys

from sff_napari.sessions.lock import SessionLock

CHILD = """
import sys, time
from pathlib import Path
from sff_napari.sessions.lock import SessionLock
lock = SessionLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
time.sleep(60)
"""


def test_only_one_holds_it(tmp_path):
    first, second = (SessionLock(tmp_path / "deep" / "a.sff-session") for _ in range(2))
    assert first.acquire()
    assert first.acquire(), "asking again changes nothing"
    assert not second.acquire()
    assert second.holder.pid == os.getpid()
    assert "another viewer of this napari" in str(second.holder)
    first.release()
    assert not first.path.exists()
    assert second.acquire()
    second.release()
    second.release()


def test_a_killed_process_leaves_a_file_but_no_lock(tmp_path):
    session = tmp_path / "a.sff-session"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(session)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline().strip() == "True"
        mine = SessionLock(session)
        assert not mine.acquire()
        assert mine.holder.pid == child.pid
        assert f"process {child.pid} on this computer" in str(mine.holder)
    finally:
        child.kill()
        child.wait()
    assert mine.path.exists()
    assert mine.acquire()
    assert mine.holder.pid == os.getpid()
    mine.release()


def test_a_file_that_says_nothing_locks_nothing(tmp_path):
    lock = SessionLock(tmp_path / "a.sff-session")
    lock.path.write_text("{")
    other = SessionLock(tmp_path / "a.sff-session")
    assert lock.acquire()
    lock.path.with_name(f"{lock.path.name}.json").write_text("")
    assert not other.acquire()
    assert str(other.holder) == "another viewer"
    lock.release()
