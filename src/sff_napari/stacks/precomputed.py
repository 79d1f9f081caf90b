"""Read stacks in Neuroglancer's precomputed format, through tensorstore."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sff_napari.errors import StackError
from sff_napari.stacks.chunk_files import ChunkFiles
from sff_napari.stacks.stack import Stack
from sff_napari.stacks.tensorstores import Box, read_json, stack_of_box
from sff_napari.stacks.units import voxel_size
from sff_napari.stacks.uris import Place, below, shown

KIND = "Neuroglancer precomputed"


def info_of(place: Place) -> dict[str, Any] | None:
    """Return the ``info`` of a precomputed volume; None where there is none.

    Raises
    ------
    StackError
        If it cannot be read.
    """
    info = read_json(place, "info", KIND)
    if info is None or not isinstance(info.get("scales"), list):
        return None
    return info


def open_precomputed(
    place: Place, info: Mapping[str, Any], select: Mapping[str, int] | None = None
) -> Stack:
    """Return the stack at the finest scale of a precomputed volume.

    Parameters
    ----------
    place : Path or str
        Folder or checked address of the volume.
    info : mapping
        What `info_of` returned.
    select : mapping of str to int, optional
        ``{"c": 1}`` for the second channel.

    Raises
    ------
    StackError
        If it is damaged, no image, or refers to places outside of itself.
    """
    scales = info["scales"]
    if info.get("type") != "image":
        raise StackError(
            f"{shown(place)} is a precomputed volume of type {info.get('type')!r}: "
            "a stack has the type 'image'."
        )
    if not scales or not all(isinstance(scale, dict) for scale in scales):
        raise StackError(f"{shown(place)} is a damaged precomputed volume: it has no scales.")
    for scale in scales:
        below(place, str(scale.get("key", "")))
    openers = [_opener(place, scales, number, select or {}) for number in range(1, len(scales))]
    return _stack_of(place, scales, 0, select or {}, openers)


def _watch_files(box: Box, place: Path, scales: list[dict[str, Any]], number: int) -> None:
    """Have a box look at the files of its chunks."""
    scale = scales[number]

    def name(at: tuple[int, ...]) -> str:
        ends = []
        for axis in range(3):
            first = at[axis] * box.chunks[axis]
            last = min(first + box.chunks[axis], box.shape[axis])
            ends.append(f"{box.origin[axis] + first}-{box.origin[axis] + last}")
        return "_".join(ends)

    def open_in(tensorstore: Any, context: Any) -> tuple[Any, str]:
        store = tensorstore.KvStore.open({"driver": "memory"}, context=context).result()
        info = read_json(place, "info", KIND)
        store.write("info", json.dumps(info).encode()).result()
        spec = {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "memory"},
            "scale_index": number,
        }
        opened = tensorstore.open(spec, read=True, open=True, context=context).result()
        return opened, f"{scale['key']}/"

    folder = place / str(scale["key"])
    box.watch(ChunkFiles(folder, box.shape, box.chunks, name), open_in)


def _opener(
    place: Place, scales: list[dict[str, Any]], number: int, select: Mapping[str, int]
) -> Callable[[], Stack]:
    return lambda: _stack_of(place, scales, number, select, [])


def _stack_of(
    place: Place,
    scales: list[dict[str, Any]],
    number: int,
    select: Mapping[str, int],
    openers: list[Callable[[], Stack]],
) -> Stack:
    box = Box(place, "neuroglancer_precomputed", settings={"scale_index": number})
    scale = scales[number]
    if isinstance(place, Path) and "sharding" not in scale:
        _watch_files(box, place, scales, number)
    resolution = scale.get("resolution")
    known = isinstance(resolution, list) and len(resolution) == 3
    x, y, z = resolution if isinstance(resolution, list) and known else (None, None, None)
    details = {
        "encoding": scale.get("encoding"),
        "shards": None if box.shards is None else "x".join(map(str, reversed(box.shards[:3]))),
        "voxel offset (z, y, x)": list(reversed(box.origin[:3])),
        "levels": len(scales),
    }
    size = voxel_size((z, y, x), ("nm",) * 3)
    at_x, at_y, at_z = (float(first) for first in box.origin[:3])
    return stack_of_box(
        box, place, KIND, "xyzc", select, size, details, openers, (at_z, at_y, at_x)
    )
