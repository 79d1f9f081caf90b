"""What alignment tools are given, read back with the readers of their formats."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sff_napari.errors import InputError, StackError
from sff_napari.folds import Curve, Fold
from sff_napari.simulation import neuropil, simulate_fold
from sff_napari.stacks import open_stack, write_folds, write_stack
from sff_napari.volumes.exports import (
    FoldMasks,
    write_feabas,
    write_field,
    write_landmarks,
    write_mask_layer,
    write_sofima,
)
from sff_napari.volumes.exports.source import ExportSource, open_source
from sff_napari.volumes.plan.request import VolumeRequest
from sff_napari.volumes.plan.settings import VolumeSettings
from sff_napari.volumes.restore_volume import restore_volume

SHAPE = (4, 230, 260)
FOLDS = {
    1: (Fold([(0, 90), (110, 120), (229, 100)], 5, half_widths=[4, 6, 5]),),
    2: (Fold([(40, 0), (60, 259)], 4), Fold([(229, 30), (150, 140)], 3)),
}


@pytest.fixture(scope="module")
def restored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a volume that was restored, with a displacement that is known."""
    folder = tmp_path_factory.mktemp("restored")
    volume = neuropil(SHAPE, seed=5)
    for z, folds in FOLDS.items():
        for fold in folds:
            volume[z] = simulate_fold(volume[z], fold, hidden_half_width=14, decay=0.05).damaged
    place = write_stack(folder / "in.zarr", volume, voxel_size=(40, 4, 4))
    with open_stack(place) as stack:
        settings = VolumeSettings(interpolation="mean", unfolding="none", fusion="stitch")
        restore_volume(VolumeRequest(place, stack, FOLDS, folder / "out.zarr", settings=settings))
    # What a fold of the volume does: quicker made than fitted.
    array: Any = zarr.open_group(folder / "out.zarr", mode="r+")["displacement"]
    for z, folds in FOLDS.items():
        seen = Curve.of(folds[0]).on_grid(SHAPE[1:])
        distance = seen.distance.numpy()
        pull = -np.sign(distance) * np.maximum(0, 12 - 0.1 * np.abs(distance))
        moved = pull * seen.normal.numpy()
        moved[:, np.abs(distance) < 14] = np.nan
        array[z] = moved
    return folder / "out.zarr"


@pytest.fixture(scope="module")
def source(restored: Path) -> ExportSource:
    return open_source(restored)


def read_precomputed(folder: Path, scale: int = 0) -> NDArray[Any]:
    """Return a precomputed volume as (channels, Z, Y, X)."""
    store = ts.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{folder}/"},
            "scale_index": scale,
        },
        read=True,
        open=True,
    ).result()
    return np.asarray(store.read().result().transpose(3, 2, 1, 0))


def whole(masks: FoldMasks, mip: int = 0) -> NDArray[np.bool_]:
    """Return all masks, made in one piece."""
    size = masks.size(mip)
    return np.stack(
        [masks.read(z, slice(0, size[0]), slice(0, size[1]), mip) for z in range(masks.shape[0])]
    )


def test_a_restored_volume_knows_its_folds(
    source: ExportSource, restored: Path, tmp_path: Path
) -> None:
    assert source.shape == SHAPE
    assert source.voxel_size == (40, 4, 4)
    assert {z: len(folds) for z, folds in source.folds.items()} == {1: 1, 2: 2}
    assert source.field is not None
    assert source.field.slices == [1, 2]
    plain = write_stack(tmp_path / "a.zarr", np.zeros(SHAPE, np.uint8))
    with pytest.raises(InputError, match="name its folds with --folds"):
        open_source(plain)
    write_folds(tmp_path / "folds.json", {2: FOLDS[2]})
    other = open_source(plain, tmp_path / "folds.json", (50, 8, 8))
    assert other.voxel_size == (50, 8, 8)
    with pytest.raises(InputError, match="holds no displacement"):
        other.need_field()
    with pytest.raises(InputError, match="give --voxel-size"):
        open_source(plain, tmp_path / "folds.json").need_voxel_size()


