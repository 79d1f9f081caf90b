"""List the chunks to write: those that patches touch, or that an earlier run changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sff_napari.volumes.plan.keys import digest
from sff_napari.volumes.restore.block import load_record
from sff_napari.volumes.run.restored_volume import RestoredVolume
from sff_napari.volumes.run.task import WriteDerivedBlock
from sff_napari.volumes.write.chunk_grid import ChunkIndex
from sff_napari.volumes.write.downsample import above

Patches = Mapping[int, list[str]]
"""Keys of the patches of each slice."""
Old = Mapping[int, Mapping[str, Any]]
"""Records of earlier runs by slice."""
DerivedPlace = tuple[int, int, int]
"""A slice, and row and column of a chunk of its displacement."""


def affected_places(
    volume: RestoredVolume, todo: Iterable[int], patches: Patches, old: Old
) -> dict[ChunkIndex, dict[int, list[str]]]:
    """Return the chunks of the finest level to write, each with its patches by slice.

    Parameters
    ----------
    volume : RestoredVolume
        The volume.
    todo : iterable of int
        The slices of this run.
    patches : mapping of int to list of str
        Keys of the patches of those that worked.
    old : mapping of int to mapping
        Records of earlier runs.
    """
    level = volume.layout.finest
    chunks: dict[ChunkIndex, dict[int, list[str]]] = {}

    def touched(z: int, extent: Any) -> list[ChunkIndex]:
        (top, bottom), (left, right) = extent
        return level.touching(z, slice(top, bottom), slice(left, right))

    for z in todo:
        for extent in _earlier(old, z, "extents"):
            for place in touched(z, extent):
                chunks.setdefault(place, {})
    for z, keys in patches.items():
        for key in keys:
            extent = load_record(volume, key)["extent"]
            for place in [] if extent is None else touched(z, extent):
                chunks.setdefault(place, {}).setdefault(z, []).append(key)
    return chunks


def derived_blocks(
    volume: RestoredVolume, todo: Iterable[int], patches: Patches, old: Old
) -> dict[DerivedPlace, list[str]]:
    """Return the blocks of masks and displacement to write; parameters as in `affected_places`."""
    size = volume.displacement.size[2:]
    blocks: dict[DerivedPlace, list[str]] = {}

    def add(z: int, extent: Any, key: str | None) -> None:
        (top, bottom), (left, right) = extent
        for i in range(top // size[0], -(-bottom // size[0])):
            for j in range(left // size[1], -(-right // size[1])):
                keys = blocks.setdefault((z, i, j), [])
                if key is not None:
                    keys.append(key)

    for z in todo:
        for extent in _earlier(old, z, "side_extents"):
            add(z, extent, None)
        for key in patches.get(z, ()):
            add(z, load_record(volume, key)["side_extent"], key)
    return blocks


def derived_tasks(
    volume: RestoredVolume, todo: Iterable[int], patches: Patches, old: Old
) -> list[WriteDerivedBlock]:
    """Return the tasks that write masks and displacement; parameters as in `affected_places`."""
    return [
        WriteDerivedBlock(
            digest([volume.plan["key"], "sides", z, i, j, sorted(keys)]),
            z,
            (i, j),
            tuple(sorted(keys)),
        )
        for (z, i, j), keys in derived_blocks(volume, todo, patches, old).items()
    ]


def label_places(volume: RestoredVolume, blocks: Iterable[DerivedPlace]) -> set[ChunkIndex]:
    """Return the chunks of the finest level of synthesised pixels that blocks stand for."""
    first = volume.labels[0]
    places: set[ChunkIndex] = set()
    for z, i, j in blocks:
        place = [0] * len(first.chunks.shape)
        if first.axes.slices is not None:
            place[first.axes.slices] = z
        place[first.axes.rows], place[first.axes.columns] = i, j
        places.add(tuple(place))
    return places


def derived_keys(volume: RestoredVolume, blocks: Iterable[DerivedPlace]) -> set[str]:
    """Return the keys under which blocks of masks, displacement and confidence are stored.

    A source that was restored itself may have chunks there: they are not copied.
    """
    blocks = list(blocks)
    keys = {volume.displacement.key((z, 0, i, j)) for z, i, j in blocks}
    if volume.confidence is not None:
        keys |= {volume.confidence.key(block) for block in blocks}
    places = label_places(volume, blocks)
    for number, level in enumerate(volume.labels):
        if number:
            places = above(level, volume.labels[number - 1], places)
        keys |= {level.chunks.key(place) for place in places}
    return keys


def _earlier(old: Old, z: int, name: str) -> list[Any]:
    return list(old[z].get(name, [])) if z in old else []
