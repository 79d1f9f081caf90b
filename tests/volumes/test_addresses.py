"""Volumes that lie at an address: read from there, and copied or overlaid."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.volumes.conftest import QUICK, Folds, run, tree

from sff_napari.errors import StackError
from sff_napari.stacks import open_stack
from sff_napari.stacks.overlay import VARIABLE
from sff_napari.volumes.plan.request import VolumeRequest
from sff_napari.volumes.restore_volume import restore_volume
from sff_napari.volumes.run.executors import Threads


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass

    def list_directory(self, path: Any) -> None:
        self.send_error(404)


@pytest.fixture
def address(source: Path) -> Iterator[str]:
    """Serve the source without listings, as object stores behind a web server do."""
    handler = functools.partial(Quiet, directory=str(source.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/{source.name}"
        server.shutdown()


def restore_from(address: str, folds: Folds, out: Path, overlay: bool) -> None:
    with open_stack(address) as stack:
        summary = restore_volume(
            VolumeRequest(address, stack, folds, out, settings=QUICK, overlay=overlay), Threads(1)
        )
    assert summary.complete, summary.outcome


def test_a_copy_from_an_address(address: str, source: Path, folds: Folds, tmp_path: Path) -> None:
    run(source, folds, tmp_path / "local.zarr")
    restore_from(address, folds, tmp_path / "remote.zarr", overlay=False)
    local, remote = tree(tmp_path / "local.zarr"), tree(tmp_path / "remote.zarr")
    assert local.keys() == remote.keys()
    assert all(remote[name] == data for name, data in local.items() if "sff_napari" not in name)


def test_an_overlay_of_an_address_is_followed_only_if_asked(
    address: str, source: Path, folds: Folds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "thin.zarr"
    restore_from(address, folds, out, overlay=True)
    with pytest.raises(StackError, match="lies elsewhere"):
        open_stack(out)
    monkeypatch.setenv(VARIABLE, address)
    run(source, folds, tmp_path / "local.zarr")
    for a, b in zip(open_stack(out), open_stack(tmp_path / "local.zarr"), strict=True):
        assert np.array_equal(a, b)