@settings(max_examples=30)
@given(
    start=st.tuples(st.floats(-20, 250), st.floats(-20, 280)),
    way=st.floats(0, 6.28),
    bend=st.floats(-40, 40),
    length=st.floats(60, 300),
    width=st.floats(0.6, 30),
    margin=st.floats(0, 10),
)
def test_masks_are_the_pixels_near_the_line(
    start: tuple[float, float],
    way: float,
    bend: float,
    length: float,
    width: float,
    margin: float,
) -> None:
    along = np.array([0.0, 0.5, 1.0])[:, None] * length * np.array([np.sin(way), np.cos(way)])
    points = np.asarray(start) + along
    points[1] += bend * length / 300 * np.array([np.cos(way), -np.sin(way)])
    fold = Fold([(float(y), float(x)) for y, x in points], width)
    mask = whole(FoldMasks({0: [fold]}, (1, 230, 260), margin))[0]
    seen = Curve.of(fold).on_grid((230, 260))
    distance = seen.distance.abs().numpy()
    beside = (seen.along.numpy() > 1) & (seen.along.numpy() < Curve.of(fold).length - 1)
    assert mask[beside & (distance < width + margin - 0.8)].all()
    assert not mask[beside & (distance > width + margin + 1.2)].any()
    far = seen.along.numpy() < -2
    assert not mask[far & (distance < 5)].any() or bend != 0


def test_tiles_hold_all_of_a_mask() -> None:
    masks = FoldMasks(FOLDS, SHAPE, 3.0)
    for mip in (0, 1, 2):
        expected = whole(masks, mip)
        made = np.zeros_like(expected)
        for z in masks.slices:
            for rows, columns in masks.tiles(z, mip, 32):
                made[z, rows, columns] = masks.read(z, rows, columns, mip)
        assert np.array_equal(made, expected)
    with pytest.raises(InputError, match="0 or larger"):
        FoldMasks(FOLDS, SHAPE, -1)


