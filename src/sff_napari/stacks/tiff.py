"""Read stacks in TIFF files: memory-mapped where they are not compressed, else page by page."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from sff_napari.errors import StackError
from sff_napari.io_atomic import explain
from sff_napari.stacks.array_readers import ReadRegion
from sff_napari.stacks.axes import choose_axes
from sff_napari.stacks.description import Readers, StackInfo, VoxelSize
from sff_napari.stacks.grey import JPEG_TOLERANCE, grey_of_channels, grey_of_palette, inverted
from sff_napari.stacks.stack import Stack
from sff_napari.stacks.units import nanometres, voxel_size

_PALETTE = tifffile.PHOTOMETRIC.PALETTE
_WHITE = tifffile.PHOTOMETRIC.MINISWHITE
SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")


def open_tiff(path: Path, select: Mapping[str, int] | None = None, *, alone: bool = False) -> Stack:
    """Return the stack in a TIFF file; one page is one slice.

    Parameters
    ----------
    path : Path
        A TIFF, BigTIFF, ImageJ TIFF or OME-TIFF.
    select : mapping of str to int, optional
        Index on each further axis, e.g. ``{"c": 1}``; 0 where not given.
    alone : bool
        Whether to read what this file holds and no other, whatever an OME
        description in it says.

    Raises
    ------
    StackError
        If the file is not a TIFF, truncated, in colour, or of an unsupported dtype.
    """
    try:
        file = tifffile.TiffFile(path, **({"is_ome": False} if alone else {}))
    except tifffile.TiffFileError as error:
        raise StackError(
            f"{path} is not a TIFF file, or it is damaged or truncated: {error}."
        ) from error
    except OSError as error:
        raise explain(error, path, "read") from error
    except Exception as error:  # a damaged header makes the parser raise anything
        raise StackError(f"{path} is a damaged or truncated TIFF file ({error}).") from error
    try:
        return _stack_of(file, path, select or {})
    except StackError:
        file.close()
        raise
    except Exception as error:
        file.close()
        raise StackError(f"{path} is a damaged or truncated TIFF file ({error}).") from error


def is_one_of_many(path: Path) -> bool:
    """Tell whether a file is one of several that make an OME-TIFF."""
    try:
        with tifffile.TiffFile(path) as file:
            if not file.is_ome:
                return False
            names = {
                element.get("FileName")
                for element in ET.fromstring(file.ome_metadata or "").iter()
                if element.tag.rpartition("}")[2] == "UUID"
            }
            return len({name for name in names if name}) > 1
    except Exception:  # damaged files raise anything; they are told when they are opened
        return False


def _stack_of(file: tifffile.TiffFile, path: Path, select: Mapping[str, int]) -> Stack:
    if not file.pages or not file.series:
        raise StackError(f"{path} is a damaged or truncated TIFF file: it holds no image.")
    _check_complete(file, path)
    series, left_out = _series_of(file, path)
    page = series.keyframe
    axes, shape = series.axes.lower(), tuple(series.shape)
    samples = axes.index("s") if "s" in axes and page.samplesperpixel > 1 else None
    if samples is not None:
        axes, shape = axes.replace("s", ""), shape[:samples] + shape[samples + 1 :]
    convert = _conversion(page, path)
    chosen = choose_axes(axes, shape, select, path)
    dtype = np.dtype(np.uint8 if page.photometric == _PALETTE else series.dtype)
    offset = series.dataoffset
    mapped = offset is not None and series.dtype is not None and samples is None
    region: ReadRegion | None = None
    if mapped:
        data = np.memmap(
            path,
            dtype=np.dtype(file.byteorder + series.dtype.char),
            mode="r",
            offset=offset,
            shape=shape,
        )

        def load(index: tuple[Any, ...]) -> NDArray[Any]:
            return convert(data[index])

        region = chosen.region_reader(load)
    else:
        outer = shape[: len(shape) - (page.ndim - (samples is not None))]
        pages = series.pages
        positions = np.arange(int(np.prod(outer, dtype=np.int64))).reshape(outer)
        planar = samples is not None and page.axes.startswith("S")

        def load(index: tuple[Any, ...]) -> NDArray[Any]:
            kept = positions[index[: len(outer)]]
            found = pages[int(kept)]
            if found is None:
                raise StackError(f"{path} lacks page {int(kept)}.")
            image = _pixels(found)
            image = convert(np.moveaxis(image, 0, -1) if planar else image)
            return np.asarray(image[index[len(outer) :]])

    size = _ome_size(file) if file.is_ome else _imagej_size(file) if file.is_imagej else None
    more = {"pages left out": left_out} if left_out else {}
    stack = Stack(
        Readers(chosen.reader(load), close=file.close, region=region),
        StackInfo(
            chosen.shape,
            dtype,
            kind=_kind(file),
            name=path.stem,
            path=path,
            axes=axes,
            voxel_size=size,
            chunks=None if mapped else (1, *chosen.shape[1:]),
            details={
                "compression": page.compression.name.lower(),
                "memory-mapped": mapped,
                **({"photometric": "white is zero"} if page.photometric == _WHITE else {}),
                **more,
                **chosen.details,
            },
            kept=_kept(file, page, chosen.shape[0]),
        ),
    )
    if samples is not None:
        # Whether it is in colour shows in its pixels alone.
        stack[0]
    return stack


def _pixels(page: tifffile.TiffPage) -> NDArray[Any]:
    """Return what a page holds, perhaps in another file of the same OME-TIFF."""
    handle = page.parent.filehandle
    if not handle.closed:
        return np.asarray(page.asarray())
    handle.open()
    try:
        return np.asarray(page.asarray())
    finally:
        handle.close()


def _conversion(page: tifffile.TiffPage, path: Path) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return what makes grey values, black zero, of the pixels of a page."""
    if page.photometric == _PALETTE:
        lookup = grey_of_palette(np.asarray(page.colormap).T, str(path))
        return lambda array: lookup[array]
    if page.samplesperpixel > 1:
        lossy = page.compression.name.lower() in ("jpeg", "ojpeg", "aperio_jp2000_ycbc", "webp")
        return lambda array: grey_of_channels(array, str(path), JPEG_TOLERANCE if lossy else 0)
    if page.photometric == _WHITE:
        return inverted
    return lambda array: array


