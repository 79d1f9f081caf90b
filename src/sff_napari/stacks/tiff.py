"""Stacks in TIFF files: memory-mapped where they are not compressed, else page by page."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from sff_napari.errors import StackError
from sff_napari.io_atomic import explain
from sff_napari.stacks.axes import choose_axes
from sff_napari.stacks.stack import Stack, VoxelSize
from sff_napari.stacks.units import nanometres, voxel_size

SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")


def open_tiff(path: Path, select: Mapping[str, int] | None = None) -> Stack:
    """Return the stack in a TIFF file; one page is one slice.

    Parameters
    ----------
    path : Path
        A TIFF, BigTIFF, ImageJ TIFF or OME-TIFF.
    select : mapping of str to int, optional
        Index on each further axis, e.g. ``{"c": 1}``; 0 where not given.

    Raises
    ------
    StackError
        If the file is not a TIFF, truncated, in colour, or of an unsupported dtype.
    """
    try:
        file = tifffile.TiffFile(path)
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


def _stack_of(file: tifffile.TiffFile, path: Path, select: Mapping[str, int]) -> Stack:
    if not file.pages or not file.series:
        raise StackError(f"{path} is a damaged or truncated TIFF file: it holds no image.")
    _check_complete(file, path)
    series = _series_of(file, path)
    axes = series.axes.lower()
    page = series.keyframe
    palette = page.photometric == tifffile.PHOTOMETRIC.PALETTE
    if palette or ("s" in axes and page.samplesperpixel > 1):
        raise StackError(f"{path} is a colour image: convert it to grey values.")
    chosen = choose_axes(axes, series.shape, select, path)
    offset = series.dataoffset
    mapped = offset is not None and series.dtype is not None
    region = None
    if mapped:
        data = np.memmap(
            path,
            dtype=np.dtype(file.byteorder + series.dtype.char),
            mode="r",
            offset=offset,
            shape=series.shape,
        )
        read = chosen.reader(data.__getitem__)
        region = chosen.region_reader(data.__getitem__)
    else:
        outer = series.shape[: len(series.shape) - page.ndim]
        pages = series.pages
        positions = np.arange(int(np.prod(outer, dtype=np.int64))).reshape(outer)

        def load(index: tuple[int, ...]) -> NDArray[Any]:
            kept = positions[index[: len(outer)]]
            found = pages[int(kept)]
            if found is None:
                raise StackError(f"{path} lacks page {int(kept)}.")
            return np.asarray(found.asarray())[index[len(outer) :]]

        read = chosen.reader(load)
    size = _ome_size(file) if file.is_ome else _imagej_size(file) if file.is_imagej else None
    return Stack(
        read,
        chosen.shape,
        series.dtype,
        kind=_kind(file),
        name=path.stem,
        path=path,
        axes=axes,
        voxel_size=size,
        chunks=None if mapped else (1, *chosen.shape[1:]),
        details={
            "compression": page.compression.name.lower(),
            "memory-mapped": mapped,
            **chosen.details,
        },
        close=file.close,
        region=region,
    )


def _series_of(file: tifffile.TiffFile, path: Path) -> tifffile.TiffPageSeries:
    """Return the image at its finest level; pages written one by one are one image."""
    found = file.series
    if len(found) > 1 and not file.is_ome:
        # A program that writes slice after slice makes each an image of its own.
        shapes = {(series.keyframe.shape, str(series.keyframe.dtype)) for series in file.series}
        if len(shapes) > 1:
            raise StackError(
                f"The pages of {path} differ in size or dtype: a stack has slices of one kind."
            )
        pages = list(file.pages)
        first = file.pages.first
        return tifffile.TiffPageSeries(
            pages, (len(pages), *first.shape), first.dtype, "Q" + first.axes, kind="pages"
        )
    series = found[0]
    levels = getattr(series, "levels", [series])
    finest: tifffile.TiffPageSeries = levels[0]
    return finest


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