def test_a_long_fold_touches_few_tiles() -> None:
    fold = Fold([(100, 0), (90_000, 120_000)], 12)
    masks = FoldMasks({0: [fold]}, (1, 155_648, 286_720))
    tiles = list(masks.tiles(0))
    assert 100 < len(tiles) < 1500
    rows, columns = tiles[len(tiles) // 2]
    assert masks.read(0, rows, columns).shape == (1024, 1024)


def test_corgie_masks(tmp_path: Path) -> None:
    masks = FoldMasks(FOLDS, SHAPE)
    write_mask_layer(tmp_path / "mask", masks, (40, 4, 4), mips=3)
    before = None
    for mip in range(3):
        found = read_precomputed(tmp_path / "mask", mip)
        assert found.dtype == np.uint8
        assert np.array_equal(found[0] > 0, whole(masks, mip))
        assert set(np.unique(found)) == {0, 1}
        if before is not None:
            height, width = before.shape[1:]
            padded = np.pad(before, ((0, 0), (0, height % 2), (0, width % 2)))
            pooled = padded.reshape(len(padded), padded.shape[1] // 2, 2, -1, 2).max((2, 4))
            assert np.array_equal(found[0], pooled)
        before = found[0]
    with open_stack(tmp_path / "mask") as stack:
        assert stack.voxel_size == (40, 4, 4)
        assert len(stack.levels) == 2
    with pytest.raises(StackError, match="exists already"):
        write_mask_layer(tmp_path / "mask", masks, (40, 4, 4))
    with pytest.raises(InputError, match="13 scales"):
        write_mask_layer(tmp_path / "b", masks, (40, 4, 4), mips=13)


def test_sofima(tmp_path: Path, source: ExportSource, restored: Path) -> None:
    masks = FoldMasks(source.folds, source.shape)
    write_sofima(tmp_path / "sofima", source, masks)
    store = ts.open(
        {"driver": "zarr", "kvstore": f"file://{tmp_path}/sofima/mask.zarr/"}, read=True, open=True
    ).result()
    found = store.read().result()
    assert found.dtype == bool
    assert np.array_equal(found, whole(masks))
    check_field(read_zarr_by_tensorstore(tmp_path / "sofima" / "map.zarr"), restored)


def read_zarr_by_tensorstore(path: Path) -> NDArray[Any]:
    spec = {"driver": "zarr", "kvstore": f"file://{path}/"}
    return np.asarray(ts.open(spec, read=True, open=True).result().read().result())


def check_field(found: NDArray[Any], restored: Path) -> None:
    """Check (dx, dy) of all slices against what the restored volume holds."""
    array: Any = zarr.open_group(restored, mode="r")["displacement"]
    stored = np.asarray(array[:])
    assert found.shape == (2, *SHAPE)
    assert np.array_equal(found[0], stored[:, 1], equal_nan=True)
    assert np.array_equal(found[1], stored[:, 0], equal_nan=True)
    assert np.nanmax(np.abs(found)) > 2
    assert np.isnan(found).any()
    assert not found[:, [0, 3]].any()


@pytest.mark.parametrize(
    ("name", "read"), [("a.zarr", read_zarr_by_tensorstore), ("a", read_precomputed)]
)
def test_displacement(
    tmp_path: Path, source: ExportSource, restored: Path, name: str, read: Callable[[Path], Any]
) -> None:
    write_field(tmp_path / name, source)
    check_field(read(tmp_path / name), restored)


def test_feabas(tmp_path: Path) -> None:
    for z in range(SHAPE[0]):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(np.full(SHAPE[1:], 9, np.uint8)).save(tmp_path / "in" / f"W01_s{z}.png")
    write_folds(tmp_path / "folds.json", FOLDS)
    source = open_source(tmp_path / "in", tmp_path / "folds.json")
    masks = FoldMasks(source.folds, source.shape)
    for mip in (0, 2):
        out = tmp_path / f"masks{mip}"
        write_feabas(out, source, masks, mip=mip)
        assert sorted(path.name for path in out.iterdir()) == ["W01_s1.png", "W01_s2.png"]
        expected = whole(masks, mip)
        for z in (1, 2):
            with Image.open(out / f"W01_s{z}.png") as page:
                assert page.mode == "L"
                assert np.array_equal(np.asarray(page), np.where(expected[z], 50, 0))
    with pytest.raises(InputError, match="larger --mip"):
        write_feabas(tmp_path / "b", source, FoldMasks(FOLDS, (4, 40_000, 40_000)))


def test_bigwarp(tmp_path: Path, source: ExportSource, restored: Path) -> None:
    write_landmarks(tmp_path / "landmarks", source)
    files = sorted(path.name for path in (tmp_path / "landmarks").iterdir())
    assert files == ["frame.json", "slice_00001.csv", "slice_00002.csv"]
    array: Any = zarr.open_group(restored, mode="r")["displacement"]
    for z in (1, 2):
        path = tmp_path / "landmarks" / f"slice_{z:05d}.csv"
        assert path.read_text().startswith('"Pt-0","true","')
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        assert [row[0] for row in rows] == [f"Pt-{i}" for i in range(len(rows))]
        assert {row[1] for row in rows} == {"true"}
        places = np.array([[float(cell) for cell in row[2:]] for row in rows])
        assert places.shape[0] > 40
        assert places.shape[1] == 4
        moving, target = places[:, :2], places[:, 2:]
        x, y = np.rint(target).astype(int).T
        shift = np.asarray(array[z])[:, y, x]
        assert np.allclose(moving - target, shift[::-1].T, atol=1e-4)
        assert np.abs(moving - target).max() > 2
        assert len({tuple(row) for row in target}) == len(target)


def test_what_is_left_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = FoldMasks(FOLDS, SHAPE)
    monkeypatch.setattr(masks, "read", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_mask_layer(tmp_path / "mask", masks, (40, 4, 4))
    assert not list(tmp_path.iterdir())
