"""Tell where stacks lie: paths on this machine, and addresses that the user names.

An address is only ever taken from the user.  What a file says about where
other data lie is read as a name below the file's own place, or refused.
"""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from sff_napari.errors import StackError

Place = Path | str
"""A path on this machine, or an address such as ``s3://bucket/volume.zarr``."""

_NEEDS = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
_HINTS = {
    "s3": " (for a public bucket set the environment variable FSSPEC_S3_ANON=true)",
    "gs": " (for a public bucket set the environment variable FSSPEC_GCS_TOKEN=anon)",
}
_HINTS["gcs"] = _HINTS["gs"]
CONNECT_SECONDS = 20.0
"""How long a web server may take to answer at all."""


def is_address(place: str | os.PathLike[str]) -> bool:
    """Tell whether a text names a place by its address, ``protocol://...``."""
    return re.match(r"^[A-Za-z][A-Za-z0-9+.-]*://", os.fspath(place)) is not None


def checked_address(address: str) -> str:
    """Return an address that can be read here, without a slash at its end.

    Parameters
    ----------
    address : str
        Of a folder, ``http(s)://``, ``s3://`` or ``gs://``.

    Raises
    ------
    StackError
        If its protocol is not known or the package for it is not installed.
    """
    parts = urlsplit(address)
    protocol = parts.scheme.lower()
    if protocol not in _NEEDS:
        raise StackError(
            f"{shown(address)} starts with {protocol}://, which is not known: "
            "use a path, http(s)://, s3:// or gs://."
        )
    if not parts.netloc:
        raise StackError(f"{shown(address)} names no host or bucket: check the address.")
    if parts.query or parts.fragment:
        raise StackError(
            f"{shown(address)} has a part after ? or #: name the folder that holds the volume."
        )
    needed = _NEEDS[protocol]
    if find_spec(needed) is None:
        raise StackError(
            f"Reading {shown(address)} needs {needed}: install it with "
            '`pip install "sff-napari[remote]"`.'
        )
    return address.rstrip("/")


def shown(place: Place) -> str:
    """Return a place as it may be printed: an address without a user name or password."""
    text = str(place)
    if not is_address(text):
        return text
    parts = urlsplit(text)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def name_of(place: Place) -> str:
    """Return the last part of a place without its ending, e.g. ``fafb`` of ``s3://b/fafb.zarr``."""
    return Path(shown(place).rstrip("/").rpartition("/")[2] or shown(place)).stem


def below(place: Place, name: str) -> Place:
    """Return the place of `name` in the folder at `place`.

    Parameters
    ----------
    place : Path or str
        Of a folder.
    name : str
        What a file in the folder calls another: a relative path that stays
        inside.

    Raises
    ------
    StackError
        If the name leaves the folder.
    """
    parts = str(name).replace("\\", "/").split("/")
    if is_address(str(name)) or ".." in parts or parts[0] == "" or ":" in parts[0]:
        raise StackError(
            f"{shown(place)} refers to {str(name)[:100]!r}, which lies outside of it: "
            "such references are not followed."
        )
    if isinstance(place, Path):
        return place.joinpath(*parts)
    return "/".join([place, *parts])


def store_options(address: str) -> dict[str, Any]:
    """Return the options with which fsspec opens an address."""
    if urlsplit(address).scheme.lower() not in ("http", "https"):
        return {}
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=120)
    return {"client_kwargs": {"timeout": timeout}}


def explain_remote(error: BaseException, address: str) -> StackError:
    """Return what went wrong while an address was read as one sentence.

    Parameters
    ----------
    error : exception
        What the client of the protocol raised.
    address : str
        What was read.
    """
    if isinstance(error, StackError):
        return error
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    chain: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in chain:
        chain.append(step)
        step = step.__cause__ or step.__context__
    words = " ".join(f"{type(part).__name__} {part}" for part in chain)
    if re.search(r"NoSuchBucket|bucket does not exist|bucket.*not found", words, re.IGNORECASE):
        return StackError(f"There is no bucket {host}: check the address {shown(address)}.")
    if re.search(r"NoCredentials|Unable to locate credentials|DefaultCredentials", words):
        return StackError(
            f"There are no credentials for {shown(address)}: set up those of its "
            f"provider{_HINTS.get(parts.scheme, '')}."
        )
    denied = r"PermissionError|Forbidden|AccessDenied|Unauthorized|PERMISSION_DENIED|\b40[13]\b"
    if re.search(denied, words):
        return StackError(
            f"Access to {shown(address)} is denied: check your credentials"
            f"{_HINTS.get(parts.scheme, '')}."
        )
    unreachable = (
        r"ClientConnect|EndpointConnection|gaierror|ConnectionRefused|Timeout|DNS|"
        r"Could not resolve|CURL error|ServerDisconnected|Cannot connect|UNAVAILABLE"
    )
    if re.search(unreachable, words, re.IGNORECASE):
        return StackError(
            f"The host of {shown(address)} could not be reached: check the address and the network."
        )
    if any(isinstance(part, FileNotFoundError) for part in chain):
        return StackError(f"There is nothing at {shown(address)}: check the address.")
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return StackError(f"{shown(address)} could not be read: {reason[:200]}.")
