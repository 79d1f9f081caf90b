"""Plan a run: settings, slices, their neighbours and blocks, and keys for all results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import zarr
from zarr.abc.store import Store
from zarr.storage import MemoryStore

import sff_napari
from sff_napari.errors import StackError
from sff_napari.stacks import Stack, stack_identity
from sff_napari.stacks.fingerprint import fingerprint
from sff_napari.stacks.layered_store import content_of
from sff_napari.stacks.ome import OmeWriter
from sff_napari.stacks.overlay import name_below, store_at
from sff_napari.stacks.stack_store import StackStore, zarr_over
from sff_napari.stacks.uris import is_address
from sff_napari.stacks.zarr_private import sync
from sff_napari.volumes.plan.keys import digest, joined
from sff_napari.volumes.plan.settings import VolumeSettings
from sff_napari.volumes.run.folder import ORIGINALS, Folder
from sff_napari.volumes.run.restored_volume import FORMAT, PLAN, VERSION, PixelSource
from sff_napari.volumes.verify.records import to_json
from sff_napari.volumes.write.chunk_grid import ChunkGrid
from sff_napari.volumes.write.derived_arrays import lay_out_derived_arrays
from sff_napari.volumes.write.downsample import recognise
from sff_napari.volumes.write.layout import Layout, find_arrays, read_documents
from sff_napari.volumes.write.raw_bytes import raw


@dataclass(frozen=True)
class VolumePlan:
    """What a result is made from, and how.

    Parameters
    ----------
    plan : dict
        The content of ``plan.json``.
    documents : dict of str to bytes
        Metadata files of the result that are not copied.
    origin : PixelSource
        Where the pixels come from.
    """

    plan: dict[str, Any]
    documents: dict[str, bytes]
    origin: PixelSource
    notes: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Hash of the source and the settings."""
        return str(self.plan["key"])

    def write(self, root: Path) -> None:
        """Lay out an empty result: its metadata files, and last the plan.

        Raises
        ------
        StackError
            If it cannot be written.
        """
        folder = Folder(root)
        root.mkdir(parents=True, exist_ok=True)
        (root / ORIGINALS).mkdir(parents=True, exist_ok=True)
        for key, data in self.documents.items():
            folder.put(key, data)
        folder.put(PLAN, to_json(self.plan))


def plan_volume(
    place: str,
    stack: Stack,
    out: Path,
    settings: VolumeSettings,
    *,
    overlay: bool,
    select: Mapping[str, int],
) -> VolumePlan:
    """Return the plan of a result.

    Parameters
    ----------
    place : str
        Where the stack lies, as the user named it.
    stack : Stack
        The stack.
    out : Path
        The result.
    settings : Settings
        How its slices are restored.
    overlay : bool
        Whether only what changes is stored.
    select : mapping of str to int
        Index on further axes.

    Raises
    ------
    StackError
        If the stack cannot be used.
    WeightsError
        If a network was chosen and its weights cannot be used.
    """
    if not is_address(place):
        place = str(Path(place).expanduser().resolve())
    is_zarr = stack.kind.startswith(("zarr", "OME-Zarr"))
    if is_zarr and is_address(place):
        place = stack.location or place
    origin = PixelSource("zarr" if is_zarr else "stack", place, tuple(sorted(select.items())))
    notes: list[str] = []
    if is_zarr:
        layout, documents, reduction = _of_zarr(place, stack, select, notes)
    elif overlay:
        layout, documents, reduction = _over_stack(stack, notes)
    else:
        layout, documents, reduction = _of_stack(stack)
    plan: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "program": f"sff-napari {sff_napari.__version__}",
        "zarr": is_zarr,
        "overlay": overlay,
        "source": {**origin.to_dict(), **stack_identity(stack), "kind_of_stack": stack.kind},
        "axes": stack.axes if is_zarr else "zyx",
        "select": dict(select) if is_zarr else {},
        "group": layout.group,
        "arrays": [level.chunks.path for level in layout.levels],
        "labels": [],
        "displacement": "",
        "confidence": "",
        "reduction": reduction,
        "parameters": settings.to_dict(),
        "weights_sha256": settings.digests(),
    }

    def get(key: str) -> bytes | None:
        return documents.get(key) if not is_zarr else raw(store, key)

    store = store_at(place) if is_zarr else MemoryStore()
    zarr_format = layout.finest.chunks.array.metadata.zarr_format
    sides = lay_out_derived_arrays(layout, get, zarr_format, confident=settings.unfolding == "law")
    plan["labels"], plan["displacement"] = sides.labels, sides.displacement
    plan["confidence"] = sides.confidence
    plan["key"] = digest(
        {k: plan[k] for k in plan if k not in ("labels", "displacement", "confidence", "reduction")}
    )
    # How the result names its source does not make it another one.
    named = name_below(out, place)
    plan["source"]["place"] = named
    # Nor what it holds: a change is told and not taken for another volume.
    plan["source"]["fingerprint"] = fingerprint(stack)
    if overlay:
        plan["overlay_of"] = named
    documents |= sides.documents
    plan["documents"] = sorted(sides.documents)
    return VolumePlan(plan, documents, origin, notes)


