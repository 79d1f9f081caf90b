"""Volumes in many formats, and a real web server for them."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

Serve = Callable[[Path], str]


class Quiet(SimpleHTTPRequestHandler):
    """A web server that counts what it is asked for, and can serve parts of files."""

    asked: list[str]
    ranges = True

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path)
        wanted = self.headers.get("Range")
        file = Path(self.translate_path(self.path))
        if wanted is None or not self.ranges or not file.is_file():
            super().do_GET()
            return
        data = file.read_bytes()
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start = int(first) if first else max(0, len(data) - int(last))
        end = min(int(last) + 1, len(data)) if first and last else len(data)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        self.wfile.write(data[start:end])

    def list_directory(self, path: Any) -> None:
        # Stores do not list their folders.
        self.send_error(404)


@pytest.fixture
def asked() -> list[str]:
    """Return the list in which the server notes every path it is asked for."""
    return []


@pytest.fixture
def serve(asked: list[str]) -> Iterator[Serve]:
    """Return a function that serves a folder by http and returns its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(folder: Path, ranges: bool = True) -> str:
        handler = type("Handler", (Quiet,), {"asked": asked, "ranges": ranges})
        server = ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(handler, directory=str(folder))
        )
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _precomputed(folder: Path, volume: NDArray[Any], **settings: Any) -> None:
    """Write a precomputed volume with two scales through tensorstore."""
    import tensorstore as ts

    for number, data in enumerate((volume, volume[:, ::2, ::2])):
        depth, height, width = data.shape
        store = ts.open(
            {
                "driver": "neuroglancer_precomputed",
                "kvstore": {"driver": "file", "path": f"{folder}/"},
                "multiscale_metadata": {
                    "type": "image",
                    "data_type": str(volume.dtype),
                    "num_channels": 1,
                },
                "scale_metadata": {
                    "size": [width, height, depth],
                    "resolution": [4 * 2**number, 4 * 2**number, 40],
                    "chunk_size": [16, 16, 4],
                    "encoding": "raw",
                    "voxel_offset": [100, 200, 7],
                    **settings,
                },
            },
            create=True,
            open=True,
        ).result()
        store[...] = np.asarray(data).transpose(2, 1, 0)[..., None]


def _n5(folder: Path, volume: NDArray[Any]) -> None:
    """Write an N5 dataset through tensorstore."""
    import tensorstore as ts

    store = ts.open(
        {
            "driver": "n5",
            "kvstore": {"driver": "file", "path": f"{folder}/"},
            "metadata": {
                "dimensions": list(reversed(volume.shape)),
                "blockSize": [16, 16, 4],
                "dataType": str(volume.dtype),
                "compression": {"type": "gzip"},
            },
        },
        create=True,
    ).result()
    store[...] = volume.transpose(2, 1, 0)


def _ome_zarr(path: Path, volume: NDArray[Any], version: str, axes: str, unit: str) -> None:
    """Write an OME-Zarr with two levels, the coarse one with the scale of the fine one."""
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    group.create_array("fine", data=volume)
    group.create_array("coarse", data=volume[..., ::2, ::2])
    scale = [{"z": 0.05, "y": 0.004, "x": 0.004}.get(axis, 1.0) for axis in axes]
    image = {
        "axes": [
            {"name": axis, "type": "space", "unit": unit} if axis in "zyx" else {"name": axis}
            for axis in axes
        ],
        "datasets": [
            {"path": name, "coordinateTransformations": [{"type": "scale", "scale": scale}]}
            for name in ("fine", "coarse")
        ],
    }
    if version == "0.4":
        group.attrs["multiscales"] = [{"version": "0.4", **image}]
    else:
        group.attrs["ome"] = {"version": version, "multiscales": [image]}


@pytest.fixture
def write_precomputed() -> Callable[..., None]:
    """Return a function that writes a precomputed volume with two scales."""
    return _precomputed


@pytest.fixture
def write_n5() -> Callable[..., None]:
    """Return a function that writes an N5 dataset."""
    return _n5


@pytest.fixture
def ome_zarr() -> Callable[..., None]:
    """Return a function that writes an OME-Zarr with two levels."""
    return _ome_zarr
