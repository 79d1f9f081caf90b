"""What the package must reach on real slices; skipped where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from sff_napari.evaluation import Trials, evaluate
from sff_napari.stacks import open_stack


@pytest.mark.parametrize(
    ("name", "kind", "least_gain"),
    [
        ("vnc_stack1.tif", "straight", 4.0),
        ("vnc_stack1.tif", "realistic", 1.5),
        ("snemi3d_z34_73.tif", "straight", 4.0),
    ],
)
def test_restoring_beats_the_mean_of_the_neighbours(
    data_folder: Path, name: str, kind: str, least_gain: float
) -> None:
    stack = open_stack(data_folder / name)
    trials = Trials(slices=[17, 18], folds=2, kind=kind, device="cpu")
    table = evaluate(stack, trials, methods=["mean", "ours"])
    mean, ours = (row.mean["psnr"] for row in table.rows)
    assert ours > mean + least_gain