def _of_zarr(
    place: str, stack: Stack, select: Mapping[str, int], notes: list[str]
) -> tuple[Layout, dict[str, bytes], str]:
    store = store_at(place)

    def get(key: str) -> bytes | None:
        return raw(store, key)

    def names(path: str) -> list[str]:
        async def collect() -> list[str]:
            return [name async for name in store.list_dir(path)]

        try:
            return sorted(sync(collect()))
        except Exception as error:  # web servers cannot list a folder
            raise StackError(f"{place} cannot be listed: name the array inside it.") from error

    group, arrays = find_arrays(get, names)
    paths = (group, _stored(get, arrays, notes))
    layout = Layout.read(get, stack.axes, select, paths)
    documents: dict[str, bytes] = {}
    for path in _homes([layout.group, *paths[1]]):
        for name, data in read_documents(get, path).items():
            documents[joined(path, name)] = data
    return layout, documents, _reduction(store, layout, len(paths[1]), notes)


def _stored(get: Callable[[str], bytes | None], arrays: list[str], notes: list[str]) -> list[str]:
    """Return the levels that can be used; the others are noted, the finest must be there."""
    kept = arrays[:1]
    for path in arrays[1:]:
        try:
            ChunkGrid(path, read_documents(get, path))
        except StackError:
            notes.append(f"The level {path!r} is named in the metadata but cannot be read.")
        else:
            kept.append(path)
    return kept


def _reduction(store: Store, layout: Layout, count: int, notes: list[str]) -> str:
    """Return how the coarser levels of a volume were made; `count` is how many arrays it has."""
    way: str | None = None
    if len(layout.levels) > 1:
        fine, coarse = (
            zarr.open_array(store, path=level.chunks.path, mode="r") for level in layout.levels[:2]
        )
        try:
            way = recognise(fine, coarse, layout.levels[1])
        except Exception:  # a damaged chunk in the sample says nothing
            way = None
        if way is None:
            notes.append(
                "How the coarser levels were made was not recognised: "
                "changed parts of them become means."
            )
    if len(layout.levels) < count:
        notes.append(
            f"Only {len(layout.levels)} of {count} levels are whole multiples of the next "
            "finer one: the others stay as they were."
        )
    return way or "mean"


def _over_stack(stack: Stack, notes: list[str]) -> tuple[Layout, dict[str, bytes], str]:
    """Return what an overlay over a stack that is no zarr looks like."""
    documents = zarr_over(stack)
    paths = find_arrays(documents.get, lambda _: [])
    layout = Layout.read(documents.get, "zyx", {}, paths)
    if len(layout.levels) < len(paths[1]):
        notes.append(
            f"Only {len(layout.levels)} of {len(paths[1])} levels are whole multiples of the next "
            "finer one: the overlay leaves out the others."
        )
        documents = zarr_over(stack, len(layout.levels))
        paths = find_arrays(documents.get, lambda _: [])
    arrays = {path: documents[joined(path, "zarr.json")] for path in paths[1]}
    store = StackStore(stack, arrays, stack.name)
    return layout, documents, _reduction(store, layout, len(paths[1]), notes)


def _of_stack(stack: Stack) -> tuple[Layout, dict[str, bytes], str]:
    store = MemoryStore()
    about = (stack.voxel_size, stack.name, stack.offset)
    OmeWriter(cast(Any, store), stack.shape, stack.dtype, *about)
    documents = content_of(store)
    layout = Layout.read(documents.get, "zyx", {}, find_arrays(documents.get, lambda _: []))
    return layout, documents, "mean"


def _homes(paths: Iterable[str]) -> list[str]:
    """Return paths and all groups above them."""
    found = {""}
    for path in paths:
        parts = [part for part in path.split("/") if part]
        found |= {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return sorted(found)
