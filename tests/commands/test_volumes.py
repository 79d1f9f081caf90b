"""What the commands say of volumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from sff_napari.stacks import open_stack, read_folds, write_stack

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


def test_detect_names_slices_that_cannot_be_read(
    damaged: Path, tmp_path: Path, command: Command
) -> None:
    volume = np.stack(list(open_stack(damaged)))
    zarr.create_array(tmp_path / "a.zarr", data=volume, chunks=(1, *volume.shape[1:]))
    chunk = tmp_path / "a.zarr" / "c" / "4" / "0" / "0"
    good = chunk.read_bytes()
    chunk.write_bytes(b"no chunk")
    out = tmp_path / "folds.jsonl"
    done = command("detect", tmp_path / "a.zarr", "-o", out)
    assert done.code == 3
    assert "1 fold found in 4 slices; 1 could not be read" in done.out
    assert "Not searched: Slice 4 of" in done.err
    chunk.write_bytes(good)
    done = command("detect", tmp_path / "a.zarr", "-o", out)
    assert done.code == 0
    assert "1 fold found in 5 slices (4 of them by an earlier run)" in done.out
    assert read_folds(out).slices == [2]


def test_export(damaged: Path, tmp_path: Path, command: Command) -> None:
    folds = damaged.with_name("damaged.folds.json")
    done = command("export", damaged, "--folds", folds, "--to", "feabas", "-o", tmp_path / "masks")
    assert done.code == 0, done.err
    assert "Fold masks of 1 slice written for feabas" in done.out
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["slice_00002.png"]
    arguments = ("--folds", folds, "--to", "corgie", "-o", tmp_path / "layer")
    done = command("export", damaged, *arguments)
    assert done.code == 2
    assert "give --voxel-size" in done.err
    for size, words in (("4,4", "three numbers"), ("0,4,4", "makes no sense")):
        assert words in command("export", damaged, *arguments, "--voxel-size", size).err
    assert command("export", damaged, *arguments, "--voxel-size", "40,4,4", "--mips", 2).code == 0
    assert open_stack(tmp_path / "layer").voxel_size == (40, 4, 4)
    done = command("export", damaged, "--folds", folds, "--to", "bigwarp", "-o", tmp_path / "marks")
    assert done.code == 2
    assert "holds no displacement" in done.err
