"""Take stored bytes out of stores as they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zarr.abc.store import Store
from zarr.buffer import default_buffer_prototype

from sff_napari.errors import StackError
from sff_napari.stacks.zarr_private import sync


def raw(store: Store, key: str) -> bytes | None:
    """Return the stored bytes of a key; None where there are none.

    Raises
    ------
    StackError
        If they cannot be read.
    """
    try:
        found = sync(store.get(key, default_buffer_prototype()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # file systems of all kinds raise what they like
        raise StackError(f"{key} cannot be read from {store} ({error}).") from error
    return None if found is None else found.to_bytes()


def keys_of(store: Store) -> Iterable[str]:
    """Return all keys of a store, as a list."""

    async def collect() -> list[Any]:
        return [key async for key in store.list()]

    return sync(collect())
