"""Tell how a zarr array is stored, and make sure that reading it cannot run foreign code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import zarr

from sff_napari.errors import StackError

_REFUSED = ("pickle", "dill", "joblib")
"""Parts of names of codecs that run code from the data they decode."""


def check_codecs(array: zarr.Array, name: str) -> None:
    """Check that no codec of an array runs code from the data.

    Parameters
    ----------
    array : zarr.Array
        Format 2 or 3.
    name : str
        What the error calls it.

    Raises
    ------
    StackError
        If one does: such data are not read, whoever made them.
    """
    for codec, _ in codecs_of(array):
        if any(word in codec.lower() for word in _REFUSED):
            raise StackError(
                f"{name} is stored with the codec {codec!r}, which can run code hidden in the "
                "data: it is not read."
            )


def codecs_of(array: zarr.Array) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield name and settings of each codec of an array, those inside of shards as well."""
    described = array.metadata.to_dict()
    if array.metadata.zarr_format == 2:
        found = [*(described.get("filters") or ()), described.get("compressor")]
    else:
        found = list(described.get("codecs") or ())
    for codec in found:
        yield from _flattened(codec)


def _flattened(codec: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if codec is None:
        return
    if not isinstance(codec, Mapping):
        codec = codec.get_config() if hasattr(codec, "get_config") else codec.to_dict()
    settings = codec.get("configuration") or {k: v for k, v in codec.items() if k != "id"}
    yield str(codec.get("name") or codec.get("id")), settings
    for inner in settings.get("codecs") or ():
        yield from _flattened(inner)


def storage_facts(array: zarr.Array) -> dict[str, Any]:
    """Return how an array is stored, for people: codecs, shards, fill value; plain JSON types."""
    facts: dict[str, Any] = {}
    if array.shards is not None:
        facts["shards"] = "x".join(map(str, array.shards))
    names = [_in_words(name, settings) for name, settings in codecs_of(array)]
    facts["codecs"] = ", ".join(name for name in names if name) or "none"
    fill = array.fill_value
    facts["fill value"] = None if fill is None else str(fill)
    return facts


def _in_words(name: str, settings: Mapping[str, Any]) -> str:
    if name == "sharding_indexed":
        return ""
    shown = [
        f"{key} {settings[key]}"
        for key in ("cname", "level", "clevel", "endian")
        if key in settings
    ]
    return f"{name} ({', '.join(shown)})" if shown else name
