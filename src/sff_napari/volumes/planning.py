"""What a run will do: settings, slices, their neighbours and pieces, and keys for all results."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import zarr
from zarr.core.sync import sync
from zarr.storage import MemoryStore

import sff_napari
from sff_napari.errors import InputError, StackError
from sff_napari.folds import Fold
from sff_napari.networks import weights as network_weights
from sff_napari.restoration import DEFAULT_COVER
from sff_napari.sessions import choose_neighbours
from sff_napari.stacks import Stack, stack_identity
from sff_napari.stacks.ome import OmeWriter
from sff_napari.stacks.overlay import name_below, store_at
from sff_napari.stacks.places import is_address
from sff_napari.volumes.files import ORIGINALS, Folder
from sff_napari.volumes.job import FORMAT, PLAN, VERSION, Origin
from sff_napari.volumes.keys import digest, joined
from sff_napari.volumes.layout import Layout, find_arrays, read_documents
from sff_napari.volumes.pieces import DEFAULT_TILE, cut
from sff_napari.volumes.pyramid import recognise
from sff_napari.volumes.records import to_json
from sff_napari.volumes.sides import lay_out_sides
from sff_napari.volumes.tasks import Task
from sff_napari.volumes.views import raw


@dataclass(frozen=True)
class Settings:
    """How slices are restored.

    Parameters
    ----------
    interpolation, unfolding, fusion : str
        Methods, as `sff_napari.restore` takes them.
    cover : float
        Pixels by which the dark line is widened.
    tile : int
        Side up to which a slice is restored in one piece, px.
    weights : Path, optional
        Weights of the networks.
    device : str
        Where to compute; does not count as a difference between two runs.
    """

    interpolation: str = "motion"
    unfolding: str = "law"
    fusion: str = "seamless"
    cover: float = DEFAULT_COVER
    tile: int = DEFAULT_TILE
    weights: Path | None = None
    device: str = "auto"

    def to_dict(self) -> dict[str, Any]:
        """Return what results depend on, plain JSON types."""
        return {
            "interpolation": self.interpolation,
            "unfolding": self.unfolding,
            "fusion": self.fusion,
            "cover": self.cover,
            "tile": self.tile,
        }

    def digests(self) -> dict[str, str]:
        """Return the hash of the weights of each stage that a network does.

        Raises
        ------
        WeightsError
            If they cannot be used.
        """
        return {
            stage: network_weights.digest(cast(Any, stage), self.weights)
            for stage, choice in self.to_dict().items()
            if isinstance(choice, str) and choice.startswith("network")
        }


@dataclass(frozen=True)
class SlicePlan:
    """What is done to one slice.

    Parameters
    ----------
    z : int
        The slice.
    folds : mapping of str to Fold
        By name, e.g. ``z12-0``; empty if the slice is to be as it was.
    previous, following : int or None
        The slices it is restored from.
    note : str
        One sentence if they are not its neighbours.
    key : str
        Hash of all that determines the result.
    """

    z: int
    folds: Mapping[str, Fold]
    previous: int | None
    following: int | None
    note: str
    key: str

    def tasks(self, shape: tuple[int, int], settings: Settings) -> list[Task]:
        """Return the tasks that restore the slice, one for each piece.

        Parameters
        ----------
        shape : (Y, X)
            Of the slice.
        settings : Settings
            How it is restored.
        """
        weights = settings.weights
        return [
            Task(
                "restore",
                {
                    "key": f"z{self.z:06d}-p{piece.number:05d}-{self.key[:16]}",
                    "z": self.z,
                    "piece": piece.to_dict(),
                    "folds": [fold.to_dict() for fold in folds],
                    "previous": self.previous,
                    "following": self.following,
                    "device": settings.device,
                    "weights": None if weights is None else str(weights.resolve()),
                },
            )
            for piece, folds in cut(shape, settings.tile, list(self.folds.values()))
        ]


def plan_slices(
    base: str,
    folds: Mapping[int, Sequence[Fold]],
    wanted: Collection[int],
    count: int,
    missing: Collection[int] = (),
) -> tuple[list[SlicePlan], dict[int, str]]:
    """Return what is done to each wanted slice, and why it cannot be done to others.

    Parameters
    ----------
    base : str
        Key of the volume's plan.
    folds : mapping of int to sequence of Fold
        The folds of all damaged slices.
    wanted : collection of int
        The slices to restore.
    count : int
        Number of slices of the volume.
    missing : collection of int
        Slices that hold no image.
    """
    plans, failed = [], {}
    damaged = {(z,) for z in (*folds, *missing)}
    for z in sorted(wanted):
        around = choose_neighbours((z,), 0, count, damaged)
        if around.previous is None and around.following is None:
            failed[z] = (
                f"Slice {z} has no undamaged slice near it to be restored from: "
                "remove folds that are not real from the folds file."
            )
            continue
        previous = None if around.previous is None else around.previous[0]
        following = None if around.following is None else around.following[0]
        named = {f"z{z}-{number}": fold for number, fold in enumerate(folds[z])}
        plans.append(plan_slice(base, z, named, previous, following, around.note))
    return plans, failed


def plan_slice(
    base: str,
    z: int,
    folds: Mapping[str, Fold],
    previous: int | None,
    following: int | None,
    note: str = "",
) -> SlicePlan:
    """Return what is done to one slice; parameters as in `SlicePlan`."""
    key = digest(
        [base, z, [fold.to_dict() for fold in folds.values()], list(folds), previous, following]
    )
    return SlicePlan(z, folds, previous, following, note, key)


@dataclass(frozen=True)
class VolumePlan:
    """What a result is made from, and how.

    Parameters
    ----------
    plan : dict
        The content of ``plan.json``.
    documents : dict of str to bytes
        Metadata files of the result that are not copied.
    origin : Origin
        Where the pixels come from.
    """

    plan: dict[str, Any]
    documents: dict[str, bytes]
    origin: Origin
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
    settings: Settings,
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
    InputError
        If an overlay is asked for and the stack is no zarr.
    WeightsError
        If a network was chosen and its weights cannot be used.
    """
    if not is_address(place):
        place = str(Path(place).expanduser().resolve())
    is_zarr = stack.kind.startswith(("zarr", "OME-Zarr"))
    if is_zarr and is_address(place):
        place = stack.location or place
    origin = Origin("zarr" if is_zarr else "stack", place, tuple(sorted(select.items())))
    if overlay and not is_zarr:
        raise InputError(
            f"{stack.name} is {stack.kind}: --overlay needs a zarr; leave it out to write a copy."
        )
    notes: list[str] = []
    layout, documents, reduction = (
        _of_zarr(place, stack, select, notes) if is_zarr else _of_stack(stack)
    )
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
        "arrays": [level.cells.path for level in layout.levels],
        "labels": [],
        "displacement": "",
        "reduction": reduction,
        "parameters": settings.to_dict(),
        "weights_sha256": settings.digests(),
    }

    def get(key: str) -> bytes | None:
        return documents.get(key) if not is_zarr else raw(store, key)

    store = store_at(place) if is_zarr else MemoryStore()
    zarr_format = layout.finest.cells.array.metadata.zarr_format
    sides = lay_out_sides(layout, get, zarr_format)
    plan["labels"], plan["displacement"] = sides.labels, sides.displacement
    plan["key"] = digest(
        {k: plan[k] for k in plan if k not in ("labels", "displacement", "reduction")}
    )
    # How the result names its source does not make it another one.
    named = name_below(out, place)
    plan["source"]["place"] = named
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

    paths = find_arrays(get, names)
    layout = Layout.read(get, stack.axes, select, paths)
    documents: dict[str, bytes] = {}
    for path in _homes([layout.group, *paths[1]]):
        for name, data in read_documents(get, path).items():
            documents[joined(path, name)] = data
    way: str | None = None
    if len(layout.levels) > 1:
        fine, coarse = (
            zarr.open_array(store, path=level.cells.path, mode="r") for level in layout.levels[:2]
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
    if len(layout.levels) < len(paths[1]):
        notes.append(
            f"Only {len(layout.levels)} of {len(paths[1])} levels are whole multiples of the next "
            "finer one: the others stay as they were."
        )
    return layout, documents, way or "mean"


def _of_stack(stack: Stack) -> tuple[Layout, dict[str, bytes], str]:
    from sff_napari.volumes.sides import _dump

    store = MemoryStore()
    OmeWriter(cast(Any, store), stack.shape, stack.dtype, stack.voxel_size, stack.name)
    documents = _dump(store)
    layout = Layout.read(documents.get, "zyx", {}, find_arrays(documents.get, lambda _: []))
    return layout, documents, "mean"


def _homes(paths: Iterable[str]) -> list[str]:
    """Return paths and all groups above them."""
    found = {""}
    for path in paths:
        parts = [part for part in path.split("/") if part]
        found |= {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return sorted(found)
