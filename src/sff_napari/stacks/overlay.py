"""Open overlays: restored volumes that hold only what changed, and name the volume below."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import zarr
from zarr.abc.store import Store
from zarr.storage import FsspecStore

from sff_napari.errors import StackError
from sff_napari.stacks import zarrs
from sff_napari.stacks.fingerprint import changed_slices
from sff_napari.stacks.layered_store import FilesStore, LayeredStore
from sff_napari.stacks.open_source import open_source
from sff_napari.stacks.stack import Stack
from sff_napari.stacks.uris import checked_address, is_address, shown, store_options

MANIFEST = "sff_napari/plan.json"
VARIABLE = "SFF_NAPARI_SOURCE"
"""Environment variable in which a user names the volume below an overlay."""
_MAX_BYTES = 16 * 2**20
_LOOKED_AT = 32
"""Slices of the volume below that are compared with what an overlay was made for."""
_DEEPEST = 8
"""Overlays of overlays that are followed."""


def read_manifest(place: Path) -> dict[str, Any] | None:
    """Return the manifest of an overlay; None if a folder is none.

    Raises
    ------
    StackError
        If it is damaged.
    """
    path = place / MANIFEST
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise StackError(f"{path} is too large for a manifest: it is damaged.")
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["overlay"] is not True:
            return None
        if not isinstance(manifest["overlay_of"], str) or not isinstance(manifest["group"], str):
            raise TypeError
        if not manifest.get("zarr", True):
            {str(axis): int(at) for axis, at in manifest["source"]["select"].items()}
            if not all(path.isalnum() for path in manifest["arrays"]):
                raise ValueError
    except (FileNotFoundError, NotADirectoryError):
        return None
    except StackError:
        raise
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise StackError(f"{path} is damaged: it cannot be used.") from error
    return dict(manifest)


def name_below(out: Path, source: str) -> str:
    """Return how the manifest of an overlay at `out` names its source.

    Relative where the source lies beside it or below a folder beside it, so
    that both can be moved together.
    """
    if is_address(source):
        return source
    try:
        return Path(source).resolve().relative_to(out.resolve().parent).as_posix()
    except ValueError:
        return str(Path(source).resolve())


def asked_source() -> str | None:
    """Return the volume below overlays that the user names in the environment, if any."""
    return os.environ.get(VARIABLE) or None


def below_overlay(place: Path, manifest: Mapping[str, Any], source: str | None = None) -> str:
    """Return where the volume below an overlay lies.

    Parameters
    ----------
    place : Path
        Of the overlay.
    manifest : mapping
        What `read_manifest` returns.
    source : str, optional
        Where the user says that it lies; else the manifest counts if it names
        a folder beside the overlay.

    Raises
    ------
    StackError
        If the manifest leads elsewhere and the user did not name the place.
    """
    if source:
        return source
    named = manifest["overlay_of"]
    parts = PurePosixPath(named.replace("\\", "/")).parts
    beside = not (is_address(named) or ":" in named or named.startswith(("/", "\\", "~")))
    if not beside or not parts or ".." in parts:
        raise StackError(
            f"{place} holds only changes to {shown(named)[:200]!r}, which lies elsewhere: "
            f"name it with --source or in the environment variable {VARIABLE}."
        )
    return str(place.resolve().parent.joinpath(*parts))


def store_at(place: str, source: str | None = None, depth: int = 0) -> Store:
    """Return a store for reading a zarr; an overlay together with what lies below.

    Parameters
    ----------
    place : str
        Folder or address of the zarr.
    source : str, optional
        Where the volume below an overlay lies; else as the environment variable
        ``SFF_NAPARI_SOURCE`` says, else as the manifest says.
    depth : int
        How many overlays were followed already.

    Raises
    ------
    StackError
        If the volume below cannot be used.
    """
    if is_address(place):
        address = checked_address(place)
        return FsspecStore.from_url(address, storage_options=store_options(address), read_only=True)
    folder = Path(place).expanduser()
    manifest = read_manifest(folder)
    if manifest is None:
        return FilesStore(folder)
    if depth >= _DEEPEST:
        raise StackError(f"{place} is an overlay of overlays that has no end.")
    below = below_overlay(folder, manifest, source or (None if depth else asked_source()))
    return LayeredStore([FilesStore(folder), store_below(folder, manifest, below, depth + 1)])


def store_below(place: Path, manifest: Mapping[str, Any], below: str, depth: int = 1) -> Store:
    """Return a store for reading what lies below an overlay, of whatever kind it is.

    Parameters
    ----------
    place : Path
        Of the overlay.
    manifest : mapping
        What `read_manifest` returns.
    below : str
        Where the volume below lies; see `below_overlay`.
    depth : int
        How many overlays were followed already.

    Raises
    ------
    StackError
        If there is nothing, or another volume.
    """
    if not is_address(below) and not Path(below).expanduser().exists():
        raise StackError(
            f"{place} holds only changes to {below}, but there is nothing: "
            f"name the volume with --source or in the environment variable {VARIABLE}."
        )
    if manifest.get("zarr", True):
        return store_at(below, None, depth)
    from sff_napari.stacks.stack_store import StackStore

    if not is_address(below) and zarrs.is_zarr(Path(below).expanduser()):
        raise StackError(
            f"{place} holds only changes to a stack that is no zarr, but {below} is one: "
            "name the right one with --source."
        )
    try:
        arrays = {path: (place / path / "zarr.json").read_bytes() for path in manifest["arrays"]}
    except OSError as error:
        raise StackError(f"{place} is a damaged overlay: metadata is missing.") from error
    stack = open_source(below, dict(manifest["source"]["select"]))
    try:
        return StackStore(stack, arrays, str(place))
    except StackError:
        stack.close()
        raise


def stack_below(
    place: Path,
    manifest: Mapping[str, Any],
    source: str | None = None,
    select: Mapping[str, int] | None = None,
) -> Stack:
    """Return the volume below an overlay as a stack.

    Parameters
    ----------
    place : Path
        Of the overlay.
    manifest : mapping
        What `read_manifest` returns.
    source : str, optional
        Where the user says that it lies.
    select : mapping of str to int, optional
        Index on further axes; as in the manifest where not given.

    Raises
    ------
    StackError
        If it cannot be used.
    """
    below = below_overlay(place, manifest, source or asked_source())
    chosen = dict(manifest["source"].get("select") or {}) if select is None else select
    folder = None if is_address(below) else Path(below).expanduser()
    if folder is None or not folder.is_dir() or read_manifest(folder) is None:
        return open_source(below, chosen)
    # What the user says in the environment is of the upper overlay alone.
    store = store_at(below, None, 1)
    inner = read_manifest(folder) or {}
    stack = zarrs.open_zarr(folder, chosen, zarr.open(store, path=inner["group"], mode="r"))
    stack.on_close(store.close)
    return stack


def _check_below(
    place: Path,
    manifest: Mapping[str, Any],
    source: str | None,
    select: Mapping[str, int] | None,
) -> None:
    """Raise if the volume below an overlay no longer holds what it was made for."""
    stored = manifest["source"].get("fingerprint") if _has_source(manifest) else None
    made_for = dict(manifest["source"].get("select") or {}) if _has_source(manifest) else {}
    if stored is None or dict(select or {}) != made_for:
        return
    with stack_below(place, manifest, source, select) as stack:
        changed = changed_slices(stack, stored, most=_LOOKED_AT)
        if changed:
            raise StackError(
                f"{place} holds only changes to {stack.name}, whose pixels have changed since "
                f"(slice {changed[0]}): restore it anew with --overwrite, or name the volume as "
                f"it was with --source or in the environment variable {VARIABLE}."
            )


def _has_source(manifest: Mapping[str, Any]) -> bool:
    return isinstance(manifest.get("source"), dict)


def open_overlay(
    place: Path, select: Mapping[str, int] | None = None, source: str | None = None
) -> Stack | None:
    """Return the stack that an overlay and the volume below make; None if it is no overlay.

    Parameters
    ----------
    place : Path
        Folder of the overlay.
    select : mapping of str to int, optional
        Index on further axes.
    source : str, optional
        Where the volume below lies.

    Raises
    ------
    StackError
        If the overlay is damaged or the volume below cannot be used.
    """
    manifest = read_manifest(place)
    if manifest is None:
        return None
    try:
        store = store_at(str(place), source)
        node = zarr.open(store, path=manifest["group"], mode="r")
    except StackError:
        raise
    except Exception as error:  # damaged metadata makes the parser raise anything
        raise StackError(f"{place} is a damaged zarr: its metadata cannot be read.") from error
    try:
        _check_below(place, manifest, source, select)
        stack = zarrs.open_zarr(place, select, node)
    except StackError:
        store.close()
        raise
    stack.on_close(store.close)
    stack.details["overlay of"] = shown(below_overlay(place, manifest, source or asked_source()))
    return stack
