"""Show several stores as one: what a volume was, and what it is, without a second copy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest, Store
from zarr.buffer import default_buffer_prototype
from zarr.storage import LocalStore

from sff_napari.stacks.chunk_files import check_link
from sff_napari.stacks.zarr_private import sync

MISSING = ".missing"
"""Ending of the empty file that says: there was no such key before."""


def content_of(store: Store) -> dict[str, bytes]:
    """Return everything in a small store by key."""

    async def collect() -> dict[str, bytes]:
        prototype = default_buffer_prototype()
        found = {}
        async for key in store.list():
            data = await store.get(key, prototype)
            if data is not None:
                found[key] = data.to_bytes()
        return found

    return sync(collect())


class FilesStore(LocalStore):
    """A local folder for reading, which need not exist yet."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, read_only=True)
        self._is_open = True

    async def _open(self, *, mode: str | None = None) -> None:
        self._is_open = True

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return the bytes of a key, or a part of them.

        Raises
        ------
        StackError
            If it is a link that leads nowhere: that is not the same as a
            chunk that was never written.
        """
        found = await super().get(key, prototype, byte_range)
        if found is None:
            check_link(self.root / key)
        return found


class ReadOnlyStore(Store):
    """What stores for reading share."""

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Return parts of several keys."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse: the store is read only."""
        self._check_writable()

    async def delete(self, key: str) -> None:
        """Refuse: the store is read only."""
        self._check_writable()


class LayeredStore(ReadOnlyStore):
    """The first of several stores that has a key, read only.

    Parameters
    ----------
    layers : sequence of Store
        The first one wins.
    marked : bool
        Whether an empty file ``KEY.missing`` in the first layer hides the key
        in all others.
    """

    def __init__(self, layers: Sequence[Store], *, marked: bool = False) -> None:
        super().__init__(read_only=True)
        self._layers = tuple(layers)
        self._marked = marked
        self._is_open = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LayeredStore) and other._layers == self._layers

    def __hash__(self) -> int:
        return hash(tuple(map(str, self._layers)))

    def __str__(self) -> str:
        return str(self._layers[-1])

    def close(self) -> None:
        """Close all layers."""
        for layer in self._layers:
            layer.close()
        super().close()

    def with_read_only(self, read_only: bool = False) -> LayeredStore:
        """Return the same store; it cannot be written to."""
        return self

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return the bytes of a key, or a part of them."""
        prototype = prototype or default_buffer_prototype()
        for number, layer in enumerate(self._layers):
            found = await layer.get(key, prototype, byte_range)
            if found is not None:
                return found
            if number == 0 and self._marked and await layer.exists(key + MISSING):
                return None
        return None

    async def exists(self, key: str) -> bool:
        """Tell whether any store has a key."""
        for number, layer in enumerate(self._layers):
            if await layer.exists(key):
                return True
            if number == 0 and self._marked and await layer.exists(key + MISSING):
                return False
        return False

    async def list(self) -> AsyncIterator[str]:
        """Yield every key once."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield every key that starts with `prefix`, once."""
        async for key in _once(layer.list_prefix(prefix) for layer in self._layers):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names directly below `prefix`, once."""
        async for key in _once(layer.list_dir(prefix) for layer in self._layers):
            yield key


async def _once(listings: Iterable[AsyncIterator[str]]) -> AsyncIterator[str]:
    """Yield what several listings name, each name once."""
    seen: set[str] = set()
    for listing in listings:
        async for key in listing:
            if key not in seen:
                seen.add(key)
                yield key
