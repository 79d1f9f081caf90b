"""Missing slices: passed over as neighbours, and made from those around them if asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import zarr
from tests.volumes.conftest import QUICK, SURE, run, tree, write_ome

from sff_napari.folds import Fold
from sff_napari.simulation import neuropil
from sff_napari.stacks import open_stack
from sff_napari.volumes.plan.settings import VolumeSettings
from sff_napari.volumes.revert import revert_folds
from sff_napari.volumes.run.executors import Threads
from sff_napari.volumes.verify.verify_volume import verify_volume


def with_gaps(path: Path, *gaps: int, depth: int = 9) -> Path:
    volume = neuropil((depth, 96, 96), seed=4)
    volume[list(gaps)] = 0
    return write_ome(path, volume, chunks=(2, 48, 48), levels=2)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_missing_slices_are_interpolated(tmp_path: Path) -> None:
    source, out = with_gaps(tmp_path / "in.zarr", 2, 5, 6), tmp_path / "out.zarr"
    summary = run(source, {}, out, fill_missing=True, settings=SURE)
    assert summary.outcome.filled == [2, 5, 6]
    before, after = open_stack(source), open_stack(out)
    clean = neuropil((9, 96, 96), seed=4)
    for z in range(9):
        if z not in (2, 5, 6):
            assert np.array_equal(before[z], after[z])
            continue
        label = np.asarray(zarr.open_array(out, path="labels/synthesised/0", mode="r")[z])
        flow = np.asarray(zarr.open_array(out, path="displacement", mode="r")[z])
        assert (label == 1).all()
        assert np.isnan(flow).all()
        sure = np.asarray(zarr.open_array(out, path="confidence", mode="r")[z]) / 255
        assert 0.2 < sure.mean() < 0.95
    assert min(correlation(after[2], clean[z]) for z in (1, 3)) > 0.5
    # Each of two in a row resembles the slice beside it more.
    assert correlation(after[5], clean[4]) > correlation(after[5], clean[7])
    assert correlation(after[6], clean[7]) > correlation(after[6], clean[4])
    record = json.loads((out / "sff_napari/slices/000005.json").read_text())
    assert (record["status"], record["previous"], record["following"]) == ("interpolated", 4, 7)
    assert verify_volume(out).interpolated == [2, 5, 6]
    assert run(source, {}, out, fill_missing=True, settings=SURE).outcome.filled == []
    revert_folds(out, ["z2-missing", "z5-missing", "z6-missing"], pool=Threads(1))
    for name, data in tree(source).items():
        assert name.endswith("zarr.json") or tree(out)[name] == data


def test_more_than_three_in_a_row_stay(tmp_path: Path) -> None:
    source, out = with_gaps(tmp_path / "in.zarr", 1, 3, 4, 5, 6), tmp_path / "out.zarr"
    summary = run(source, {}, out, fill_missing=True)
    assert summary.outcome.filled == [1]
    assert sorted(summary.outcome.failed) == [3, 4, 5, 6]
    assert "more than 3 missing in a row" in summary.outcome.failed[3]
    assert not open_stack(out)[4].any()


def test_a_missing_slice_is_no_neighbour(tmp_path: Path) -> None:
    source, out = with_gaps(tmp_path / "in.zarr", 3), tmp_path / "out.zarr"
    fold = Fold([(0, 30), (95, 50)], 3, source="detected")
    run(source, {2: [fold]}, out)
    record = json.loads((out / "sff_napari/slices/000002.json").read_text())
    assert (record["previous"], record["following"]) == (1, 4)
    assert "stands in" in record["note"]


def test_large_missing_slices_are_made_in_pieces(tmp_path: Path) -> None:
    source = with_gaps(tmp_path / "in.zarr", 2, depth=5)
    whole, blocks = tmp_path / "whole.zarr", tmp_path / "pieces.zarr"
    run(source, {}, whole, fill_missing=True, settings=QUICK)
    run(source, {}, blocks, fill_missing=True, settings=VolumeSettings(tile=64))
    a, b = open_stack(whole)[2].astype(float), open_stack(blocks)[2].astype(float)
    assert correlation(a, b) > 0.95
