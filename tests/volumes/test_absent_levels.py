"""Levels of a pyramid that the metadata name but that are not stored, or are damaged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from tests.volumes.conftest import Folds, run, write_ome

from sff_napari.stacks import open_stack
from sff_napari.volumes.revert import revert_folds
from sff_napari.volumes.verify.verify_volume import verify_volume


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("absent", [["s3"], ["s1"], ["s1", "s2", "s3"]])
@pytest.mark.parametrize("damaged_only", [False, True])
def test_absent_levels_are_noted(
    tmp_path: Path, damaged: Any, folds: Folds, zarr_format: int, absent: list[str],
    damaged_only: bool,
) -> None:  # fmt: skip
    source = write_ome(tmp_path / "in.zarr", damaged[0], zarr_format=zarr_format, levels=4)
    for name in absent:
        shutil.rmtree(source / name)
        if damaged_only:
            (source / name).mkdir()
            (source / name / ("zarr.json" if zarr_format == 3 else ".zarray")).write_text("{")
    with open_stack(source) as stack:
        assert len(stack.levels) == 3 - len(absent)
        assert np.array_equal(stack[2], damaged[0][2])
    out = tmp_path / "out.zarr"
    notes = run(source, folds, out).outcome.notes
    assert all(any(f"{name!r} is named" in note for note in notes) for name in absent)
    assert verify_volume(out).good
    with open_stack(out) as made:
        assert np.array_equal(made[2], damaged[0][2])
        assert not np.array_equal(made[3], damaged[0][3])
        assert len(made.levels) == 3 - len(absent)
        # What is there follows the finest level.
        for level in made.levels:
            assert abs(float(level.stack[3].mean()) - float(made[3].mean())) < 1
    label = zarr.open_group(out / "labels" / "synthesised", mode="r")
    attributes: Any = dict(label.attrs)
    image = attributes.get("ome", attributes)["multiscales"][0]
    scales = [one["coordinateTransformations"][0]["scale"][1] for one in image["datasets"]]
    kept = [n for n in range(4) if f"s{n}" not in absent]
    assert scales == [4.0 * 2**n for n in kept][: len(scales)]
    revert_folds(out, ["z1-0", "z3-0", "z3-1"])
    with open_stack(out) as made:
        assert all(np.array_equal(made[z], damaged[0][z]) for z in range(5))
