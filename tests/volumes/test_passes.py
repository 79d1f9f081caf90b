"""Volumes that are restored a second time: the first pass is not forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from tests.volumes.conftest import Folds, run, tree

from sff_napari.errors import InputError
from sff_napari.folds import Fold
from sff_napari.stacks import open_stack
from sff_napari.volumes import exports
from sff_napari.volumes.exports.source import open_source
from sff_napari.volumes.revert import revert_folds
from sff_napari.volumes.run.folder import Folder
from sff_napari.volumes.verify.records import read_slices
from sff_napari.volumes.verify.verify_volume import verify_volume


def slices_of(place: Path) -> list[Any]:
    with open_stack(place) as stack:
        return [stack[z] for z in range(len(stack))]


def plain(path: Path, volume: Any) -> Path:
    zarr.create_array(path, shape=volume.shape, chunks=(2, 64, 64), dtype="u1")[:] = volume
    return path


@pytest.fixture(params=["ome", "plain"])
def two_passes(
    request: pytest.FixtureRequest, source: Path, damaged: Any, folds: Folds, tmp_path: Path
) -> tuple[Path, Path, Path]:
    """Return the raw volume, and what the first and the second pass made."""
    if request.param == "plain":
        source = plain(tmp_path / "plain.zarr", damaged[0])
    run(source, {1: folds[1]}, tmp_path / "one.zarr")
    run(tmp_path / "one.zarr", {3: folds[3]}, tmp_path / "two.zarr")
    return source, tmp_path / "one.zarr", tmp_path / "two.zarr"


def test_records_and_exports_hold_both(
    two_passes: tuple[Path, Path, Path], folds: Folds, tmp_path: Path
) -> None:
    raw, one, two = two_passes
    slices = read_slices(Folder(two))
    assert {z: record["status"] for z, record in slices.items()} == {1: "restored", 3: "restored"}
    assert slices[1]["pass"]["source"]["name"] == raw.name
    assert verify_volume(two).good
    source = open_source(two)
    assert sorted(source.folds) == [1, 3]
    field = source.need_field()
    assert field.slices == [1, 3]
    first = open_source(one).need_field()
    for rows, columns in field.tiles():
        assert np.array_equal(
            field.read(1, rows, columns), first.read(1, rows, columns), equal_nan=True
        )
    masks = exports.FoldMasks(source.folds, source.shape)
    exports.write_sofima(tmp_path / "e", source, masks)
    mask = zarr.open_array(tmp_path / "e" / "mask.zarr", mode="r")
    assert np.flatnonzero(np.asarray(mask[:]).any(axis=(1, 2))).tolist() == [1, 3]


@pytest.mark.parametrize("order", [("z1-0", "z3-0 z3-1"), ("z3-0 z3-1", "z1-0")])
def test_either_pass_is_taken_back(
    two_passes: tuple[Path, Path, Path], order: tuple[str, str]
) -> None:
    raw, one, two = two_passes
    images, first, second = slices_of(raw), slices_of(one), slices_of(two)
    revert_folds(two, order[0].split())
    assert verify_volume(two).good
    now = slices_of(two)
    back, kept = (1, 3) if order[0] == "z1-0" else (3, 1)
    assert np.array_equal(now[back], images[back])
    assert np.array_equal(now[kept], (second if kept == 3 else first)[kept])
    revert_folds(two, order[1].split())
    assert all(np.array_equal(a, b) for a, b in zip(slices_of(two), images, strict=True))
    assert verify_volume(two).good
    level = "s1" if (raw / "s1").is_dir() else "c"
    before = {k: v for k, v in tree(raw).items() if k.startswith(level)}
    assert before == {k: v for k, v in tree(two).items() if k in before}


def test_a_slice_that_is_restored_twice(source: Path, folds: Folds, tmp_path: Path) -> None:
    one, two = tmp_path / "one.zarr", tmp_path / "two.zarr"
    run(source, {1: folds[1], 3: [folds[3][0]]}, one)
    run(one, {3: [folds[3][1]]}, two)
    images, first = slices_of(source), slices_of(one)
    record = read_slices(Folder(two))[3]
    assert [len(record["folds"]), len(record["earlier"])] == [1, 1]
    assert len(open_source(two).folds[3]) == 2
    assert verify_volume(two).good
    with pytest.raises(InputError, match="Slice 3 was restored again in a later pass"):
        revert_folds(two, ["z1-0"])
    revert_folds(two, ["z3-0"])
    assert all(np.array_equal(a, b) for a, b in zip(slices_of(two), first, strict=True))
    assert verify_volume(two).good
    assert read_slices(Folder(two))[3]["status"] == "restored"
    revert_folds(two, ["z3-0", "z1-0"])
    assert all(np.array_equal(a, b) for a, b in zip(slices_of(two), images, strict=True))
    assert verify_volume(two).good


@pytest.mark.parametrize("overlays", [(True, True), (False, True), (True, False)])
def test_passes_with_overlays(
    source: Path, folds: Folds, tmp_path: Path, overlays: tuple[bool, bool]
) -> None:
    one, two = tmp_path / "one.zarr", tmp_path / "two.zarr"
    run(source, {1: folds[1]}, one, overlay=overlays[0])
    first = slices_of(one)
    run(one, {3: folds[3]}, two, overlay=overlays[1])
    exported = open_source(two)
    assert sorted(exported.folds) == [1, 3]
    field = exported.need_field()
    part = (slice(0, 160), slice(0, 192))
    assert field.read(1, *part).any() or np.isnan(field.read(1, *part)).any()
    assert np.array_equal(slices_of(two)[1], first[1])
    assert verify_volume(two).good
    revert_folds(two, ["z3-0", "z3-1"])
    assert all(np.array_equal(a, b) for a, b in zip(slices_of(two), first, strict=True))
    if not overlays[1]:
        revert_folds(two, ["z1-0"])
        assert np.array_equal(slices_of(two)[1], slices_of(source)[1])


def test_three_passes(source: Path, folds: Folds, tmp_path: Path) -> None:
    names = [tmp_path / f"{n}.zarr" for n in range(3)]
    run(source, {1: folds[1]}, names[0])
    run(names[0], {3: folds[3]}, names[1])
    run(names[1], {4: [Fold([(10, 0), (30, 191)], 3)]}, names[2])
    assert sorted(open_source(names[2]).folds) == [1, 3, 4]
    assert verify_volume(names[2]).good
    revert_folds(names[2], ["z1-0", "z3-0", "z3-1", "z4-0"])
    images = slices_of(source)
    assert all(np.array_equal(a, b) for a, b in zip(slices_of(names[2]), images, strict=True))
