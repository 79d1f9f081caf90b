"""Writing stacks: what is read back, and what is left when writing fails."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from sff_napari.errors import Cancelled, StackError
from sff_napari.progress import Reporter
from sff_napari.stacks import RestoredSlice, Stack, open_stack, write_restored, write_stack
from sff_napari.stacks.ome import OmeWriter, halved

SHAPE = (5, 70, 1100)


@pytest.fixture
def volume() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["out.zarr", "out.tif"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_round_trip(tmp_path: Path, volume: NDArray[Any], name: str, dtype: str) -> None:
    volume = volume.astype(dtype)
    shares = []
    write_stack(
        tmp_path / name,
        Stack.from_array(volume, voxel_size=(50, 4, 4)),
        progress=lambda share, text: shares.append(share),
    )
    with open_stack(tmp_path / name) as back:
        assert back.shape == volume.shape
        assert back.dtype == volume.dtype
        assert back.voxel_size == pytest.approx((50, 4, 4))
        assert all(np.array_equal(back[z], volume[z]) for z in range(len(volume)))
    assert names(tmp_path) == {name}
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_ome_zarr_has_true_levels(tmp_path: Path, volume: NDArray[Any]) -> None:
    write_stack(tmp_path / "out.zarr", volume, voxel_size=(50, 4, 4), name="cells")
    group = zarr.open_group(tmp_path / "out.zarr", mode="r")
    ome: Any = group.attrs["ome"]
    assert ome["version"] == "0.5"
    image = ome["multiscales"][0]
    assert image["name"] == "cells"
    assert [axis["unit"] for axis in image["axes"]] == ["nanometer"] * 3
    scales = [level["coordinateTransformations"][0]["scale"] for level in image["datasets"]]
    assert scales == [[50, 4, 4], [50, 8, 8], [50, 16, 16]]
    assert image["datasets"][2]["coordinateTransformations"][1]["translation"] == [0, 6, 6]
    coarse = group["1"]
    assert coarse.shape == (5, 35, 550)
    expected = volume[2].reshape(35, 2, 550, 2).mean(axis=(1, 3))
    assert np.abs(coarse[2] - expected).max() <= 0.5


def test_halved_keeps_edges_and_dtype() -> None:
    image = np.array([[0, 2, 5], [2, 4, 7], [9, 9, 3]], np.uint16)
    assert np.array_equal(halved(image), np.array([[2, 6], [9, 3]], np.uint16))


def fake_restore(z: int, reporter: Reporter) -> RestoredSlice:
    height, width = SHAPE[1:]
    flow = np.full((2, height, width), z, np.float32)
    flow[:, 30] = np.nan
    synthesised = np.linspace(0, 1, height * width, dtype=np.float32).reshape(height, width)
    return RestoredSlice(
        np.full((height, width), 10 * z, np.uint8), synthesised, flow, {"folds": [z]}
    )


def test_restored_zarr(tmp_path: Path, volume: NDArray[Any]) -> None:
    out = tmp_path / "out.zarr"
    write_restored(out, volume, [1, 3], fake_restore, manifest={"program": "x"})
    back = open_stack(out)
    assert (back[1] == 10).all()
    assert (back[3] == 30).all()
    assert all(np.array_equal(back[z], volume[z]) for z in (0, 2, 4))
    group = zarr.open_group(out, mode="r")
    made: Any = group.attrs["sff_napari"]
    assert made["program"] == "x"
    assert [record["slice"] for record in made["slices"]] == [1, 3]
    assert made["slices"][1]["folds"] == [3]
    flow = np.asarray(group["flow"][3])
    assert np.isnan(flow[:, 30]).all()
    assert (np.delete(flow, 30, axis=1) == 3).all()
    assert not np.asarray(group["flow"][0]).any()
    assert not np.asarray(group["synthesised"][2]).any()
    assert np.asarray(group["synthesised"][1]).max() == 255
    # Slices that were not restored take no space.
    assert {p.name for p in (out / "flow" / "c").iterdir()} == {"1", "3"}


def test_restored_tiff(tmp_path: Path, volume: NDArray[Any]) -> None:
    write_restored(tmp_path / "out.tif", volume, [1, 3], fake_restore, manifest={"program": "x"})
    back = open_stack(tmp_path / "out.tif")
    assert (back[3] == 30).all()
    assert np.array_equal(back[4], volume[4])
    assert names(tmp_path) == {
        "out.tif", "out.synthesised.tif", "out.flow.tif", "out.restoration.json",
    }  # fmt: skip
    assert tifffile.imread(tmp_path / "out.flow.tif").shape == (4, *SHAPE[1:])
    made = json.loads((tmp_path / "out.restoration.json").read_text())
    assert [record["slice"] for record in made["slices"]] == [1, 3]


@pytest.mark.parametrize("name", ["out.zarr", "out.tif"])
def test_existing_output_is_kept_unless_told(
    tmp_path: Path, volume: NDArray[Any], name: str
) -> None:
    write_stack(tmp_path / name, volume)
    with pytest.raises(StackError, match="exists already"):
        write_stack(tmp_path / name, 255 - volume)
    assert np.array_equal(open_stack(tmp_path / name)[0], volume[0])
    write_stack(tmp_path / name, 255 - volume, overwrite=True)
    assert np.array_equal(open_stack(tmp_path / name)[0], 255 - volume[0])
    assert names(tmp_path) == {name}


@pytest.mark.parametrize("name", ["out.zarr", "out.tif"])
def test_cancelled_or_failed_leaves_the_old_output(
    tmp_path: Path, volume: NDArray[Any], name: str
) -> None:
    write_stack(tmp_path / name, volume)
    asked = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(Cancelled):
        write_stack(tmp_path / name, 255 - volume, overwrite=True, cancelled=cancelled)

    def broken(z: int, reporter: Reporter) -> RestoredSlice:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_restored(tmp_path / name, volume, [2], broken, overwrite=True)
    assert names(tmp_path) == {name}
    assert np.array_equal(open_stack(tmp_path / name)[4], volume[4])


def test_full_disk_while_writing_a_zarr(
    tmp_path: Path, volume: NDArray[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = OmeWriter.write

    def write(self: OmeWriter, z: int, image: NDArray[Any]) -> None:
        if z == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(self, z, image)

    monkeypatch.setattr(OmeWriter, "write", write)
    with pytest.raises(StackError, match="out.zarr could not be written: the disk is full"):
        write_stack(tmp_path / "out.zarr", volume)
    assert not names(tmp_path)


def test_full_disk_while_writing_a_tiff(
    tmp_path: Path, volume: NDArray[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Space can run out as late as when the system moves the data to the disk.
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StackError, match="out.tif could not be written: the disk is full"):
        write_stack(tmp_path / "out.tif", volume)
    assert not names(tmp_path)


def test_tiff_that_does_not_fit_is_refused_at_once(
    tmp_path: Path, volume: NDArray[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(1, 1, 1000))
    with pytest.raises(StackError, match="needs 0.0 GB.*has only"):
        write_stack(tmp_path / "out.tif", volume)
    assert not names(tmp_path)


def test_places_that_cannot_be_written(tmp_path: Path, volume: NDArray[Any]) -> None:
    with pytest.raises(StackError, match="name it with .zarr or .tif"):
        write_stack(tmp_path / "out.png", volume)
    with pytest.raises(StackError, match="its folder does not exist"):
        write_stack(tmp_path / "missing" / "out.zarr", volume)
    (tmp_path / "file").write_text("")
    with pytest.raises(StackError, match="could not be written"):
        write_stack(tmp_path / "file" / "out.zarr", volume)


@pytest.mark.parametrize("name", ["out.zarr", "out.tif"])
def test_denied_folder_is_one_sentence(
    tmp_path: Path, volume: NDArray[Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StackError, match="could not be written: there is no permission for it"):
        write_stack(tmp_path / name, volume)
