"""The session folder: complete, crash safe, and only for its own stack."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from sff_napari.errors import StackError
from sff_napari.sessions import FoldRecord, Sidecar, SliceRecord, identify, session_places

IMAGE = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
IDENTITY = identify((5, 64, 64), np.uint8, IMAGE)


def arrays(value: int) -> dict[str, np.ndarray]:
    flow = np.full((2, 64, 64), np.nan, np.float32)
    flow[:, :30] = value / 7
    return {
        "restored": np.full((64, 64), value, np.uint8),
        "synthesised": np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64),
        "flow": flow,
    }


def test_what_is_kept_comes_back(tmp_path):
    session = Sidecar(tmp_path / "a.sff-session", IDENTITY)
    session.folds = [FoldRecord("u", (1,), ((1.0, 2.0), (30.0, 40.0)), 5.0)]
    session.searched = {(0,), (1,)}
    session.settings = {"tile": 256}
    session.keep(SliceRecord((1,), "accepted"), arrays(9))
    again = Sidecar.load(session.path)
    assert again.identity == IDENTITY
    assert again.folds == session.folds
    assert again.searched == {(0,), (1,)}
    assert again.settings == {"tile": 256}
    for key, array in arrays(9).items():
        np.testing.assert_allclose(again.read((1,), key), array, atol=1 / 255)
    assert again.read((2,), "restored") is None
    assert again.read((1,), "restored").dtype == np.uint8


def test_a_slice_kept_again_replaces_the_old_one_and_nothing_piles_up(tmp_path):
    session = Sidecar(tmp_path / "a.sff-session", IDENTITY)
    for value in (1, 2, 3):
        session.keep(SliceRecord((1,), "accepted"), arrays(value))
    assert session.read((1,), "restored").max() == 3
    assert len(list(session.path.glob("slice-*"))) == 1
    session.slices = {}
    session.save()
    assert list(session.path.glob("slice-*")) == []


def test_another_stack_is_told_apart():
    assert identify((5, 64, 64), np.uint8, IMAGE[::-1]) != IDENTITY
    assert identify((6, 64, 64), np.uint8, IMAGE) != IDENTITY
    assert identify((5, 64, 64), np.uint8, IMAGE.copy()) == IDENTITY


def test_places(tmp_path):
    file = tmp_path / "my stack.tif"
    file.write_bytes(b"x")
    beside, shared = session_places("my stack", IDENTITY, str(file))
    assert beside == tmp_path / "my stack.tif.sff-session"
    assert shared.name.startswith("my_stack-")
    chosen = session_places("my stack", IDENTITY, str(file), tmp_path / "sessions")
    assert chosen[0].parent == tmp_path / "sessions"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"format": "other"}', '{"format": "sff-napari-session", "version": 99}'],
)
def test_damaged_session_files_give_one_sentence(tmp_path, text):
    (tmp_path / "session.json").write_text(text)
    with pytest.raises(StackError, match="cannot be read"):
        Sidecar.load(tmp_path)


def test_set_aside_deletes_nothing(tmp_path):
    session = Sidecar(tmp_path / "a.sff-session", IDENTITY)
    session.keep(SliceRecord((1,), "accepted"), arrays(4))
    moved = session.set_aside()
    assert not session.path.exists()
    assert Sidecar.load(moved).read((1,), "restored").max() == 4


def test_no_permission_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    session = Sidecar(tmp_path / "file" / "a.sff-session", IDENTITY)
    with pytest.raises(StackError, match="cannot be made"):
        session.save()


CHILD = """
import sys, numpy as np
from pathlib import Path
from sff_napari.sessions import *
image = np.zeros((64, 64), np.uint8)
session = Sidecar(Path(sys.argv[1]), identify((99, 64, 64), np.uint8, image))
z = 0
while True:
    arrays = {"restored": np.full((200, 200), z % 251, np.uint8)}
    session.keep(SliceRecord((z % 7,), "accepted"), arrays)
    print(z, flush=True)
    z += 1
"""


def test_killed_at_any_moment_nothing_accepted_is_lost(tmp_path):
    for attempt in range(3):
        path = tmp_path / f"{attempt}.sff-session"
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True
        )
        reported = []
        for line in child.stdout:
            reported.append(int(line))
            if len(reported) >= 9 + 3 * attempt:
                break
        time.sleep(0.004 * attempt)
        child.kill()
        reported += [int(line) for line in child.stdout.read().split()]
        child.wait()
        session = Sidecar.load(path)
        for z in range(7):
            latest = max(r for r in reported if r % 7 == z)
            kept = int(session.read((z,), "restored").max())
            # Killed between the rename and the report, the next one is there already.
            assert kept in (latest % 251, (latest + 7) % 251)
        json.loads((path / "session.json").read_text())
