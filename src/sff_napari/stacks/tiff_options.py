"""Write a TIFF as the one that it is made from, where that can be kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sff_napari.stacks.description import VoxelSize
from sff_napari.stacks.units import nanometres

_CODECS = {"adobe_deflate": "zlib", "deflate": "zlib", "lzw": "lzw", "zstd": "zstd", "lzma": "lzma"}
"""What a TIFF that is made from another is compressed with; lossy codecs are not used again."""
_PLAIN_LIMIT = 2**32 - 2**26
"""Bytes that a TIFF which is no BigTIFF can address."""


def tiff_options(
    kept: Mapping[str, Any],
    dtype: np.dtype[Any],
    size: VoxelSize | None,
    name: str,
    total: int,
) -> dict[str, dict[str, Any]]:
    """Return how a TIFF is written.

    Parameters
    ----------
    kept : mapping
        What it takes over from the one that it is made from; see `Stack`.
    dtype : dtype
        Of the pixels.
    size : (z, y, x), optional
        Of a voxel in nm.
    name : str
        Of the image.
    total : int
        Bytes of all pixels.

    Returns
    -------
    dict
        ``file``, options of ``tifffile.TiffWriter``; ``page``, of its ``write``.
    """
    metadata: dict[str, Any] = {"axes": "ZYX"}
    page: dict[str, Any] = {
        "photometric": kept.get("photometric", "minisblack"),
        "compression": _CODECS.get(str(kept.get("compression"))),
        "metadata": metadata,
    }
    file: dict[str, Any] = {"byteorder": kept.get("byteorder")}
    imagej = kept.get("imagej")
    # ImageJ's own format holds no more than 4 GiB and no other dtypes.
    if (
        imagej is not None
        and total <= _PLAIN_LIMIT
        and dtype.name in ("uint8", "uint16", "float32")
    ):
        file["imagej"] = True
        metadata.update({key: imagej[key] for key in ("min", "max", "Labels") if key in imagej})
        if "Info" in imagej:
            metadata["Info"] = imagej["Info"]
        if size is not None:
            unit = str(imagej.get("unit", "nm"))
            scale = nanometres(1.0, unit)
            unit, scale = (unit, scale) if scale is not None else ("nm", 1.0)
            metadata |= {"unit": unit, "spacing": size[0] / scale}
            page["resolution"] = (scale / size[2], scale / size[1])
        return {"file": file, "page": page}
    file |= {"bigtiff": total > _PLAIN_LIMIT, "ome": True}
    metadata["Name"] = name
    if size is not None:
        for axis, value in zip("ZYX", size, strict=True):
            metadata[f"PhysicalSize{axis}"] = value
            metadata[f"PhysicalSize{axis}Unit"] = "nm"
    return {"file": file, "page": page}
