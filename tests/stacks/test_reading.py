"""Reading stacks of every kind, and what is said of those that cannot be read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray
from PIL import Image

from sff_napari.errors import InputError, SffError, StackError
from sff_napari.stacks import Stack, open_stack, parse_slices

SHAPE = (6, 40, 56)


@pytest.fixture
def volume() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


def check(stack: Stack, volume: NDArray[Any]) -> None:
    assert stack.shape == volume.shape
    assert stack.dtype == volume.dtype.newbyteorder("=")
    assert len(stack) == len(volume)
    for z in (len(volume) // 2, 0, len(volume) - 1, -1):
        assert np.array_equal(stack[z], volume[z])
        assert stack[z].dtype.isnative
    with pytest.raises(IndexError):
        stack[len(volume)]
    assert sum(1 for _ in stack) == len(volume)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64", ">u2", ">f4"])
@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib"}, {"bigtiff": True}, {"tile": (16, 16)}]
)
def test_tiff(tmp_path: Path, volume: NDArray[Any], dtype: str, options: dict[str, Any]) -> None:
    volume = volume.astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", volume, byteorder=">" if ">" in dtype else "<", **options)
    with open_stack(tmp_path / "a.tif") as stack:
        check(stack, volume)
        assert stack.details["memory-mapped"] is (
            "compression" not in options and "tile" not in options
        )


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_pages_that_are_images_of_their_own(
    tmp_path: Path, volume: NDArray[Any], compression: str | None
) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for image in volume:
            file.write(image, compression=compression)
    with tifffile.TiffFile(path) as file:
        assert len(file.series) == len(volume)
    check(open_stack(path), volume)
    tifffile.imwrite(path, volume[0, :30], append=True)
    with pytest.raises(StackError, match="pages of .* differ in size"):
        open_stack(path)


def test_pages_written_one_by_one(tmp_path: Path, volume: NDArray[Any]) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for image in volume:
            file.write(image, metadata=None, photometric="minisblack", compression="lzw")
    check(open_stack(tmp_path / "a.tif"), volume)


def test_only_the_slice_asked_for_is_read(tmp_path: Path, volume: NDArray[Any]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", volume, compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages[2]
        start, count = page.dataoffsets[0], page.databytecounts[0]
    with (tmp_path / "a.tif").open("r+b") as raw:
        raw.seek(start)
        raw.write(b"\xff" * count)
    stack = open_stack(tmp_path / "a.tif")
    assert np.array_equal(stack[1], volume[1])
    with pytest.raises(StackError, match="Slice 2 of .*damaged"):
        stack[2]


def test_a_single_page_is_a_stack_of_one_slice(tmp_path: Path, volume: NDArray[Any]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", volume[0])
    check(open_stack(tmp_path / "a.tif"), volume[:1])


def test_imagej_tiff_knows_its_voxel_size(tmp_path: Path, volume: NDArray[Any]) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        volume,
        imagej=True,
        resolution=(1 / 0.004, 1 / 0.004),
        metadata={"axes": "ZYX", "spacing": 0.05, "unit": "um"},
    )
    stack = open_stack(tmp_path / "a.tif")
    check(stack, volume)
    assert stack.kind == "ImageJ TIFF"
    assert stack.voxel_size == pytest.approx((50, 4, 4), rel=1e-6)


def test_ome_tiff_with_channels(tmp_path: Path, volume: NDArray[Any]) -> None:
    both = np.stack([volume, 255 - volume], axis=1)
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        both,
        photometric="minisblack",
        metadata={
            "axes": "ZCYX",
            "PhysicalSizeX": 4.0,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 0.005,
            "PhysicalSizeZ": 45.0,
            "PhysicalSizeZUnit": "nm",
        },
    )
    check(open_stack(tmp_path / "a.ome.tif"), volume)
    stack = open_stack(tmp_path / "a.ome.tif", {"c": 1})
    check(stack, 255 - volume)
    assert stack.voxel_size == pytest.approx((45, 5, 4))
    with pytest.raises(StackError, match="there is no 2"):
        open_stack(tmp_path / "a.ome.tif", {"c": 2})
    with pytest.raises(StackError, match="no further axis 'q'"):
        open_stack(tmp_path / "a.ome.tif", {"q": 0})


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"imagej": True}, {"ome": True}])
@pytest.mark.parametrize("share", [0.9, 0.7, 0.3, 0.02])
def test_truncated_tiff(
    tmp_path: Path, volume: NDArray[Any], options: dict[str, Any], share: float
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, volume, photometric="minisblack", **options)
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(StackError, match="truncated"):
        list(open_stack(path))


@pytest.mark.parametrize("share", [0.95, 0.5])
def test_truncated_tiff_with_pages_one_after_another(
    tmp_path: Path, volume: NDArray[Any], share: float
) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for image in volume:
            file.write(image, metadata=None, photometric="minisblack")
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(StackError, match="truncated"):
        list(open_stack(path))


def test_folder_in_natural_order(tmp_path: Path) -> None:
    for z in (10, 9, 1):
        Image.fromarray(np.full((33, 35), z, np.uint8)).save(tmp_path / f"z{z}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    check(open_stack(tmp_path), np.stack([np.full((33, 35), z, np.uint8) for z in (1, 9, 10)]))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_folder_of_16_bit_images(tmp_path: Path, volume: NDArray[Any], suffix: str) -> None:
    volume = volume.astype(np.uint16) * 256
    for z, image in enumerate(volume):
        if suffix == "png":
            Image.fromarray(image).save(tmp_path / f"{z}.png")
        else:
            tifffile.imwrite(tmp_path / f"{z}.tif", image)
    check(open_stack(tmp_path), volume)


def test_single_png(tmp_path: Path, volume: NDArray[Any]) -> None:
    Image.fromarray(volume[0]).save(tmp_path / "a.png")
    check(open_stack(tmp_path / "a.png"), volume[:1])


def test_folders_that_are_no_stack(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="holds no images"):
        open_stack(tmp_path)
    Image.fromarray(np.zeros((33, 35), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((33, 36), np.uint8)).save(tmp_path / "b.png")
    with pytest.raises(StackError, match=r"differ in size: a.png has 33 x 35 .* b.png has 33 x 36"):
        open_stack(tmp_path)
    Image.fromarray(np.zeros((33, 35), np.uint16)).save(tmp_path / "b.png")
    with pytest.raises(StackError, match="differ in dtype"):
        open_stack(tmp_path)
    red = np.zeros((33, 35, 3), np.uint8)
    red[..., 0] = 9
    Image.fromarray(red).save(tmp_path / "b.png")
    with pytest.raises(StackError, match=r"b\.png is a colour image"):
        open_stack(tmp_path)[1]
    (tmp_path / "b.png").write_bytes(b"no image at all")
    with pytest.raises(StackError, match=r"b\.png is not an image"):
        open_stack(tmp_path)


def test_damaged_png_is_named_when_it_is_read(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    os.truncate(tmp_path / "a.png", 2000)
    with pytest.raises(StackError, match="Slice 0 .*damaged"):
        open_stack(tmp_path / "a.png")[0]


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("chunks", [(1, 20, 20), (4, 16, 16), (6, 40, 56)])
def test_zarr_array(
    tmp_path: Path, volume: NDArray[Any], zarr_format: Any, chunks: tuple[int, ...]
) -> None:
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=SHAPE, chunks=chunks, dtype="uint8", zarr_format=zarr_format
    )
    array[:] = volume
    stack = open_stack(tmp_path / "a.zarr")
    check(stack, volume)
    assert stack.chunks == chunks


def test_plain_zarr_group(tmp_path: Path, volume: NDArray[Any]) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    with pytest.raises(StackError, match="without an image"):
        open_stack(tmp_path / "a.zarr")
    group.create_array("raw", data=volume, attributes={"resolution": [40, 4, 4]})
    stack = open_stack(tmp_path / "a.zarr")
    check(stack, volume)
    assert stack.voxel_size == (40, 4, 4)
    group.create_array("labels", data=volume)
    with pytest.raises(StackError, match="2 arrays: name one"):
        open_stack(tmp_path / "a.zarr")
    check(open_stack(tmp_path / "a.zarr" / "raw"), volume)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr(tmp_path: Path, volume: NDArray[Any], version: str, ome_zarr: Any) -> None:
    ome_zarr(tmp_path / "a.zarr", volume, version, "zyx", "micrometer")
    stack = open_stack(tmp_path / "a.zarr")
    check(stack, volume)
    assert stack.voxel_size == pytest.approx((50, 4, 4))
    assert stack.kind.startswith(f"OME-Zarr {version}")


def test_ome_zarr_with_channels_and_times(
    tmp_path: Path, volume: NDArray[Any], ome_zarr: Any
) -> None:
    five = np.stack([volume, 255 - volume])[None]
    ome_zarr(tmp_path / "a.zarr", five, "0.5", "tczyx", "micrometer")
    stack = open_stack(tmp_path / "a.zarr")
    check(stack, volume)
    assert stack.details["axis c"] == "0 of 2"
    check(open_stack(tmp_path / "a.zarr", {"c": 1}), 255 - volume)


def test_damaged_zarr(tmp_path: Path, volume: NDArray[Any], ome_zarr: Any) -> None:
    ome_zarr(tmp_path / "a.zarr", volume, "0.5", "zyx", "micrometer")
    metadata = tmp_path / "a.zarr" / "fine" / "zarr.json"
    metadata.write_text("{")
    with pytest.raises(StackError, match="metadata cannot be used"):
        open_stack(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "zarr.json").write_text("{")
    with pytest.raises(StackError, match="metadata cannot be read"):
        open_stack(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "zarr.json").unlink()
    with pytest.raises(StackError, match="no metadata"):
        open_stack(tmp_path / "a.zarr")


def test_damaged_chunk_is_named_when_it_is_read(tmp_path: Path, volume: NDArray[Any]) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", shape=SHAPE, chunks=(1, 40, 56), dtype="uint8")
    array[:] = volume
    (tmp_path / "a.zarr" / "c" / "2" / "0" / "0").write_bytes(b"no chunk")
    stack = open_stack(tmp_path / "a.zarr")
    assert np.array_equal(stack[1], volume[1])
    with pytest.raises(StackError, match="Slice 2 of .*damaged"):
        stack[2]


def test_npy(tmp_path: Path, volume: NDArray[Any]) -> None:
    np.save(tmp_path / "a.npy", volume)
    check(open_stack(tmp_path / "a.npy"), volume)
    os.truncate(tmp_path / "a.npy", 3000)
    with pytest.raises(StackError, match="truncated"):
        open_stack(tmp_path / "a.npy")


def test_arrays(volume: NDArray[Any]) -> None:
    import dask.array

    check(Stack.from_array(volume), volume)
    check(Stack.from_array(dask.array.from_array(volume, chunks=(4, 20, 20))), volume)
    check(Stack.from_array(zarr.array(volume)), volume)
    check(Stack.from_array(volume[0]), volume[:1])
    assert Stack.from_array(volume)[0] is not volume[0]


@pytest.mark.parametrize("shape", [(5,), (2, 2, 2, 2), (0, 4, 4), (4, 0, 4)])
def test_arrays_that_are_no_stack(shape: tuple[int, ...]) -> None:
    with pytest.raises(StackError, match="dimensions|no pixels"):
        Stack.from_array(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", ["int64", "bool", "int16", "uint32", "complex64"])
def test_unsupported_dtypes(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(StackError, match=f"dtype {dtype}"):
        Stack.from_array(np.zeros((2, 40, 40), dtype))
    np.save(tmp_path / "a.npy", np.zeros((2, 40, 40), dtype))
    with pytest.raises(StackError, match=f"dtype {dtype}"):
        open_stack(tmp_path / "a.npy")


def test_colour_tiff(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.eye(3, dtype=np.uint8)[np.zeros((40, 40), int)],
                     photometric="rgb")  # fmt: skip
    with pytest.raises(StackError, match="colour"):
        open_stack(tmp_path / "a.tif")


def test_paths_that_are_no_stack(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="nothing at"):
        open_stack(tmp_path / "missing.tif")
    (tmp_path / "a.tif").write_bytes(b"")
    with pytest.raises(StackError, match="empty file"):
        open_stack(tmp_path / "a.tif")
    (tmp_path / "a.tif").write_bytes(b"not a tiff")
    with pytest.raises(StackError, match="not a TIFF"):
        open_stack(tmp_path / "a.tif")
    (tmp_path / "a.txt").write_bytes(b"words")
    with pytest.raises(StackError, match="no stack that can be read"):
        open_stack(tmp_path / "a.txt")
    with pytest.raises(StackError, match="address"):
        open_stack("https://example.org/a.zarr")


def test_permission_denied_is_one_sentence(
    tmp_path: Path, volume: NDArray[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", volume)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StackError, match="could not be read: there is no permission"):
        open_stack(tmp_path / "a.tif")


def test_parse_slices() -> None:
    assert parse_slices(None, 3) == [0, 1, 2]
    assert parse_slices("3, 7-9,8", 10) == [3, 7, 8, 9]
    for text, words in (("1-", "cannot be read"), ("x", "cannot be read"), ("9-7", "backwards")):
        with pytest.raises(InputError, match=words):
            parse_slices(text, 10)
    with pytest.raises(SffError, match="no slice 10: the stack has 10, numbered 0 to 9"):
        parse_slices("10", 10)


def test_real_stack(data_folder: Path) -> None:
    with open_stack(data_folder / "vnc_stack1.tif") as stack:
        assert stack.shape == (20, 1024, 1024)
        assert stack[19].std() > 40
