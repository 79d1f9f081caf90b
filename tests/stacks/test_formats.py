"""N5 and precomputed volumes, written by tensorstore and read as stacks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sff_napari.errors import StackError
from sff_napari.stacks import open_stack

VOLUME = np.random.default_rng(0).integers(0, 256, (6, 40, 56), dtype=np.uint8)


def check(path: Any, volume: NDArray[Any] = VOLUME) -> Any:
    stack = open_stack(path)
    assert stack.shape == volume.shape
    assert stack.dtype == volume.dtype
    for z in (3, 0, 5):
        assert np.array_equal(stack[z], volume[z])
    assert np.array_equal(stack.read(2, slice(15, 40), slice(3, 19)), volume[2, 15:40, 3:19])
    return stack


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_precomputed(tmp_path: Path, dtype: str, write_precomputed: Any) -> None:
    volume = VOLUME.astype(dtype)
    write_precomputed(tmp_path / "a", volume)
    stack = check(tmp_path / "a", volume)
    assert stack.kind == "Neuroglancer precomputed"
    assert stack.voxel_size == (40, 4, 4)
    assert stack.chunks == (16, 16, 4, 1)
    assert stack.tile == (16, 16)
    assert stack.details["voxel offset (z, y, x)"] == [7, 200, 100]
    (level,) = stack.levels
    assert (level.rows, level.columns) == (2, 2)
    assert np.array_equal(level.stack[1], volume[1, ::2, ::2])


def test_sharded_precomputed(tmp_path: Path, write_precomputed: Any) -> None:
    sharding = {
        "@type": "neuroglancer_uint64_sharded_v1",
        "preshift_bits": 1,
        "minishard_bits": 1,
        "shard_bits": 1,
        "hash": "identity",
    }
    write_precomputed(tmp_path / "a", VOLUME, sharding=sharding)
    assert check(tmp_path / "a").details["shards"]


def test_n5_dataset(tmp_path: Path, write_n5: Any) -> None:
    write_n5(tmp_path / "a.n5" / "raw", VOLUME)
    file = tmp_path / "a.n5" / "raw" / "attributes.json"
    attributes = json.loads(file.read_text())
    attributes["pixelResolution"] = {"unit": "nm", "dimensions": [4, 5, 40]}
    file.write_text(json.dumps(attributes))
    stack = check(tmp_path / "a.n5" / "raw")
    assert stack.kind == "N5"
    assert stack.voxel_size == (40, 5, 4)
    assert stack.details["codecs"] == "gzip"
    assert not stack.levels


def test_n5_group_with_levels(tmp_path: Path, write_n5: Any) -> None:
    write_n5(tmp_path / "a.n5" / "s0", VOLUME)
    write_n5(tmp_path / "a.n5" / "s1", VOLUME[:, ::2, ::2])
    write_n5(tmp_path / "a.n5" / "s2", VOLUME[::2, ::4, ::4])
    (tmp_path / "a.n5" / "attributes.json").write_text('{"n5": "2.0.0", "resolution": [4, 4, 40]}')
    stack = check(tmp_path / "a.n5")
    assert stack.voxel_size == (40, 4, 4)
    # The coarsest level merges slices: it is of no use slice by slice.
    assert [(level.rows, level.columns) for level in stack.levels] == [(2, 2)]


def test_groups_that_are_no_stack(tmp_path: Path) -> None:
    (tmp_path / "attributes.json").write_text('{"n5": "2.0.0"}')
    with pytest.raises(StackError, match="without levels s0"):
        open_stack(tmp_path)
    (tmp_path / "attributes.json").write_text("{")
    with pytest.raises(StackError, match="damaged: it is not JSON"):
        open_stack(tmp_path)
    (tmp_path / "attributes.json").write_text('{"dimensions": "many"}')
    with pytest.raises(StackError, match="cannot be read"):
        open_stack(tmp_path)


@pytest.mark.parametrize(
    "key", ["../elsewhere", "/etc", "gs://bucket/volume", "a/../../b", "c:\\x"]
)
def test_a_precomputed_volume_cannot_lead_elsewhere(
    tmp_path: Path, key: str, write_precomputed: Any
) -> None:
    write_precomputed(tmp_path / "a", VOLUME)
    info = json.loads((tmp_path / "a" / "info").read_text())
    info["scales"][1]["key"] = key
    (tmp_path / "a" / "info").write_text(json.dumps(info))
    with pytest.raises(StackError, match="outside of it: such references are not followed"):
        open_stack(tmp_path / "a")


def test_damaged_precomputed(tmp_path: Path, write_precomputed: Any) -> None:
    write_precomputed(tmp_path / "a", VOLUME)
    stack = open_stack(tmp_path / "a")
    for file in (tmp_path / "a" / "4_4_40").iterdir():
        file.write_bytes(b"no chunk")
    with pytest.raises(StackError) as caught:
        stack[0]
    assert "\n" not in str(caught.value)
    assert "[" not in str(caught.value)
    info = tmp_path / "a" / "info"
    info.write_text(info.read_text().replace('"image"', '"segmentation"'))
    with pytest.raises(StackError, match="type 'segmentation'"):
        open_stack(tmp_path / "a")
    info.write_text('{"scales": []}')
    with pytest.raises(StackError, match="type None"):
        open_stack(tmp_path / "a")


def test_without_tensorstore_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_n5: Any
) -> None:
    write_n5(tmp_path / "a", VOLUME)
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    with pytest.raises(StackError, match=r'needs tensorstore: .*"sff-napari\[formats\]"'):
        open_stack(tmp_path / "a")
