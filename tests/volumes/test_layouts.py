"""Groups of other programs: consolidated metadata, labels that are there already, plain arrays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from tests.volumes.conftest import Folds, run, tree, write_ome

from sff_napari.stacks import open_stack


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_new_arrays_are_in_consolidated_metadata(
    damaged: Any, folds: Folds, tmp_path: Path, zarr_format: int
) -> None:
    source, out = tmp_path / "in.zarr", tmp_path / "out.zarr"
    write_ome(source, damaged[0], zarr_format=zarr_format)
    zarr.consolidate_metadata(source)
    run(source, folds, out)
    group = zarr.open_consolidated(out)
    label, flow = group["labels/synthesised/0"], group["displacement"]
    assert np.asarray(label[3]).any()
    assert np.isfinite(np.asarray(flow[3])).any()
    assert np.array_equal(np.asarray(group["s0"][3]), open_stack(out)[3])
    assert dict(group.attrs)["kept"] == {"by": "another program"}


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_labels_of_others_stay(
    damaged: Any, folds: Folds, tmp_path: Path, zarr_format: int
) -> None:
    source, out = tmp_path / "in.zarr", tmp_path / "out.zarr"
    write_ome(source, damaged[0], zarr_format=zarr_format)
    root = zarr.open_group(source, mode="r+")
    labels = root.create_group("labels")
    labels.attrs.update({"labels": ["cells"]} if zarr_format == 2 else
                        {"ome": {"version": "0.5", "labels": ["cells"]}})  # fmt: skip
    labels.create_array("cells", shape=(5, 160, 192), chunks=(1, 64, 64), dtype="uint32")[:] = 7
    run(source, folds, out)
    found = dict(zarr.open_group(out, mode="r")["labels"].attrs)
    assert found.get("ome", found)["labels"] == ["cells", "synthesised"]
    before, after = tree(source), tree(out)
    assert all(after[name] == data for name, data in before.items() if "/cells/" in name)


def test_the_label_is_an_image_of_its_own(source: Path, folds: Folds, tmp_path: Path) -> None:
    run(source, folds, tmp_path / "out.zarr")
    label = open_stack(tmp_path / "out.zarr" / "labels" / "synthesised")
    image = open_stack(tmp_path / "out.zarr")
    assert label.kind.startswith("OME-Zarr 0.5")
    assert (label.shape, label.voxel_size) == (image.shape, image.voxel_size)
    assert len(label.levels) == len(image.levels)
    assert set(np.unique(label[3])) == {0, 1}


def test_a_plain_array_stays_one(damaged: Any, folds: Folds, tmp_path: Path) -> None:
    source, out = tmp_path / "in.zarr", tmp_path / "out.zarr"
    zarr.create_array(source, data=damaged[0], chunks=(1, 64, 64), attributes={"resolution": [9]})
    run(source, folds, out)
    array = zarr.open(out, mode="r")
    assert isinstance(array, zarr.Array)
    assert dict(array.attrs) == {"resolution": [9]}
    assert {path.name for path in out.iterdir()} == {"zarr.json", "c", "sff_napari"}
    label = zarr.open_array(out / "sff_napari" / "labels" / "synthesised" / "0", mode="r")
    assert np.asarray(label[3]).any()


def test_the_source_is_named_by_its_place_beside_the_result(
    source: Path, folds: Folds, tmp_path: Path
) -> None:
    run(source, folds, tmp_path / "out.zarr")
    plan = json.loads((tmp_path / "out.zarr/sff_napari/plan.json").read_text())
    assert plan["source"]["place"] == "in.zarr"
    texts = [p.read_text() for p in (tmp_path / "out.zarr/sff_napari").rglob("*.json")]
    assert not any(str(tmp_path) in text for text in texts)
