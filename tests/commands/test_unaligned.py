"""Neighbours that are not aligned are told, whatever is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sff_napari.folds import Fold
from sff_napari.simulation import neuropil, simulate_fold
from sff_napari.stacks import write_folds, write_stack

Command = Callable[..., Any]
QUICK = ("--interpolation", "mean", "--unfolding", "none", "--fusion", "stitch", "--device", "cpu")


@pytest.mark.parametrize("ending", ["zarr", "tif"])
@pytest.mark.parametrize("shift", [0, 60])
def test_a_shifted_neighbour(tmp_path: Path, command: Command, ending: str, shift: int) -> None:
    images = neuropil((3, 384, 384), 4)
    fold = Fold([(0, 150), (383, 240)], 6)
    images[1] = simulate_fold(images[1], fold, hidden_half_width=15).damaged
    images[2] = np.roll(images[2], shift, axis=1)
    source = write_stack(tmp_path / "in.zarr", images)
    write_folds(tmp_path / "f.json", {1: [fold]})
    done = command(
        "restore", source, "--folds", tmp_path / "f.json", "-o", tmp_path / f"o.{ending}", *QUICK
    )
    assert done.code == 0
    assert ("Slice 2 is not aligned to slice 1: it is shifted by" in done.err) == bool(shift)
    assert "Slice 0 is not aligned" not in done.err
