"""What the commands say of volumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sff_napari.stacks import write_stack

Command = Callable[..., Any]


def test_info_of_a_volume(tmp_path: Path, command: Command) -> None:
    volume = np.random.default_rng(0).integers(1, 255, (4, 600, 700), dtype=np.uint8)
    volume[2] = 0
    write_stack(tmp_path / "a.zarr", volume, voxel_size=(40, 4, 4))
    facts = command("info", tmp_path / "a.zarr", "--missing", "--json").json
    assert facts["levels"] == [[4, 600, 700], [4, 300, 350]]
    assert facts["slices without image"] == [2]
    assert facts["megapixels"] == 1.68
    assert facts["bytes uncompressed"] == volume.size
    assert volume.size / 2 < facts["bytes on disk"] < 2 * volume.size
    assert facts["codecs"].startswith("bytes")
    text = command("info", tmp_path / "a.zarr").out
    assert "1.68 MB" in text
    assert "slices without image" not in text
    assert len(text.splitlines()) < 24


def test_an_address_that_cannot_be_read(command: Command) -> None:
    done = command("info", "http://user:secret@127.0.0.1:9/a.zarr")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "could not be reached" in done.err
    assert "secret" not in done.err
