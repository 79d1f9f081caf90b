"""What goes wrong is told in one sentence, with exit code 2; Ctrl-C is 130."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from sff_napari.commands import base
from sff_napari.errors import Cancelled

Command = Callable[..., Any]
COMMANDS = ("demo", "detect", "restore", "calibrate", "evaluate", "simulate", "info")


def check(done: Any, words: str) -> None:
    assert done.code == 2
    assert words in done.err
    assert "Traceback" not in done.err
    assert done.err.startswith("Error: ")
    assert done.err.count("\n") == 1
    assert done.out == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str, command: Command) -> None:
    done = command(name, "--help")
    assert done.code == 0
    assert f"sff-napari {name}" in done.out


def test_group_help_and_version(command: Command) -> None:
    assert all(name in command("--help").out for name in COMMANDS)
    assert command("--version").out.startswith("sff-napari")
    assert command("nonsense").code == 2
    assert command("detect").code == 2


def test_stacks_that_cannot_be_read(tmp_path: Path, clean: Path, command: Command) -> None:
    check(command("detect", tmp_path / "missing.tif"), "There is nothing at")
    check(command("info", tmp_path), "holds no images")
    (tmp_path / "cut.tif").write_bytes(clean.read_bytes()[:300_000])
    check(command("detect", tmp_path / "cut.tif"), "truncated")


def test_choices_that_make_no_sense(clean: Path, tmp_path: Path, command: Command) -> None:
    check(command("detect", clean, "--slices", "7"), "There is no slice 7")
    check(command("detect", clean, "--slices", "a-b"), "cannot be read")
    check(command("detect", clean, "--device", "quantum"), "no device called 'quantum'")
    check(command("demo", "--stack", clean, "--slice", "9", "-o", tmp_path), "no slice 9")
    check(command("simulate", clean, "-o", tmp_path / "a.png"), ".zarr or .tif")
    assert command("restore", clean, "--folds", "x", "-o", "y", "--fusion", "magic").code == 2


def test_folds_that_cannot_be_used(clean: Path, tmp_path: Path, command: Command) -> None:
    folds, out = tmp_path / "folds.json", tmp_path / "out.zarr"
    arguments = ("restore", clean, "--folds", folds, "-o", out)
    check(command(*arguments), "no folds file")
    folds.write_text("{")
    check(command(*arguments), "not JSON")
    head = '{"format": "sff-napari-folds", "version": 1, "folds": '
    folds.write_text(head + "[]}")
    check(command(*arguments), "names no fold")
    folds.write_text(head + '[{"slice": 1, "vertices": [[0, 0], [99, 99]], "half_width": -1}]}')
    check(command(*arguments), "Record 0 of")
    folds.write_text(head + '[{"slice": 1, "vertices": [[0, 0], [99, 99]], "half_width": 9}]}')
    check(command(*arguments, "--slices", "2"), "no fold on slice 2")
    check(command(*arguments, "--fusion", "network", "--weights", tmp_path), "no fusion weights")
    line = '"vertices": [[0, 0], [99, 99]], "half_width": 9}'
    folds.write_text(head + "[" + ",".join(f'{{"slice": {z}, {line}' for z in range(5)) + "]}")
    check(command(*arguments), "no undamaged slice near it")
    assert not out.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"folds.json"}


def test_outputs_that_cannot_be_written(clean: Path, tmp_path: Path, command: Command) -> None:
    check(
        command("detect", clean, "--slices", "1", "-o", tmp_path / "missing" / "f.json"),
        "its folder does not exist",
    )
    check(command("simulate", clean, "-o", tmp_path / "missing" / "a.zarr"), "does not exist")
    (tmp_path / "file").write_text("")
    check(command("demo", "-o", tmp_path / "file"), "could not be written")


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a.zarr"), 2, "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "a.zarr"), 2, "no permission"),
        (MemoryError(), 2, "not enough memory"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (Cancelled(), 130, "Cancelled"),
    ],
)
def test_what_is_told_of_errors(
    raised: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def failing() -> None:
        raise raised

    with pytest.raises(SystemExit) as ended:
        base.run(failing, "failing", [])
    assert ended.value.code == code
    err = capsys.readouterr().err
    assert words in err
    assert err.strip().count("\n") == 0


def test_unknown_errors_are_not_hidden() -> None:
    @click.command()
    def failing() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        base.run(failing, "failing", [])


def test_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sff_napari", "info", "no-such-stack.tif"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "Error: There is nothing at no-such-stack.tif: check the path.\n"


def _interrupted(clean: Path, out: Path, number: int) -> subprocess.CompletedProcess[str]:
    flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    process = subprocess.Popen(
        [sys.executable, "-m", "sff_napari", "simulate", str(clean), "-o", str(out),
         "--slices", "0-4", "--kind", "realistic", "--count", "8"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, creationflags=flags,
    )  # fmt: skip
    for _ in range(1200):
        # The first slice has been written once its chunk is there.
        if any(out.parent.glob(f".{out.name}.*.partial/0/c/0/*/*")):
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    return subprocess.CompletedProcess([], process.returncode, stdout, stderr)


def test_ctrl_c_leaves_nothing_half_written(clean: Path, tmp_path: Path) -> None:
    windows = os.name == "nt"
    done = _interrupted(
        clean, tmp_path / "out.zarr", signal.CTRL_BREAK_EVENT if windows else signal.SIGINT
    )
    assert list(tmp_path.iterdir()) == []
    if not windows:  # Ctrl-Break, the only one that can be sent there, ends differently
        assert done.returncode == 130
        assert "Interrupted" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_kill_leaves_nothing_under_the_name(clean: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    _interrupted(clean, out, signal.SIGTERM)
    assert not out.exists()
    if os.name != "nt":
        assert list(tmp_path.iterdir()) == []
