"""HDF5, MRC, zipped zarr; and containers of which the image inside is not named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from sff_napari.errors import StackError
from sff_napari.stacks import open_stack, write_stack

SHAPE = (4, 40, 56)


@pytest.fixture
def volume() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


def same(path: Path, volume: NDArray[Any], select: dict[str, int] | None = None) -> None:
    with open_stack(path, select) as stack:
        assert stack.shape == volume.shape
        assert stack.dtype == volume.dtype.newbyteorder("=")
        for z, image in enumerate(volume):
            assert np.array_equal(stack[z], image)
            part = stack.read(z, slice(3, 20), slice(5, 50))
            assert np.array_equal(part, image[3:20, 5:50])
        block = stack.read_block(1, 2, slice(3, 20), slice(5, 50))
        assert np.array_equal(block, volume[1:3, 3:20, 5:50])
        location = stack.location
    with open_stack(str(location), select) as again:
        assert np.array_equal(again[1], volume[1])


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "f4", ">f8"])
@pytest.mark.parametrize("chunks", [None, (2, 16, 16)])
def test_hdf5(tmp_path: Path, volume: NDArray[Any], dtype: str, chunks: Any) -> None:
    volume = volume.astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", data=volume, chunks=chunks)
    same(tmp_path / "a.h5", volume)


def test_cremi(tmp_path: Path, volume: NDArray[Any]) -> None:
    path = tmp_path / "sample_A.hdf"
    with h5py.File(path, "w") as file:
        raw = file.create_dataset("volumes/raw", data=volume, compression="gzip")
        raw.attrs["resolution"] = (40.0, 4.0, 4.0)
        raw.attrs["offset"] = (400.0, 80.0, 4.0)
        file.create_dataset("volumes/labels/neuron_ids", data=volume.astype("u8"))
        file.create_dataset("annotations/ids", data=np.arange(3))
    same(path, volume)
    same(path / "volumes" / "raw", volume)
    with open_stack(path) as stack:
        assert stack.voxel_size == (40, 4, 4)
        assert stack.offset == (10, 20, 1)
        assert stack.details["dataset"] == "volumes/raw"
    with pytest.raises(StackError, match=r"no dataset 'volumes/rau': name one of .*volumes/raw"):
        open_stack(path / "volumes" / "rau")
    with h5py.File(path, "a") as file:
        file.create_dataset("other", data=volume)
    with pytest.raises(
        StackError, match=r"holds 2 images: name one of .*sample_A\.hdf/other, .*raw"
    ):
        open_stack(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(StackError, match="damaged or truncated"):
        open_stack(path)


def test_axes_of_hdf5(tmp_path: Path, volume: NDArray[Any]) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("a", data=np.stack([volume, 255 - volume], -1))
        for axis, name in enumerate("zyxc"):
            data.dims[axis].label = name
    same(tmp_path / "a.h5", 255 - volume, {"c": 1})


@pytest.mark.parametrize(
    ("dtype", "low", "seen"),
    [("i1", 128, "u1"), ("i2", 32768, "u2"), ("u2", 0, "u2"), ("f4", 0, "f4")],
)
def test_mrc(tmp_path: Path, volume: NDArray[Any], dtype: str, low: int, seen: str) -> None:
    stored = (volume.astype(np.int32) - 128).astype(dtype) if dtype[0] == "i" else volume
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(stored.astype(dtype))
        file.set_image_stack()
        file.voxel_size = (40, 40, 400)
    expected = (stored.astype(np.int64) + low).astype(seen)
    same(tmp_path / "a.mrc", expected)
    with open_stack(tmp_path / "a.mrc") as stack:
        assert stack.voxel_size is not None
        assert stack.voxel_size[1:] == (4, 4)


def test_damaged_mrc(tmp_path: Path, volume: NDArray[Any]) -> None:
    with mrcfile.new(tmp_path / "a.rec") as file:
        file.set_data(volume.astype("f4"))
    (tmp_path / "b.rec").write_bytes((tmp_path / "a.rec").read_bytes()[:5000])
    (tmp_path / "c.rec").write_bytes(b"no header" * 10)
    for name in "bc":
        with pytest.raises(StackError, match=r"is not an MRC file|damaged|truncated"):
            open_stack(tmp_path / f"{name}.rec")


def test_real_mrc(needle: Path) -> None:
    with open_stack(needle) as stack:
        assert stack.shape == (77, 256, 256)
        assert stack[40].std() > 0


@pytest.mark.parametrize("top", [True, False])
def test_zipped_zarr(tmp_path: Path, volume: NDArray[Any], top: bool) -> None:
    (tmp_path / "d").mkdir()
    write_stack(tmp_path / "d" / "a.zarr", volume, voxel_size=(40, 4, 4))
    base = tmp_path / "d" / "a.zarr" if top else tmp_path / "d"
    shutil.make_archive(str(tmp_path / "a.zarr"), "zip", base)
    same(tmp_path / "a.zarr.zip", volume)
    with open_stack(tmp_path / "a.zarr.zip") as stack:
        assert stack.voxel_size == (40, 4, 4)
    shutil.make_archive(str(tmp_path / "n"), "zip", tmp_path / "d" / "a.zarr" / "0" / "c")
    with pytest.raises(StackError, match="holds no zarr"):
        open_stack(tmp_path / "n.zip")


def test_what_lies_inside_is_named(tmp_path: Path, volume: NDArray[Any]) -> None:
    group = zarr.open_group(tmp_path / "cremi.zarr", mode="w", zarr_format=2)
    group.create_array("volumes/raw", data=volume)
    group.create_array("volumes/labels/ids", data=volume.astype("u8"))
    with pytest.raises(StackError, match=r"name an image inside it: .*cremi\.zarr/volumes/raw, "):
        open_stack(tmp_path / "cremi.zarr")
    same(tmp_path / "cremi.zarr" / "volumes" / "raw", volume)
    plate = zarr.open_group(tmp_path / "plate.zarr", mode="w", zarr_format=2)
    plate.attrs["plate"] = {"version": "0.4", "wells": [{"path": "A/1"}]}
    for field in range(2):
        image = plate.create_group(f"A/1/{field}")
        image.create_array("0", data=volume)
        image.attrs["multiscales"] = [
            {"version": "0.4", "axes": [{"name": n} for n in "zyx"], "datasets": [{"path": "0"}]}
        ]
    with pytest.raises(StackError, match=r"plate\.zarr/A/1/0, .*plate\.zarr/A/1/1\."):
        open_stack(tmp_path / "plate.zarr")
    same(tmp_path / "plate.zarr" / "A" / "1" / "1", volume)
    many = zarr.open_group(tmp_path / "many.zarr", mode="w")
    for name in "ab":
        many.create_array(name, data=volume)
    with pytest.raises(StackError, match=r"2 arrays: name one of them: .*many\.zarr/a, .*/b"):
        open_stack(tmp_path / "many.zarr")


@pytest.mark.parametrize("setups", [1, 2])
def test_big_data_viewer(
    tmp_path: Path, volume: NDArray[Any], write_n5: Callable[..., None], setups: int
) -> None:
    root = tmp_path / "bdv.n5"
    for setup in range(setups):
        home = root / f"setup{setup}" / "timepoint0"
        write_n5(home / "s0", volume)
        write_n5(home / "s1", np.ascontiguousarray(volume[:, ::2, ::2]))
        (home / "attributes.json").write_text(json.dumps({"resolution": [4, 4, 40]}))
        (home.parent / "attributes.json").write_text(json.dumps({"dataType": "uint8"}))
    (root / "attributes.json").write_text(json.dumps({"n5": "2.5.1"}))
    same(root / "setup0", volume)
    if setups == 1:
        same(root, volume)
        with open_stack(root) as stack:
            assert stack.voxel_size == (40, 4, 4)
            assert len(stack.levels) == 1
    else:
        with pytest.raises(StackError, match=r"bdv\.n5/setup0/timepoint0, .*setup1/timepoint0"):
            open_stack(root)