def _series_of(file: tifffile.TiffFile, path: Path) -> tuple[tifffile.TiffPageSeries, int]:
    """Return the image at its finest level, and how many pages are none of its slices.

    Pages written one by one are one image; previews and labels are left out.
    """
    found = file.series
    if len(found) > 1 and not file.is_ome:
        # A program that writes slice after slice makes each an image of its own.
        pages = [page for series in found for page in series.pages if page is not None]
        kinds: dict[Any, list[Any]] = {}
        for page in pages:
            kinds.setdefault((page.keyframe.shape, str(page.keyframe.dtype)), []).append(page)
        chosen = max(kinds.values(), key=lambda group: (group[0].keyframe.size, len(group)))
        rest = [group[0].keyframe for group in kinds.values() if group is not chosen]
        first = chosen[0].keyframe
        small = all(2 * max(one.shape[:2]) <= max(first.shape[:2]) for one in rest)
        marked = all(one.is_reduced or int(one.subfiletype) & 1 for one in rest)
        if rest and not (small or marked):
            raise StackError(
                f"The pages of {path} differ in size or dtype: a stack has slices of one kind."
            )
        if len(chosen) == 1 or len(found) - len(rest) == 1:
            series = next(one for one in found if one.keyframe is first or chosen[0] in one.pages)
            return series, len(pages) - len(chosen)
        return (
            tifffile.TiffPageSeries(
                chosen, (len(chosen), *first.shape), first.dtype, "Q" + first.axes, kind="pages"
            ),
            len(pages) - len(chosen),
        )
    series = found[0]
    levels = getattr(series, "levels", [series])
    finest: tifffile.TiffPageSeries = levels[0]
    return finest, 0


