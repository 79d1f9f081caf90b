"""Lay out what comes with a restored volume: synthesised pixels, displacement, confidence."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import zarr
from zarr.storage import MemoryStore

from sff_napari.stacks.layered_store import content_of
from sff_napari.volumes.plan.keys import joined
from sff_napari.volumes.restore.patches import SURE
from sff_napari.volumes.run.folder import RECORDS
from sff_napari.volumes.write.layout import Get, Layout, attributes_of, read_documents

BLOCK = 1024
"""Side of the chunks of these arrays, px."""
STEP = 1 / 128
"""Displacement is stored in multiples of this, px."""
LABEL = "synthesised"
LABEL_NOTE = (
    "1 where a pixel does not wholly come from the slice itself but was made from its neighbours, "
    "0 elsewhere."
)
DISPLACEMENT_NOTE = (
    "Axes (z, c, y, x); c is (dy, dx) in pixels of the finest level. The restored pixel at x was "
    "read from the damaged slice at x + displacement(x), rounded to 1/128 px. NaN where there is "
    "no source; 0, which is not stored, where nothing moved."
)

CONFIDENCE_NOTE = (
    "Axes (z, y, x); value / 255 is how sure the restored pixel is, rounded to 2 %. 255, which is "
    "not stored, where the folds changed nothing. Where tissue was unfolded, the chance that the "
    "displacement is within 1 px of the true one; where it was made up, the correlation that it "
    "should have with the true tissue."
)


@dataclass(frozen=True)
class DerivedArrays:
    """Where these arrays lie, and their metadata files.

    Parameters
    ----------
    labels : list of str
        Paths of the levels of the synthesised pixels, the finest first.
    displacement : str
        Path of the displacement.
    confidence : str
        Path of the confidence; empty without.
    documents : dict of str to bytes
        Metadata files by key, new ones and those of the source that change.
    """

    labels: list[str]
    displacement: str
    confidence: str
    documents: dict[str, bytes]


def lay_out_derived_arrays(
    layout: Layout, get: Get, zarr_format: int, *, confident: bool
) -> DerivedArrays:
    """Return the arrays that come with a volume.

    An OME-Zarr gets a label image; beside a plain array they lie in the folder
    of the record, where they disturb no reader.

    Parameters
    ----------
    layout : Layout
        Of the volume.
    get : callable
        Returns what the volume stores under a key.
    zarr_format : {2, 3}
        Of the new arrays.
    confident : bool
        Whether the methods can tell how sure they are.
    """
    ome = layout.image is not None
    home = layout.group if ome else RECORDS
    label_home = joined(home, "labels")
    label = joined(label_home, LABEL)
    displacement = joined(home, "displacement")
    confidence = joined(home, "confidence") if confident else ""
    store = MemoryStore()
    if ome:
        zarr.create_group(
            store,
            path=label,
            zarr_format=zarr_format,  # type: ignore[arg-type]
            attributes=_label_attributes(layout, zarr_format),
        )
    paths = []
    for number, level in enumerate(layout.levels):
        shape = [1 if axis in level.axes.fixed else n for axis, n in enumerate(level.chunks.shape)]
        chunks = [
            min(BLOCK, n) if axis in (level.axes.rows, level.axes.columns) else 1
            for axis, n in enumerate(shape)
        ]
        paths.append(joined(label, str(number)))
        zarr.create_array(
            store,
            name=paths[-1],
            shape=tuple(shape),
            chunks=tuple(chunks),
            dtype="uint8",
            fill_value=0,
            zarr_format=zarr_format,  # type: ignore[arg-type]
            dimension_names=None if zarr_format == 2 else _names(layout),
            **(
                {"chunk_key_encoding": {"name": "v2", "separator": "/"}} if zarr_format == 2 else {}
            ),
        )
    depth, height, width = layout.finest.axes.shape
    zarr.create_array(
        store,
        name=displacement,
        shape=(depth, 2, height, width),
        chunks=(1, 2, min(BLOCK, height), min(BLOCK, width)),
        dtype="float32",
        fill_value=0,
        zarr_format=zarr_format,  # type: ignore[arg-type]
        dimension_names=None if zarr_format == 2 else ["z", "c", "y", "x"],
        attributes={"description": DISPLACEMENT_NOTE, "axes": ["z", "c", "y", "x"], "unit": "px"},
        **_separated(zarr_format),
    )
    if confident:
        zarr.create_array(
            store,
            name=confidence,
            shape=(depth, height, width),
            chunks=(1, min(BLOCK, height), min(BLOCK, width)),
            dtype="uint8",
            fill_value=SURE,
            zarr_format=zarr_format,  # type: ignore[arg-type]
            dimension_names=None if zarr_format == 2 else ["z", "y", "x"],
            attributes={"description": CONFIDENCE_NOTE, "axes": ["z", "y", "x"], "scale": 1 / SURE},
            **_separated(zarr_format),
        )
    documents = content_of(store)
    # Groups above these arrays exist already; beside a plain array there are none.
    keep = tuple(f"{path}/" for path in (label, displacement, confidence) if path)
    documents = {key: data for key, data in documents.items() if key.startswith(keep)}
    if ome:
        documents |= _listed(get, label_home, zarr_format)
        documents |= _consolidated(get, layout.group, documents)
    return DerivedArrays(paths, displacement, confidence, documents)


def _separated(zarr_format: int) -> dict[str, Any]:
    """Return how chunks are named: in folders, as OME-Zarr wants it."""
    if zarr_format == 3:
        return {}
    return {"chunk_key_encoding": {"name": "v2", "separator": "/"}}


def _names(layout: Layout) -> list[str]:
    return list(_axis_names(layout)) or [""] * len(layout.finest.chunks.shape)


def _axis_names(layout: Layout) -> list[str]:
    count = len(layout.finest.chunks.shape)
    named = ["t", "c", "z", "y", "x"][-count:]
    axes = (layout.image or {}).get("axes")
    if isinstance(axes, list) and len(axes) == count:
        return [str(one["name"] if isinstance(one, Mapping) else one) for one in axes]
    return named


def _label_attributes(layout: Layout, zarr_format: int) -> dict[str, Any]:
    image = copy.deepcopy(dict(layout.image or {}))
    datasets = image.get("datasets", [])[: len(layout.levels)]
    for number, dataset in enumerate(datasets):
        dataset["path"] = str(number)
    image = {k: v for k, v in image.items() if k in ("axes", "coordinateTransformations")}
    image |= {"name": LABEL, "datasets": datasets, "type": "maximum"}
    label: dict[str, Any] = {
        "colors": [{"label-value": 1, "rgba": [255, 64, 64, 128]}],
        "properties": [{"label-value": 1, "description": LABEL_NOTE}],
        "source": {"image": "../../"},
    }
    if zarr_format == 3:
        return {"ome": {"version": layout.ome, "multiscales": [image], "image-label": label}}
    version = layout.ome or "0.4"
    return {
        "multiscales": [{"version": version, **image}],
        "image-label": {"version": version, **label},
    }


def _listed(get: Get, home: str, zarr_format: int) -> dict[str, bytes]:
    """Return the metadata of the group of labels, with ours among them."""
    documents = read_documents(get, home)
    attributes = attributes_of(documents)
    ome = attributes.get("ome") if zarr_format == 3 else attributes
    ome = dict(ome) if isinstance(ome, Mapping) else {}
    labels = [one for one in ome.get("labels", []) if one != LABEL]
    ome["labels"] = [*labels, LABEL]
    if zarr_format == 2:
        return {
            joined(home, ".zgroup"): documents.get(".zgroup", _json({"zarr_format": 2})),
            joined(home, ".zattrs"): _json(ome),
        }
    group = json.loads(documents.get("zarr.json", b"{}"))
    group |= {"zarr_format": 3, "node_type": "group"}
    group["attributes"] = {**attributes, "ome": {"version": "0.5", **ome}}
    return {joined(home, "zarr.json"): _json(group)}


def _consolidated(get: Get, group: str, documents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return consolidated metadata of the source with the new nodes among them."""
    changed: dict[str, bytes] = {}
    for home in {"", group}:
        below = {
            key[len(home) :].lstrip("/"): json.loads(data)
            for key, data in documents.items()
            if key.startswith(home)
        }
        old = get(joined(home, ".zmetadata"))
        if old is not None:
            document = json.loads(old)
            document["metadata"] = {**document.get("metadata", {}), **below}
            changed[joined(home, ".zmetadata")] = _json(document)
        new = get(joined(home, "zarr.json"))
        document = json.loads(new) if new is not None else {}
        inside = document.get("consolidated_metadata")
        if isinstance(inside, dict) and isinstance(inside.get("metadata"), dict):
            nodes = {key.removesuffix("/zarr.json"): value for key, value in below.items()}
            inside["metadata"] = {**inside["metadata"], **nodes}
            changed[joined(home, "zarr.json")] = _json(document)
    return changed


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
