"""``sff-napari info --report``: a text to paste into the report of a problem."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import pytest
import torch

import sff_napari
from sff_napari.networks import weights

Command = Callable[..., Any]


def test_a_report_holds_versions_platform_devices_weights_and_terms(command: Command) -> None:
    told = command("info", "--report")

    assert told.code == 0
    lines = told.out.splitlines()
    assert lines[0] == lines[-1] == "```"
    facts = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in lines[1:-1]}
    assert facts["sff-napari"] == sff_napari.__version__
    assert facts["torch"] == torch.__version__
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
