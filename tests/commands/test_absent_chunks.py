"""Chunks that are compressed once more, absent, or lost: they are never taken for black tissue."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sff_napari.errors import StackError
from sff_napari.folds import Fold
from sff_napari.simulation import neuropil, simulate_fold
from sff_napari.stacks import open_stack, write_folds, write_stack

Command = Callable[..., Any]
QUICK = ("--interpolation", "mean", "--unfolding", "none", "--fusion", "stitch", "--device", "cpu")
LINE = Fold([(0, 60), (191, 110)], 5)
SIZE = (5, 192, 192)


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    found = neuropil(SIZE, seed=2)
    found[2] = simulate_fold(found[2], LINE, hidden_half_width=12).damaged
    return found


def precomputed(
    folder: Path, images: NDArray[Any], offset: tuple[int, int, int] = (0, 0, 0)
) -> Path:
    import tensorstore as ts

    store = ts.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{folder}/"},
            "multiscale_metadata": {"type": "image", "data_type": "uint8", "num_channels": 1},
            "scale_metadata": {
                "size": list(images.shape[::-1]),
                "voxel_offset": list(offset),
                "resolution": [4, 4, 40],
                "chunk_size": [64, 64, 2],
                "encoding": "raw",
            },
        },
        create=True,
    ).result()
    store[ts.d[:].translate_to[0]][..., 0] = images.transpose(2, 1, 0)
    return folder


def n5(folder: Path, images: NDArray[Any]) -> Path:
    import tensorstore as ts

    store = ts.open(
        {
            "driver": "n5",
            "kvstore": {"driver": "file", "path": f"{folder}/"},
            "metadata": {
                "dimensions": list(images.shape[::-1]),
                "blockSize": [64, 64, 1],
                "dataType": "uint8",
                "compression": {"type": "gzip"},
            },
        },
        create=True,
    ).result()
    store[...] = images.transpose(2, 1, 0)
    return folder


def zarr_of(folder: Path, images: NDArray[Any], zarr_format: int) -> Path:
    import zarr

    array = zarr.create_array(
        folder, shape=images.shape, chunks=(1, 64, 64), dtype="u1", zarr_format=zarr_format
    )
    array[:] = images
    return folder


def chunk_of(kind: str, folder: Path, z: int, row: int, column: int) -> Path:
    """Return the file of a chunk."""
    if kind == "precomputed":
        ends = [(64 * column, 64 * column + 64), (64 * row, 64 * row + 64)]
        ends.append((z // 2 * 2, min(z // 2 * 2 + 2, SIZE[0])))
        return folder / "4_4_40" / "_".join(f"{a}-{b}" for a, b in ends)
    if kind == "n5":
        return folder / str(column) / str(row) / str(z)
    if kind == "zarr2":
        return folder / f"{z}.{row}.{column}"
    return folder / "c" / str(z) / str(row) / str(column)


WRITERS: dict[str, Callable[[Path, NDArray[Any]], Path]] = {
    "precomputed": precomputed,
    "n5": n5,
    "zarr2": lambda folder, images: zarr_of(folder, images, 2),
    "zarr3": lambda folder, images: zarr_of(folder, images, 3),
}


@pytest.mark.parametrize("offset", [(0, 0, 0), (1000, 2000, 3000)])
def test_chunks_as_cloud_volume_writes_them(
    tmp_path: Path, images: NDArray[Any], command: Command, offset: tuple[int, int, int]
) -> None:
    folder = precomputed(tmp_path / "v", images, offset)
    plain = [p for p in (folder / "4_4_40").iterdir() if p.is_file()]
    for number, path in enumerate(plain):
        if number % 5:
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    with open_stack(folder) as stack:
        assert all(np.array_equal(stack[z], images[z]) for z in range(5))
        assert np.array_equal(
            stack.read(4, slice(10, 150), slice(70, 75)), images[4, 10:150, 70:75]
        )
        assert np.array_equal(
            stack.read_block(1, 3, slice(60, 130), slice(0, 192)), images[1:4, 60:130]
        )
        assert stack.absent_parts(2) == []
    assert "1 fold found" in command("detect", folder, "-o", tmp_path / "f.json").out
    done = command("restore", folder, "--folds", tmp_path / "f.json", "-o", tmp_path / "o.zarr",
                   "--workers", 1, *QUICK)  # fmt: skip
    assert done.code == 0
    with open_stack(tmp_path / "o.zarr") as made:
        assert np.array_equal(made[1], images[1])


@pytest.mark.parametrize("kind", WRITERS)
def test_absent_chunks_are_told(
    tmp_path: Path, images: NDArray[Any], command: Command, kind: str
) -> None:
    folder = WRITERS[kind](tmp_path / "v", images)
    chunk_of(kind, folder, 3, 0, 1).unlink()
    with open_stack(folder) as stack:
        assert stack.absent_parts(3) == [(slice(0, 64), slice(64, 128))]
        mask = stack.no_data(3)
        assert mask is not None
        assert mask[:64, 64:128].all()
        assert mask.sum() == 64 * 64
        assert stack.no_data(1) is None
    found = command("detect", folder, "-o", tmp_path / "f.json")
    assert found.code == 0
    assert "Slice 3: 1 chunk is not stored" in found.err
    assert "1 fold found in 5 slices" in found.out
    done = command(
        "restore", folder, "--folds", tmp_path / "f.json", "-o", tmp_path / "o.zarr", *QUICK
    )
    assert done.code == 0
    assert "Slice 3: 1 chunk is not stored; there is no data there." in done.err
    record = json.loads((tmp_path / "o.zarr/sff_napari/slices/000002.json").read_text())
    assert any("of slice 3 holds no data here" in note for note in record["pieces"][0]["notes"])
    assert command("info", folder, "--missing", "--json").json["slices with chunks not stored"]


@pytest.mark.parametrize("kind", WRITERS)
def test_a_link_that_leads_nowhere_is_an_error_of_that_place(
    tmp_path: Path, images: NDArray[Any], command: Command, kind: str
) -> None:
    folder = WRITERS[kind](tmp_path / "v", images)
    lost = chunk_of(kind, folder, 4, 1, 1)
    lost.unlink()
    lost.symlink_to(tmp_path / "gone")
    with open_stack(folder) as stack:
        assert np.array_equal(stack[1], images[1])
        with pytest.raises(StackError, match="is a link that leads nowhere"):
            stack[4]
    found = command("detect", folder, "-o", tmp_path / "f.json")
    assert found.code == 3
    assert "leads nowhere" in found.err
    assert "1 fold found" in found.out
    done = command(
        "restore", folder, "--folds", tmp_path / "f.json", "-o", tmp_path / "o.zarr", *QUICK
    )
    assert done.code == 3
    assert "leads nowhere" in done.err


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("length", [0, 100])
def test_a_part_of_a_chunk_is_an_error_of_that_place(
    tmp_path: Path, images: NDArray[Any], command: Command, kind: str, length: int
) -> None:
    folder = WRITERS[kind](tmp_path / "v", images)
    cut = chunk_of(kind, folder, 4, 1, 1)
    cut.write_bytes(cut.read_bytes()[:length])
    with open_stack(folder) as stack, pytest.raises(StackError):
        stack[4]
    found = command("detect", folder, "-o", tmp_path / "f.json")
    assert found.code == 3


def test_a_damaged_gz_is_an_error_of_that_place(tmp_path: Path, images: NDArray[Any]) -> None:
    folder = precomputed(tmp_path / "v", images)
    path = chunk_of("precomputed", folder, 0, 0, 0)
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes())[:200])
    path.unlink()
    with open_stack(folder) as stack, pytest.raises(StackError, match="damaged"):
        stack[0]


def test_a_neighbour_that_is_mostly_absent_is_left_out(
    tmp_path: Path, images: NDArray[Any], command: Command
) -> None:
    folder = write_stack(tmp_path / "v.zarr", images)
    zarr_of(tmp_path / "w", images, 3)
    folder = tmp_path / "w"
    for row in range(3):
        for column in range(3):
            if (row, column) != (2, 2):
                chunk_of("zarr3", folder, 1, row, column).unlink()
    chunk = chunk_of("zarr3", folder, 1, 2, 2)
    chunk.unlink()
    write_folds(tmp_path / "f.json", {2: [LINE]})
    done = command(
        "restore", folder, "--folds", tmp_path / "f.json", "-o", tmp_path / "o.zarr", *QUICK
    )
    record = json.loads((tmp_path / "o.zarr/sff_napari/slices/000002.json").read_text())
    assert done.code == 0
    assert record["previous"] == 0
    assert "Slice 0 stands in" in record["note"]