def _kept(file: tifffile.TiffFile, page: tifffile.TiffPage, count: int) -> dict[str, Any]:
    """Return what a TIFF that is made from this one takes over."""
    kept: dict[str, Any] = {
        "byteorder": file.byteorder,
        "photometric": "miniswhite" if page.photometric == _WHITE else "minisblack",
        "compression": page.compression.name.lower(),
    }
    metadata = file.imagej_metadata if file.is_imagej else None
    if metadata:
        kept["imagej"] = {
            name: metadata[name] for name in ("min", "max", "unit", "Info") if name in metadata
        }
        labels = metadata.get("Labels")
        if isinstance(labels, list) and len(labels) == count:
            kept["imagej"]["Labels"] = [str(label) for label in labels]
    return kept


def _kind(file: tifffile.TiffFile) -> str:
    kind = "OME-TIFF" if file.is_ome else "ImageJ TIFF" if file.is_imagej else "TIFF"
    return f"{kind} (BigTIFF)" if file.is_bigtiff else kind


def _check_complete(file: tifffile.TiffFile, path: Path) -> None:
    """Raise if the file ends before its pages do.

    The reader takes what pages it finds and says nothing of the rest, so the
    chain of pages and the place of the last one's data are looked at here.
    """
    tiff = file.tiff
    last = file.pages[len(file.pages) - 1]
    handle = file.filehandle
    truncated = StackError(
        f"{path} is truncated: it ends before its last slice; copy it again from its source."
    )
    first = file.pages.first
    for page in (first, last):
        ends = [
            int(start) + int(count)
            for start, count in zip(page.dataoffsets, page.databytecounts, strict=False)
        ]
        if ends and max(ends) > handle.size:
            raise truncated
    try:
        handle.seek(last.offset)
        tags = struct.unpack(tiff.tagnoformat, handle.read(tiff.tagnosize))[0]
        handle.seek(last.offset + tiff.tagnosize + tags * tiff.tagsize)
        following = struct.unpack(tiff.offsetformat, handle.read(tiff.offsetsize))[0]
    except (struct.error, OSError) as error:
        raise truncated from error
    if following != 0:
        raise truncated
    if file.is_imagej:
        images = int((file.imagej_metadata or {}).get("images", 1))
        if images > len(file.pages):
            # All slices follow the single page's own.
            page_bytes = int(np.prod(first.shape)) * np.dtype(first.dtype).itemsize
            if first.compression == 1 and first.dataoffsets[0] + images * page_bytes > handle.size:
                raise truncated


def _imagej_size(file: tifffile.TiffFile) -> VoxelSize | None:
    metadata = file.imagej_metadata or {}
    unit = str(metadata.get("unit", ""))
    tags = file.pages.first.tags

    def pixel(name: str) -> float | None:
        tag = tags.get(name)
        if tag is None or not tag.value[0]:
            return None
        return float(tag.value[1] / tag.value[0])

    spacing = metadata.get("spacing")
    return voxel_size((spacing, pixel("YResolution"), pixel("XResolution")), (unit,) * 3)


def _ome_size(file: tifffile.TiffFile) -> VoxelSize | None:
    try:
        root = ET.fromstring(file.ome_metadata or "")
    except ET.ParseError:
        return None
    for element in root.iter():
        if element.tag.rpartition("}")[2] == "Pixels":
            found = []
            for axis in "ZYX":
                value = element.get(f"PhysicalSize{axis}")
                unit = element.get(f"PhysicalSize{axis}Unit", "µm")
                found.append(None if value is None else nanometres(float(value), unit))
            z, y, x = found
            return None if z is None or y is None or x is None else (z, y, x)
    return None
