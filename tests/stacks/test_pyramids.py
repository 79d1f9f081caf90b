"""Levels, axes and codecs of zarr volumes, and files that mean harm."""

from __future__ import annotations

import json
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from sff_napari.errors import StackError
from sff_napari.stacks import open_stack, write_stack

VOLUME = np.random.default_rng(0).integers(0, 256, (6, 40, 56), dtype=np.uint8)


@settings(max_examples=40)
@given(
    axes=st.permutations("zyx").flatmap(
        lambda three: st.tuples(
            st.just("".join(three)), st.sampled_from(["", "c", "tc"]), st.booleans()
        )
    ),
    sizes=st.tuples(st.integers(1, 4), st.integers(2, 37), st.integers(2, 41)),
    steps=st.lists(st.sampled_from([2, 3]), max_size=2),
    version=st.sampled_from(["0.4", "0.5"]),
    scale=st.tuples(*[st.floats(0.5, 80)] * 3),
    unit=st.sampled_from(["nanometer", "micrometer", None]),
)
def test_any_axes_and_levels(
    axes: tuple[str, str, bool],
    sizes: tuple[int, int, int],
    steps: list[int],
    version: str,
    scale: tuple[float, float, float],
    unit: str | None,
) -> None:
    three, more, behind = axes
    names = three + more if behind else more + three
    size = dict(zip("zyx", sizes, strict=True)) | {"c": 2, "t": 1}
    step = dict(zip("zyx", scale, strict=True)) | {"c": 1.0, "t": 1.0}
    data = np.random.default_rng(0).integers(0, 256, [size[axis] for axis in names], np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.zarr"
        group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
        datasets, factor, level = [], 1, data
        for number in range(len(steps) + 1):
            group.create_array(f"s{number}", data=np.ascontiguousarray(level))
            sizes_here = [step[a] * (factor if a in "yx" else 1) for a in names]
            datasets.append(
                {
                    "path": f"s{number}",
                    "coordinateTransformations": [{"type": "scale", "scale": sizes_here}],
                }
            )
            if number < len(steps):
                factor *= steps[number]
                cut = tuple(slice(None, None, factor) if a in "yx" else slice(None) for a in names)
                level = data[cut]
        described = [
            {"name": a, "type": "space", **({"unit": unit} if unit else {})}
            if a in "zyx"
            else {"name": a, "type": "channel" if a == "c" else "time"}
            for a in names
        ]
        image = {"axes": described, "datasets": datasets}
        if version == "0.4":
            group.attrs["multiscales"] = [{"version": "0.4", **image}]
        else:
            group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
        stack = open_stack(path)
        plain = np.transpose(
            data[tuple(slice(None) if a in "zyx" else 0 for a in names)],
            [three.index(a) for a in "zyx"],
        )
        assert stack.shape == plain.shape
        assert all(np.array_equal(stack[z], plain[z]) for z in range(len(plain)))
        part = (slice(0, 1 + sizes[1] // 2), slice(sizes[2] // 2, None))
        assert np.array_equal(stack.read(0, *part), plain[0][part])
        if unit is None:
            assert stack.voxel_size is None
        else:
            nm = {"nanometer": 1.0, "micrometer": 1000.0}[unit]
            assert stack.voxel_size == pytest.approx([value * nm for value in scale])
        block = stack.read_block(0, len(plain) - 1, *part)
        assert np.array_equal(block, plain[(slice(None), *part)])
        factors = np.cumprod(steps)
        for level_found in stack.levels:
            assert level_found.stack.shape[0] == stack.shape[0]
            assert level_found.rows >= 1
            assert level_found.columns >= 1
        if min(sizes[1:]) >= 9 * max([1, *factors]):
            found = [(level.rows, level.columns) for level in stack.levels]
            assert found == [(f, f) for f in factors]


def test_levels_of_what_this_program_writes(tmp_path: Path) -> None:
    write_stack(tmp_path / "a.zarr", np.zeros((2, 1030, 1401), np.uint8), voxel_size=(40, 4, 4))
    stack = open_stack(tmp_path / "a.zarr")
    assert [(level.rows, level.columns) for level in stack.levels] == [(2, 2), (4, 4)]
    assert [level.stack.shape for level in stack.levels] == [(2, 515, 701), (2, 258, 351)]
    assert not open_stack(tmp_path / "a.zarr" / "0").levels


def test_a_damaged_coarse_level_does_not_matter(tmp_path: Path, ome_zarr: Any) -> None:
    ome_zarr(tmp_path / "a.zarr", VOLUME, "0.5", "zyx", "micrometer")
    (tmp_path / "a.zarr" / "coarse" / "zarr.json").write_text("{")
    stack = open_stack(tmp_path / "a.zarr")
    assert np.array_equal(stack[1], VOLUME[1])
    assert not stack.levels


@pytest.mark.parametrize("path", ["../b.zarr", "/etc", "http://127.0.0.1:9/b.zarr"])
def test_levels_do_not_lead_elsewhere(tmp_path: Path, path: str, ome_zarr: Any) -> None:
    zarr.create_array(tmp_path / "b.zarr", data=VOLUME)
    ome_zarr(tmp_path / "a.zarr", VOLUME, "0.5", "zyx", "micrometer")
    group = zarr.open_group(tmp_path / "a.zarr")
    ome: Any = group.attrs["ome"]
    ome["multiscales"][0]["datasets"][1]["path"] = path
    group.attrs["ome"] = ome
    assert not open_stack(tmp_path / "a.zarr").levels
    ome["multiscales"][0]["datasets"][0]["path"] = path
    group.attrs["ome"] = ome
    with pytest.raises(StackError, match="metadata cannot be used"):
        open_stack(tmp_path / "a.zarr")


class Harm:
    """What runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("place", ["compressor", "filters", "behind another"])
def test_pickled_chunks_are_never_read(tmp_path: Path, place: str) -> None:
    path = tmp_path / "a.zarr"
    zarr.create_array(path, data=VOLUME, chunks=(1, 40, 56), zarr_format=2, compressors=None)
    metadata = json.loads((path / ".zarray").read_text())
    codec = {"id": "pickle", "protocol": 5}
    if place == "compressor":
        metadata["compressor"] = codec
    else:
        shuffle = {"id": "shuffle", "elementsize": 1}
        metadata["filters"] = [shuffle, codec] if place == "behind another" else [codec]
    (path / ".zarray").write_text(json.dumps(metadata))
    (path / "0.0.0").write_bytes(pickle.dumps(Harm(tmp_path / "harm")))
    with pytest.raises(StackError, match="codec 'pickle', which can run|metadata cannot be read"):
        open_stack(path)[0]
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_how_it_is_stored(tmp_path: Path, zarr_format: Any) -> None:
    zarr.create_array(
        tmp_path / "a.zarr", data=VOLUME, chunks=(1, 20, 28), zarr_format=zarr_format,
        compressors=None, fill_value=7,
    )  # fmt: skip
    details = open_stack(tmp_path / "a.zarr").details
    assert details["codecs"] == ("bytes" if zarr_format == 3 else "none")
    assert details["fill value"] == "7"
    zarr.create_array(tmp_path / "b.zarr", data=VOLUME, chunks=(1, 4, 4), shards=(2, 8, 8))
    details = open_stack(tmp_path / "b.zarr").details
    assert details["shards"] == "2x8x8"
    assert "zstd (level 0)" in details["codecs"]
