"""Stacks read from a web server, and what is said when an address cannot be read."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from sff_napari.errors import StackError
from sff_napari.stacks import open_stack, uris

VOLUME = np.random.default_rng(0).integers(0, 256, (6, 40, 56), dtype=np.uint8)


def check(address: str) -> Any:
    stack = open_stack(address)
    assert stack.shape == VOLUME.shape
    assert all(np.array_equal(stack[z], VOLUME[z]) for z in (0, 5))
    assert np.array_equal(stack.read(2, slice(20, 30), slice(3, 9)), VOLUME[2, 20:30, 3:9])
    assert stack.path is None
    assert stack.location == address.rstrip("/")
    return stack


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_by_http(tmp_path: Path, serve: Any, version: str, ome_zarr: Any) -> None:
    ome_zarr(tmp_path / "a.zarr", VOLUME, version, "zyx", "micrometer")
    stack = check(f"{serve(tmp_path)}/a.zarr/")
    assert stack.kind.startswith(f"OME-Zarr {version}")
    assert stack.name == "a"
    (level,) = stack.levels
    assert np.array_equal(level.stack[3], VOLUME[3, ::2, ::2])


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_by_http_is_read_lazily(
    tmp_path: Path, serve: Any, asked: list[str], zarr_format: Any
) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=VOLUME, chunks=(1, 20, 28), zarr_format=zarr_format)
    address = f"{serve(tmp_path)}/a.zarr"
    stack = open_stack(address)
    asked.clear()
    stack.read(4, slice(0, 20), slice(28, 56))
    ending = "c/4/0/1" if zarr_format == 3 else "4.0.1"
    assert asked == [f"/a.zarr/{ending}"]
    check(address)


def test_shards_by_http(tmp_path: Path, serve: Any) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=VOLUME, chunks=(1, 8, 8), shards=(2, 16, 16))
    check(f"{serve(tmp_path)}/a.zarr")


def test_shards_from_a_server_without_ranges_are_never_read_wrongly(
    tmp_path: Path, serve: Any
) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=VOLUME, chunks=(1, 8, 8), shards=(2, 16, 16))
    stack = open_stack(f"{serve(tmp_path, ranges=False)}/a.zarr")
    try:
        found = stack.read(2, slice(0, 8), slice(0, 8))
    except StackError:
        return
    assert np.array_equal(found, VOLUME[2, :8, :8])


def test_n5_and_precomputed_by_http(
    tmp_path: Path, serve: Any, write_n5: Any, write_precomputed: Any
) -> None:
    write_n5(tmp_path / "n5" / "s0", VOLUME)
    (tmp_path / "n5" / "attributes.json").write_text("{}")
    write_precomputed(tmp_path / "pre", VOLUME)
    address = serve(tmp_path)
    assert check(f"{address}/n5").kind == "N5"
    assert check(f"{address}/pre").kind == "Neuroglancer precomputed"
    assert open_stack(f"precomputed://{address}/pre").shape == VOLUME.shape
    assert open_stack(f"n5://{address}/n5").shape == VOLUME.shape
    with pytest.raises(StackError, match="There is no zarr at"):
        open_stack(f"zarr://{address}/n5")


def test_nothing_there(tmp_path: Path, serve: Any) -> None:
    zarr.open_group(tmp_path / "group", mode="w").create_array("raw", data=VOLUME)
    address = serve(tmp_path)
    with pytest.raises(StackError, match="no zarr, N5 or precomputed volume at .*/missing"):
        open_stack(f"{address}/missing")
    with pytest.raises(StackError, match="name the array inside it"):
        open_stack(f"{address}/group")
    check(f"{address}/group/raw")


def test_a_chunk_that_cannot_be_read_is_named(tmp_path: Path, serve: Any) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=VOLUME, chunks=(1, 40, 56))
    (tmp_path / "a.zarr" / "c" / "2" / "0" / "0").write_bytes(b"no chunk")
    stack = open_stack(f"{serve(tmp_path)}/a.zarr")
    assert np.array_equal(stack[1], VOLUME[1])
    with pytest.raises(StackError, match="Slice 2 of http://.*/a.zarr cannot be read"):
        stack[2]


def test_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.monotonic()
    for prefix in ("", "precomputed://"):
        with pytest.raises(StackError, match="host of http://.* could not be reached") as caught:
            open_stack(f"{prefix}http://user:secret@127.0.0.1:{port}/a.zarr")
        assert "secret" not in str(caught.value)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ftp://host/a.zarr", "ftp://, which is not known"),
        ("https:///a.zarr", "no host or bucket"),
        ("https://host/a.zarr?key=1", "a part after"),
        ("precomputed://folder", "must be followed by an address"),
    ],
)
def test_addresses_that_make_no_sense(address: str, words: str) -> None:
    with pytest.raises(StackError, match=words):
        open_stack(address)


@pytest.mark.parametrize(("address", "needed"), [("s3://b/a", "s3fs"), ("gs://b/a", "gcsfs")])
def test_the_extra_is_named_where_it_is_missing(
    address: str, needed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uris, "find_spec", lambda name: None)
    with pytest.raises(StackError, match=rf'needs {needed}: .*"sff-napari\[remote\]"'):
        open_stack(address)


def test_file_addresses_are_paths(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=VOLUME)
    assert open_stack((tmp_path / "a.zarr").as_uri()).path == tmp_path / "a.zarr"


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_bucket_of_s3(
    tmp_path: Path, serve: Any, zarr_format: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client of s3 asks a server on this machine, as it would ask the cloud."""
    import fsspec

    zarr.create_array(
        tmp_path / "bucket" / "a.zarr", data=VOLUME, chunks=(1, 20, 28), zarr_format=zarr_format
    )
    conf = {"anon": True, "endpoint_url": serve(tmp_path), "skip_instance_cache": True}
    monkeypatch.setitem(fsspec.config.conf, "s3", conf)
    check("s3://bucket/a.zarr")
    monkeypatch.setattr("sff_napari.stacks.open_source._open_other", lambda *_: None)
    with pytest.raises(StackError, match="no zarr, N5 or precomputed volume at s3://bucket/b.zarr"):
        open_stack("s3://bucket/b.zarr")


def test_a_bucket_of_google(tmp_path: Path, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    # Without asking by another protocol first which kind of bucket it is.
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    folder = tmp_path / "download" / "storage" / "v1" / "b" / "bucket" / "o"
    zarr.create_array(folder / "a.zarr", data=VOLUME, chunks=(6, 40, 56))
    monkeypatch.setitem(
        fsspec.config.conf,
        "gs",
        {"token": "anon", "endpoint_url": serve(tmp_path), "skip_instance_cache": True},
    )
    monkeypatch.setitem(fsspec.config.conf, "gcs", fsspec.config.conf["gs"])
    check("gs://bucket/a.zarr")
