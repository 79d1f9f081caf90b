"""TIFF and image files as people have them: white is zero, colours that are grey, previews."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from sff_napari.errors import StackError
from sff_napari.stacks import open_stack, write_stack

SHAPE = (4, 40, 56)


@pytest.fixture
def volume() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


def same(path: Path, volume: NDArray[Any]) -> None:
    with open_stack(path) as stack:
        assert stack.shape == volume.shape
        assert stack.dtype == volume.dtype.newbyteorder("=")
        for z, image in enumerate(volume):
            assert np.array_equal(stack[z], image)
            part = stack.read(z, slice(3, 20), slice(5, 50))
            assert np.array_equal(part, image[3:20, 5:50])


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_white_is_zero(
    tmp_path: Path, volume: NDArray[Any], dtype: str, compression: str | None, byteorder: Any
) -> None:
    volume = volume.astype(dtype)
    stored = -volume if dtype == "float32" else np.iinfo(dtype).max - volume
    options: dict[str, Any] = {"photometric": "miniswhite", "compression": compression}
    tifffile.imwrite(tmp_path / "a.tif", stored, byteorder=byteorder, **options)
    same(tmp_path / "a.tif", volume)
    (tmp_path / "folder").mkdir()
    for z, image in enumerate(stored):
        tifffile.imwrite(tmp_path / "folder" / f"{z}.tif", image, byteorder=byteorder, **options)
    same(tmp_path / "folder", volume)
    with open_stack(tmp_path / "a.tif") as stack:
        write_stack(tmp_path / "b.tif", stack)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.byteorder == byteorder
        assert file.pages.first.photometric.name == "MINISWHITE"
        assert (file.pages.first.compression.name == "NONE") == (compression is None)
        assert np.array_equal(file.asarray(), stored)
    same(tmp_path / "b.tif", volume)


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_grey_tiff_with_channels(
    tmp_path: Path, volume: NDArray[Any], channels: int, planar: Any, dtype: str
) -> None:
    volume = volume.astype(dtype)
    colours = np.stack([volume] * channels, -1 if planar == "contig" else 1)
    options: dict[str, Any] = {"photometric": "rgb" if channels > 2 else "minisblack"}
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for image in colours:
            file.write(image, planarconfig=planar, contiguous=False, metadata=None, **options)
    if channels == 2 and planar == "separate":
        return  # two grey planes a page: which of them is meant is not known
    same(tmp_path / "a.tif", volume)


def test_coloured_tiff_is_refused(tmp_path: Path, volume: NDArray[Any]) -> None:
    colours = np.stack([volume, volume, 255 - volume], -1)
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb")
    with pytest.raises(StackError, match="colour image"):
        open_stack(tmp_path / "a.tif")


def test_palette_tiff(tmp_path: Path, volume: NDArray[Any]) -> None:
    ramp = np.arange(256, dtype=np.uint16)[::-1] * 257
    tifffile.imwrite(
        tmp_path / "a.tif", volume, photometric="palette", colormap=np.stack([ramp] * 3)
    )
    same(tmp_path / "a.tif", 255 - volume)
    tifffile.imwrite(
        tmp_path / "b.tif", volume, photometric="palette", colormap=np.stack([ramp, ramp, 0 * ramp])
    )
    with pytest.raises(StackError, match="colour image"):
        open_stack(tmp_path / "b.tif")


def test_images_with_channels_and_palettes(tmp_path: Path, volume: NDArray[Any]) -> None:
    image = volume[0]
    full = np.full_like(image, 255)
    Image.fromarray(np.stack([image] * 3, -1)).save(tmp_path / "0.png")
    Image.fromarray(np.stack([image] * 3 + [full], -1)).save(tmp_path / "1.png")
    Image.fromarray(np.stack([image, full], -1)).save(tmp_path / "2.png")
    with_palette = Image.fromarray(255 - image).convert("P")
    with_palette.putpalette(np.repeat(np.arange(256, dtype=np.uint8)[::-1], 3).tobytes())
    with_palette.save(tmp_path / "3.png")
    same(tmp_path, np.stack([image] * 4))


def test_grey_jpeg_saved_as_colour(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(64), np.arange(80)).astype(np.uint8)
    Image.fromarray(np.stack([smooth] * 3, -1)).save(tmp_path / "a.jpg", quality=90)
    with open_stack(tmp_path / "a.jpg") as stack:
        assert np.abs(stack[0].astype(int) - smooth).max() < 12


def test_a_preview_page_is_left_out(tmp_path: Path, volume: NDArray[Any]) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(volume, photometric="minisblack")
        file.write(volume[0, ::4, ::4], subfiletype=1)
    same(tmp_path / "a.tif", volume)
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        for image in volume:
            file.write(image, contiguous=False, metadata=None)
        file.write(np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    same(tmp_path / "b.tif", volume)
    with open_stack(tmp_path / "b.tif") as stack:
        assert stack.details["pages left out"] == 1


def test_a_folder_of_a_multi_file_ome_tiff(tmp_path: Path, volume: NDArray[Any]) -> None:
    names = [f"part_{z}.ome.tif" for z in range(len(volume))]
    blocks = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:00000000-0000-0000-0000-00000000000{z}</UUID></TiffData>'
        for z, name in enumerate(names)
    )
    depth, height, width = volume.shape
    for z, name in enumerate(names):
        text = (
            '<?xml version="1.0" encoding="UTF-8"?><OME '
            'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:00000000-0000-0000-0000-00000000000{z}"><Image ID="Image:0">'
            f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="{width}" '
            f'SizeY="{height}" SizeZ="{depth}" SizeC="1" SizeT="1" PhysicalSizeX="4" '
            'PhysicalSizeXUnit="nm" PhysicalSizeY="4" PhysicalSizeYUnit="nm" PhysicalSizeZ="40" '
            f'PhysicalSizeZUnit="nm"><Channel ID="Channel:0:0"/>{blocks}</Pixels></Image></OME>'
        )
        tifffile.imwrite(
            tmp_path / name, volume[z], description=text, metadata=None, photometric="minisblack"
        )
    same(tmp_path, volume)
    with open_stack(tmp_path) as stack:
        assert stack.voxel_size == (40, 4, 4)


Imagej = Callable[..., None]


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_what_imagej_keeps(tmp_path: Path, volume: NDArray[Any], compression: str | None) -> None:
    labels = [f"sec_{z + 17:04d}" for z in range(len(volume))]
    metadata = {"axes": "ZYX", "spacing": 0.04, "unit": "um", "min": 5, "max": 240,
                "Labels": labels}  # fmt: skip
    tifffile.imwrite(
        tmp_path / "a.tif", volume.astype(np.uint16), imagej=True, resolution=(250, 125),
        compression=compression, metadata=metadata,
    )  # fmt: skip
    with open_stack(tmp_path / "a.tif") as stack:
        assert stack.voxel_size == pytest.approx((40, 8, 4))
        write_stack(tmp_path / "b.tif", stack)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.is_imagej
        made = file.imagej_metadata or {}
        assert made["Labels"] == labels
        assert (made["min"], made["max"], made["unit"]) == (5, 240, "um")
        assert (file.pages.first.compression.name == "NONE") == (compression is None)
        assert np.array_equal(file.asarray(), volume)
    with open_stack(tmp_path / "b.tif") as stack:
        assert stack.voxel_size == pytest.approx((40, 8, 4))
