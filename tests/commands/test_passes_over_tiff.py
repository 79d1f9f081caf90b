"""A second pass over a TIFF: the record of the first is carried along."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sff_napari.folds import Fold
from sff_napari.simulation import neuropil
from sff_napari.stacks import write_folds, write_stack

Command = Callable[..., Any]
QUICK = ("--interpolation", "mean", "--unfolding", "none", "--fusion", "stitch", "--device", "cpu")


def test_three_passes(tmp_path: Path, command: Command) -> None:
    place = write_stack(tmp_path / "0.tif", neuropil((6, 96, 96), 4))
    for number, z in enumerate((1, 3, 4), start=1):
        write_folds(tmp_path / "f.json", {z: [Fold([(0, 40), (95, 50)], 4)]})
        out = tmp_path / f"{number}.tif"
        assert (
            command("restore", place, "--folds", tmp_path / "f.json", "-o", out, *QUICK).code == 0
        )
        place = out
    record = json.loads((tmp_path / "3.restoration.json").read_text())
    passes = [*record["earlier"], record]
    assert [[one["slice"] for one in each["slices"]] for each in passes] == [[1], [3], [4]]
