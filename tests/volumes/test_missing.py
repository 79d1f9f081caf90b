"""Missing slices: which are recognised, and how little is read for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from sff_napari.errors import Cancelled
from sff_napari.stacks import Stack, open_stack, write_stack
from sff_napari.volumes.find.missing import find_missing


def tissue(shape: tuple[int, ...], seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(128, 30, shape).clip(1, 254).astype(np.uint8)


@settings(max_examples=30)
@given(
    damage=st.dictionaries(
        st.integers(0, 7),
        st.sampled_from(["black", "white", "grey", "nan", "specks", "noise", "half nan"]),
        max_size=5,
    ),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    offset=st.sampled_from([0, 20_000]),
)
def test_missing_slices_are_found_and_no_others(
    damage: dict[int, str], dtype: str, offset: int
) -> None:
    volume = tissue((8, 150, 170)).astype(np.float32)
    rng = np.random.default_rng(1)
    for z, kind in damage.items():
        volume[z] = {"white": 255.0, "grey": 128.0}.get(kind, 0.0)
        if kind == "nan":
            volume[z] = np.nan
        elif kind == "half nan":
            volume[z, :70] = np.nan
        elif kind == "specks":
            volume[z].flat[rng.choice(volume[z].size, 20, replace=False)] = 255
        elif kind == "noise":
            volume[z] += rng.integers(0, 2, volume[z].shape)
    if dtype == "float32":
        data = volume + offset
    else:
        # A narrow range far from 0 must not look empty.
        data = (np.nan_to_num(volume) + (offset if dtype == "uint16" else 0)).astype(dtype)
    assert find_missing(Stack.from_array(data)) == sorted(damage)


def test_slices_with_little_tissue_are_not_missing() -> None:
    volume = np.zeros((4, 400, 400), np.uint8)
    volume[:, :200] = tissue((4, 200, 400))
    volume[1] = 0
    volume[1, 380:, 380:] = tissue((20, 20))
    volume[2] = 0
    volume[3, 10] = 0
    assert find_missing(Stack.from_array(volume)) == [2]
    assert find_missing(Stack.from_array(volume), [3, 0, 1, 3]) == []


def test_a_stack_without_any_image() -> None:
    assert find_missing(Stack.from_array(np.zeros((3, 40, 40), np.uint8))) == [0, 1, 2]


def test_little_is_read_of_slices_with_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = tissue((4, 300, 300))
    volume[2] = 0
    array = zarr.create_array(tmp_path / "a.zarr", data=volume, chunks=(1, 100, 100))
    read: list[Any] = []
    stack = Stack.from_array(array)
    plain = stack.read
    monkeypatch.setattr(stack, "read", lambda *part: read.append(part) or plain(*part))
    # Parts as small as the chunks, as those of a large slice are small beside it.
    monkeypatch.setattr("sff_napari.volumes.find.missing._SIDE", 100)
    assert find_missing(stack) == [2]
    looked_at = [part[0] for part in read[4:]]
    assert [looked_at.count(z) for z in range(4)] == [1, 1, 9, 1]


@pytest.mark.parametrize("name", ["a.zarr", "a.tif"])
def test_on_disk_with_levels(tmp_path: Path, name: str) -> None:
    volume = tissue((3, 40, 2200))
    volume[1] = 7
    write_stack(tmp_path / name, volume)
    with open_stack(tmp_path / name) as stack:
        assert find_missing(stack) == [1]


def test_it_can_be_cancelled() -> None:
    with pytest.raises(Cancelled):
        find_missing(Stack.from_array(tissue((3, 40, 40))), cancelled=lambda: True)
