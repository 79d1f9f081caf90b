"""Parse the metadata of OME-Zarr images: axes, units, and the levels of the pyramid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sff_napari.stacks.description import VoxelSize
from sff_napari.stacks.units import voxel_size


@dataclass(frozen=True)
class Dataset:
    """One level of a pyramid.

    Parameters
    ----------
    path : str
        Of its array within the group.
    scale : tuple of float or None
        Size of its pixels on each axis, in the axes' units; None if not given.
    translation : tuple of float or None
        Where its first pixel lies, in the axes' units.
    """

    path: str
    scale: tuple[float, ...] | None
    translation: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Multiscale:
    """What an OME-Zarr group says about its image.

    Parameters
    ----------
    version : str
        Of OME-Zarr, e.g. ``"0.5"``.
    axes : str
        One lower-case letter an axis.
    units : tuple of str or None
        Of the axes.
    datasets : tuple of Dataset
        The finest level first.
    """

    version: str
    axes: str
    units: tuple[str | None, ...]
    datasets: tuple[Dataset, ...]

    @property
    def voxel_size(self) -> VoxelSize | None:
        """Size (z, y, x) of a voxel of the finest level in nm, if it is known."""
        scale = self.datasets[0].scale
        if scale is None or not set("zyx") <= set(self.axes):
            return None
        places = [self.axes.index(axis) for axis in "zyx"]
        return voxel_size([scale[i] for i in places], [self.units[i] for i in places])


def offset_of(image: Multiscale) -> tuple[float, float, float]:
    """Return where the first voxel of an image lies (z, y, x), in voxels of its finest level."""
    finest = image.datasets[0]
    found = []
    for axis in "zyx":
        at = image.axes.find(axis)
        if at < 0 or finest.translation is None:
            found.append(0.0)
            continue
        step = 1.0 if finest.scale is None else finest.scale[at]
        value = finest.translation[at] / step if step else 0.0
        found.append(float(round(value)) if abs(value - round(value)) < 1e-6 else value)
    return found[0], found[1], found[2]


def is_image(attributes: Mapping[str, Any]) -> bool:
    """Tell whether the attributes of a zarr group are those of an OME-Zarr image."""
    return "multiscales" in ome_part(attributes)


def ome_part(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the OME metadata: version 0.5 keeps them under ``ome``, 0.4 beside the others."""
    found = attributes.get("ome", attributes)
    return found if isinstance(found, Mapping) else {}


def image_document(attributes: Mapping[str, Any]) -> tuple[dict[str, Any], str] | None:
    """Return the first image of a group as it is written, and the version of the format.

    None if the group holds no image whose levels have paths.
    """
    ome = ome_part(attributes)
    try:
        image = ome["multiscales"][0]
        [str(dataset["path"]) for dataset in image["datasets"]]
        return dict(image), str(ome.get("version") or image.get("version") or "0.4")
    except (KeyError, IndexError, TypeError, AttributeError):
        return None


def parse(attributes: Mapping[str, Any], dimensions: int | None = None) -> Multiscale:
    """Return what the attributes of a zarr group say about its image.

    Parameters
    ----------
    attributes : mapping
        Of the group.
    dimensions : int, optional
        Of the arrays; needed only for versions before 0.3, which name no axes.

    Raises
    ------
    ValueError, KeyError, TypeError, IndexError, AttributeError
        If the metadata make no sense; written by other programs, they can be
        wrong in any way.
    """
    ome = ome_part(attributes)
    image = ome["multiscales"][0]
    version = str(ome.get("version") or image.get("version") or "0.4")
    axes = image.get("axes") or list("tczyx"[-(dimensions or 5) :])
    names, units = [], []
    for axis in axes:
        name = axis["name"] if isinstance(axis, dict) else str(axis)
        names.append(name.lower()[:1])
        units.append(axis.get("unit") if isinstance(axis, dict) else None)
    if len(set(names)) != len(names) or (dimensions or len(names)) != len(names):
        raise ValueError(f"{len(names)} axes are named for {dimensions} dimensions")
    datasets = []
    for level in image["datasets"]:
        scale = translation = None
        for found in (level, image):
            for transform in found.get("coordinateTransformations", []):
                if transform.get("type") == "scale":
                    before = scale or (1.0,) * len(names)
                    values = [float(value) for value in transform["scale"]]
                    scale = tuple(a * b for a, b in zip(before, values, strict=True))
                    if translation is not None:
                        translation = tuple(a * b for a, b in zip(translation, values, strict=True))
                if transform.get("type") == "translation":
                    moved = [float(value) for value in transform["translation"]]
                    start = translation or (0.0,) * len(names)
                    translation = tuple(a + b for a, b in zip(start, moved, strict=True))
        datasets.append(Dataset(str(level["path"]), scale, translation))
    if not datasets:
        raise ValueError("it has no levels")
    return Multiscale(version, "".join(names), tuple(units), tuple(datasets))
