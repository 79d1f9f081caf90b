"""List what can be named in a container, for people who named the container."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import zarr

from sff_napari.stacks import multiscale
from sff_napari.stacks.uris import Place, below, shown

_DEEPEST = 6
_MOST = 6
"""Names that are listed at most."""
_LOOKED_AT = 2_000
"""Folders that are looked at, at most: plates and projects have many."""


def listed(place: Place, names: Sequence[str]) -> str:
    """Return what can be named inside a container, in words; empty if nothing is known."""
    if not names:
        return ""
    found = ", ".join(shown(below(place, name)) for name in names[:_MOST])
    return f"{found}{', ...' if len(names) > _MOST else ''}"


def images_in(group: zarr.Group) -> list[str]:
    """Return the paths of images and arrays in a zarr group, images before plain arrays."""
    images: list[str] = []
    arrays: list[str] = []
    queue: list[tuple[str, zarr.Group, int]] = [("", group, 0)]
    looked = 0
    while queue and looked < _LOOKED_AT and len(images) <= _MOST:
        path, node, depth = queue.pop(0)
        try:
            members = sorted(node.members(), key=lambda pair: pair[0])
        except Exception:  # web servers cannot list a folder
            continue
        for name, member in members:
            looked += 1
            inside = f"{path}/{name}" if path else name
            if isinstance(member, zarr.Array):
                if 2 <= member.ndim <= 5:
                    arrays.append(inside)
            elif multiscale.is_image(dict(member.attrs)):
                images.append(inside)
            elif depth < _DEEPEST:
                queue.append((inside, member, depth + 1))
    return images or arrays


def folders_with(root: Path, is_one: Callable[[Path], bool]) -> list[str]:
    """Return the paths of folders below `root` for which `is_one` holds, not those inside them."""
    found: list[str] = []
    queue: list[tuple[Path, int]] = [(root, 0)]
    looked = 0
    while queue and looked < _LOOKED_AT and len(found) <= _MOST:
        folder, depth = queue.pop(0)
        try:
            inside = sorted(path for path in folder.iterdir() if path.is_dir())
        except OSError:
            continue
        for path in inside:
            looked += 1
            if is_one(path):
                found.append(path.relative_to(root).as_posix())
            elif depth < _DEEPEST:
                queue.append((path, depth + 1))
    return found
