"""Read stacks made of one image file a slice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sff_napari.errors import StackError
from sff_napari.io_atomic import explain
from sff_napari.stacks import tiff
from sff_napari.stacks.axes import SLICES
from sff_napari.stacks.description import Readers, StackInfo
from sff_napari.stacks.grey import JPEG_TOLERANCE, grey_of_channels, grey_of_palette
from sff_napari.stacks.slice_names import check_doubles, gaps_in, natural_key, positions_of
from sff_napari.stacks.stack import Stack

SUFFIXES = (".png", ".jpg", ".jpeg", *tiff.SUFFIXES)

_DTYPES = {
    **dict.fromkeys(("L", "LA", "P", "RGB", "RGBA", "RGBX"), "uint8"),
    **dict.fromkeys(("I;16", "I;16B", "I;16L", "I;16N"), "uint16"),
    "F": "float32",
}
_LIMIT = 65_536**2
"""More pixels than any slice has: such a header is broken or hostile."""


def open_folder(path: Path, select: Mapping[str, int] | None = None) -> Stack:
    """Return the stack made of the images in a folder, in natural order of their names.

    Parameters
    ----------
    path : Path
        Folder with PNG, TIFF or JPEG files, all grey and of one size.
    select : mapping of str to int, optional
        Index on further axes, of an OME-TIFF that is spread over the files.

    Raises
    ------
    StackError
        If there are none, or they differ in size or dtype, or are in colour.
    """
    try:
        files = sorted(
            (
                file
                for file in path.iterdir()
                if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
            ),
            key=natural_key,
        )
    except OSError as error:
        raise explain(error, path, "read") from error
    if not files:
        raise StackError(
            f"The folder {path} holds no images: a stack is a folder of PNG, TIFF or JPEG files, "
            "a TIFF file or a zarr."
        )
    if files[0].suffix.lower() in tiff.SUFFIXES and tiff.is_one_of_many(files[0]):
        return tiff.open_tiff(files[0], select)
    _check_select(path, select)
    check_doubles(files)
    shape, dtype = _header(files[0])
    _check_grey(files[0])
    for file in files[1:]:
        other_shape, other_dtype = _header(file)
        if other_shape != shape:
            raise StackError(
                f"The images in {path} differ in size: {files[0].name} has {_size(shape)} pixels, "
                f"{file.name} has {_size(other_shape)}."
            )
        if other_dtype != dtype:
            raise StackError(
                f"The images in {path} differ in dtype: {files[0].name} has {dtype}, "
                f"{file.name} has {other_dtype}."
            )
    names = tuple(file.stem for file in files)
    positions = positions_of(names)
    gaps = "" if positions is None else gaps_in(names, positions)
    return Stack(
        Readers(lambda z: read_image(files[z])),
        StackInfo(
            (len(files), *shape),
            dtype,
            kind="folder of images",
            name=path.name,
            path=path,
            chunks=(1, *shape),
            details={
                "first image": files[0].name,
                "last image": files[-1].name,
                **({"missing in the names": gaps} if gaps else {}),
            },
            slice_names=names,
            positions=positions if gaps else None,
        ),
    )


def open_image(path: Path, select: Mapping[str, int] | None = None) -> Stack:
    """Return a single image file as a stack of one slice.

    Raises
    ------
    StackError
        If it cannot be read or is in colour.
    """
    _check_select(path, select)
    shape, dtype = _header(path)
    _check_grey(path)
    return Stack(
        Readers(lambda z: read_image(path)),
        StackInfo(
            (1, *shape),
            dtype,
            kind="single image",
            name=path.stem,
            path=path,
            axes="yx",
            chunks=(1, *shape),
        ),
    )


def _check_select(path: Path, select: Mapping[str, int] | None) -> None:
    others = set(select or {}) - {"z"}
    if others or any(value != SLICES for value in (select or {}).values()):
        raise StackError(
            f"{path} is made of images with y and x alone: there is nothing to choose on axis "
            f"{sorted(others or {'z'})[0]!r}."
        )


def read_image(path: Path) -> NDArray[Any]:
    """Return a grey image (Y, X).

    Raises
    ------
    StackError
        If it is in colour or cannot be read.
    """
    if path.suffix.lower() in tiff.SUFFIXES:
        with tiff.open_tiff(path, alone=True) as stack:
            return stack[0]
    with _opened(path) as image:
        if image.mode == "P":
            palette = np.asarray(image.getpalette() or [0] * 768, dtype=np.uint8).reshape(-1, 3)
            return np.asarray(grey_of_palette(palette, str(path))[np.asarray(image)])
        if image.mode in ("RGB", "RGBA", "LA", "RGBX"):
            tolerance = JPEG_TOLERANCE if path.suffix.lower() in (".jpg", ".jpeg") else 0
            return grey_of_channels(np.asarray(image), str(path), tolerance)
        if image.mode == "I":
            # Pillow before 11 reads PNG of 16 bits so.
            return np.asarray(image).astype(np.uint16)
        return np.asarray(image)


def _check_grey(path: Path) -> None:
    """Raise if an image with channels is in colour, which only its pixels tell."""
    if path.suffix.lower() in tiff.SUFFIXES:
        return
    with _opened(path) as image:
        is_grey = image.mode not in ("P", "RGB", "RGBA", "LA", "RGBX")
    if not is_grey:
        try:
            read_image(path)
        except OSError as error:
            raise StackError(f"{path} is damaged or truncated ({error}).") from error


def _opened(path: Path) -> Image.Image:
    # Slices are larger than the pictures that Pillow expects; `_LIMIT` is checked instead.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return Image.open(path)
    except UnidentifiedImageError as error:
        raise StackError(f"{path} is not an image, or it is damaged or truncated.") from error
    except OSError as error:
        raise explain(error, path, "read") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _header(path: Path) -> tuple[tuple[int, int], str]:
    """Return shape (Y, X) and dtype of a grey image without reading its pixels."""
    if path.suffix.lower() in tiff.SUFFIXES:
        with tiff.open_tiff(path, alone=True) as stack:
            if len(stack) != 1:
                raise StackError(
                    f"{path} holds {len(stack)} slices, but in a folder each file is one slice: "
                    "open the file itself."
                )
            return stack.shape[1:], stack.dtype.name
    with _opened(path) as image:
        width, height = image.size
        mode = image.mode
        # Signed whole numbers of 32 bits are what Pillow before 11 makes of 16 bits.
        sixteen = mode == "I" and image.format == "PNG"
    if width * height > _LIMIT:
        raise StackError(f"{path} claims {height} x {width} pixels, more than any slice has.")
    if sixteen:
        return (height, width), "uint16"
    if mode in ("CMYK", "YCbCr", "HSV", "LAB", "PA"):
        raise StackError(f"{path} is a colour image: convert it to grey values.")
    if mode not in _DTYPES:
        name = {"1": "bool", "I": "int32"}.get(mode, mode)
        raise StackError(
            f"{path} has dtype {name}, which is not supported: save it with 8 or 16 bits a pixel."
        )
    return (height, width), _DTYPES[mode]


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]}"
