"""A small stack with folds, and the command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sff_napari.commands import main
from sff_napari.simulation import neuropil
from sff_napari.stacks import write_stack

DEPTH = 5


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Outcome]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run ``sff-napari`` in this process."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), printed.out, printed.err)

    return call


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clean synthetic stack on disk."""
    return write_stack(
        tmp_path_factory.mktemp("clean") / "clean.tif", neuropil((DEPTH, 384, 384), seed=3)
    )


@pytest.fixture(scope="session")
def damaged(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return that stack with a straight fold on slice 2; the truth is ``damaged.folds.json``."""
    out = tmp_path_factory.mktemp("damaged") / "damaged.zarr"
    with pytest.raises(SystemExit):
        main(["simulate", str(clean), "-o", str(out), "--slices", "2", "--kind", "straight"])
    assert out.exists()
    return out


@pytest.fixture
def constant(tmp_path: Path) -> Path:
    """Return a stack whose slices are all one grey value."""
    return write_stack(tmp_path / "constant.zarr", np.full((3, 64, 64), 7, np.uint8))
