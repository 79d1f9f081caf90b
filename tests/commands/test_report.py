"""``sff-napari info --report``: a text to paste into the report of a problem."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import sff_napari
from sff_napari.commands import error_log, main
from sff_napari.networks import weights

Command = Callable[..., Any]


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "state" / "last-errors.txt"
    monkeypatch.setattr(error_log, "error_log", lambda: path)
    return path


def test_a_report_holds_versions_platform_devices_weights_and_terms(command: Command) -> None:
    told = command("info", "--report")

    assert told.code == 0
    lines = told.out.splitlines()
    assert lines[0] == lines[-1] == "```"
    facts = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in lines[1:-1]}
    assert facts["sff-napari"] == sff_napari.__version__
    assert torch.__version__.startswith(facts["torch"])  # perhaps with "+cpu" or "+cu126"
    assert facts["platform"] == platform.platform()
    assert facts["devices"].startswith(("cpu", "cuda", "mps", "NVIDIA"))
    assert facts["filling weights"].endswith(weights.digest("filling")[:12])
    assert facts["terms of the weights"] == weights.TERMS


def test_a_report_names_no_place_and_no_person(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("USER", "somebody")
    monkeypatch.setenv("QT_API", "pyqt6")

    told = command("info", "--report").out

    assert "somebody" not in told
    assert "pyqt6" in told


@pytest.mark.parametrize("more", ["stack.tif", "--missing", "--json"])
def test_a_report_is_of_the_installation_alone(command: Command, more: str) -> None:
    told = command("info", "--report", more)

    assert told.code == 2
    assert "give it alone" in told.err


def test_a_report_has_the_last_errors_without_their_folders(
    command: Command, tmp_path: Path
) -> None:
    assert command("info", "--report").out.endswith("last errors of the commands:\nnone\n```\n")
    for number in range(error_log.MOST + 2):
        assert command("info", tmp_path / "secret" / f"absent{number}.tif").code == 2

    told = command("info", "--report").out

    kept = [number for number in range(error_log.MOST + 2) if f"absent{number}.tif" in told]
    assert kept == list(range(2, error_log.MOST + 2))
    assert "secret" not in told
    assert str(tmp_path) not in told


def test_an_error_is_told_where_the_log_cannot_be_written(
    command: Command, tmp_path: Path, log: Path
) -> None:
    log.parent.write_text("a file where the folder should be")

    told = command("info", tmp_path / "absent.tif")

    assert told.code == 2
    assert "absent.tif" in told.err
    assert told.err.count("\n") == 1


def test_a_traceback_is_kept(monkeypatch: pytest.MonkeyPatch, clean: Path) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("sff_napari.commands.info._stack", fail)
    with pytest.raises(ZeroDivisionError):
        main(["info", str(clean)])
    assert "a fault of ours" in error_log.last_errors()[-1]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/a b/x.tif is no stack", "…/x.tif is no stack"),
        (r"C:\Users\anna\x.tif is no stack", "…/x.tif is no stack"),
        ("../data/x.tif: gone", "…/x.tif: gone"),
        ("s3://bucket/x.zarr is not there", "s3://bucket/x.zarr is not there"),
        ("20/40 px and dy/dx", "20/40 px and dy/dx"),
    ],
)
def test_folders_are_taken_out(text: str, shown: str) -> None:
    assert error_log.without_folders(text) == shown
