"""Where a volume lies in its data set is kept in results and exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from tests.volumes.conftest import Folds, run

from sff_napari.stacks import open_stack, write_folds, write_stack
from sff_napari.volumes import exports
from sff_napari.volumes.exports.source import open_source

OFFSET = (3000, 2000, 1001)


@pytest.fixture
def precomputed(tmp_path: Path, damaged: Any) -> Path:
    import tensorstore as ts

    images = damaged[0]
    store = ts.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{tmp_path / 'v'}/"},
            "multiscale_metadata": {"type": "image", "data_type": "uint8", "num_channels": 1},
            "scale_metadata": {
                "size": list(images.shape[::-1]),
                "voxel_offset": list(OFFSET[::-1]),
                "resolution": [4, 4, 40],
                "chunk_size": [64, 64, 1],
                "encoding": "raw",
            },
        },
        create=True,
    ).result()
    store[ts.d[:].translate_to[0]][..., 0] = images.transpose(2, 1, 0)
    return tmp_path / "v"


@pytest.mark.parametrize("overlay", [False, True])
def test_results_and_exports(
    precomputed: Path, folds: Folds, tmp_path: Path, damaged: Any, overlay: bool
) -> None:
    import tensorstore as ts

    with open_stack(precomputed) as stack:
        assert stack.offset == OFFSET
    out = tmp_path / "out.zarr"
    run(precomputed, folds, out, overlay=overlay)
    with open_stack(out) as made:
        assert made.offset == OFFSET
        expected = {z: made[z] for z in range(len(made))}
    found = dict(zarr.open_group(out, mode="r").attrs)["ome"]["multiscales"][0]["datasets"][0]  # type: ignore[index]
    moved = {t["type"]: t for t in found["coordinateTransformations"]}["translation"]
    assert moved["translation"] == [3000 * 40, 2000 * 4, 1001 * 4]
    source = open_source(out)
    masks = exports.FoldMasks(source.folds, source.shape)
    exports.write_mask_layer(
        tmp_path / "m", masks, source.need_voxel_size(), mips=2, offset=source.offset
    )
    scales = json.loads((tmp_path / "m" / "info").read_text())["scales"]
    assert [scale["voxel_offset"] for scale in scales] == [[1001, 2000, 3000], [500, 1000, 3000]]
    layer = ts.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{tmp_path / 'm'}/"},
        }
    ).result()
    y, x = (round(n) for n in folds[1][0].vertices[0])
    assert int(layer[1001 + x, 2000 + y + 5, 3001, 0].read().result()) == 1
    assert int(layer[1001 + x, 2000 + y + 5, 3000, 0].read().result()) == 0
    exports.write_field(tmp_path / "f", source)
    info = json.loads((tmp_path / "f" / "info").read_text())["scales"][0]
    assert info["voxel_offset"] == [1001, 2000, 3000]
    exports.write_sofima(tmp_path / "s", source, masks)
    for name in ("mask.zarr", "map.zarr"):
        assert zarr.open_array(tmp_path / "s" / name, mode="r").attrs["voxel_offset"] == list(
            OFFSET
        )
    exports.write_landmarks(tmp_path / "b", source)
    for folder in ("s", "b"):
        frame = json.loads((tmp_path / folder / "frame.json").read_text())
        assert frame["voxel_offset"] == list(OFFSET)
        assert frame["axes"] == ["z", "y", "x"]
    # Copies of copies as well.
    with open_stack(out) as made:
        write_stack(tmp_path / "copy.zarr", made)
    with open_stack(tmp_path / "copy.zarr") as copy:
        assert copy.offset == OFFSET
        assert np.array_equal(copy[0], expected[0])


def test_a_stack_with_a_folds_file(precomputed: Path, folds: Folds, tmp_path: Path) -> None:
    write_folds(tmp_path / "f.json", folds)
    source = open_source(precomputed, tmp_path / "f.json")
    assert source.offset == OFFSET
    assert source.frame["voxel_size_nm"] == [40, 4, 4]


def test_translations_of_ome_zarr(tmp_path: Path, damaged: Any) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("0", data=damaged[0])
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {
                "axes": [{"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [20, 2, 2]},
                            {"type": "translation", "translation": [60, 10, 30]},
                        ],
                    }
                ],
                "coordinateTransformations": [
                    {"type": "scale", "scale": [2, 2, 2]},
                    {"type": "translation", "translation": [40, 0, 8]},
                ],
            }
        ],
    }
    with open_stack(tmp_path / "a.zarr") as stack:
        assert stack.voxel_size == (40, 4, 4)
        assert stack.offset == (4, 5, 17)


def test_the_offset_of_a_plain_zarr(tmp_path: Path, damaged: Any) -> None:
    array = zarr.create_array(tmp_path / "raw", data=damaged[0])
    array.attrs.update({"resolution": [40, 4, 4], "offset": [400, 40, 8]})
    with open_stack(tmp_path / "raw") as stack:
        assert stack.offset == (10, 10, 2)
