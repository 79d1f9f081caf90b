"""Reading parts of slices: what comes back, and how little is read for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sff_napari.errors import InputError, StackError
from sff_napari.stacks import Stack, open_stack

SHAPE = (6, 40, 56)
VOLUME = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


def make(kind: str, folder: Path) -> Path:
    path = folder / kind
    if kind == "sharded.zarr":
        zarr.create_array(path, data=VOLUME, chunks=(1, 8, 8), shards=(2, 16, 16))
    elif kind.endswith(".zarr"):
        chunks = {"flat.zarr": (1, 16, 16), "deep.zarr": (4, 16, 16)}.get(kind, (1, 40, 56))
        zarr.create_array(path, data=VOLUME, chunks=chunks)
    elif kind == "plain.tif":
        tifffile.imwrite(path, VOLUME)
    elif kind == "packed.tif":
        tifffile.imwrite(path, VOLUME, compression="zlib")
    elif kind == "swapped.tif":
        tifffile.imwrite(path, VOLUME.transpose(0, 2, 1), metadata={"axes": "ZXY"})
    elif kind == "a.npy":
        np.save(path, VOLUME)
    else:
        path.mkdir()
        for z, image in enumerate(VOLUME):
            Image.fromarray(image).save(path / f"{z}.png")
    return path


KINDS = [
    "flat.zarr", "deep.zarr", "sharded.zarr", "plain.tif", "packed.tif", "swapped.tif", "a.npy",
    "folder",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_is_what_the_slice_holds_there(tmp_path: Path, kind: str) -> None:
    with open_stack(make(kind, tmp_path)) as stack:
        assert stack.shape == SHAPE
        for z, rows, columns in [
            (0, slice(0, 40), slice(0, 56)),
            (3, slice(15, 17), slice(31, 49)),
            (-1, slice(39, 99), slice(None)),
            (5, slice(-3, None), slice(0, 1)),
        ]:
            part = stack.read(z, rows, columns)
            assert np.array_equal(part, VOLUME[z][rows, columns])
            assert part.dtype == stack.dtype
            part[...] = 0  # a copy: nothing else sees it
            assert np.array_equal(stack[z], VOLUME[z])
        with pytest.raises(IndexError):
            stack.read(6, slice(None), slice(None))
        with pytest.raises(InputError, match="without a step"):
            stack.read(0, slice(0, 9, 2), slice(None))
        with pytest.raises(InputError, match="no pixel"):
            stack.read(0, slice(40, 50), slice(None))


@given(
    z=st.integers(0, 5),
    rows=st.tuples(st.integers(0, 39), st.integers(1, 40)),
    columns=st.tuples(st.integers(0, 55), st.integers(1, 56)),
    chunks=st.tuples(st.integers(1, 7), st.integers(1, 41), st.integers(1, 57)),
    source=st.sampled_from(["numpy", "zarr", "dask"]),
)
def test_any_part_of_any_array(
    z: int, rows: tuple[int, int], columns: tuple[int, int], chunks: Any, source: str
) -> None:
    array: Any = VOLUME
    if source == "zarr":
        array = zarr.create_array({}, data=VOLUME, chunks=chunks)
    elif source == "dask":
        array = dask.array.from_array(VOLUME, chunks=chunks)
    part = (slice(rows[0], rows[0] + rows[1]), slice(columns[0], columns[0] + columns[1]))
    assert np.array_equal(Stack.from_array(array).read(z, *part), VOLUME[z][part])


@pytest.mark.parametrize("chunks", [(1, 16, 16), (4, 16, 16)])
def test_only_the_chunks_touched_are_read(tmp_path: Path, chunks: tuple[int, ...]) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=VOLUME, chunks=chunks)
    stack = open_stack(tmp_path / "a.zarr")
    # Every other chunk is damaged: reading one of them fails.
    z = 3 // chunks[0]
    for file in (tmp_path / "a.zarr" / "c").rglob("*"):
        if file.is_file() and file.parts[-3:] != (str(z), "1", "1"):
            file.write_bytes(b"no chunk")
    part = (slice(16, 32), slice(17, 31))
    assert np.array_equal(stack.read(3, *part), VOLUME[3][part])
    with pytest.raises(StackError, match="Slice 3 of .*damaged"):
        stack.read(3, slice(15, 32), slice(17, 31))


def test_only_the_rows_of_a_mapped_tiff_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = open_stack(make("plain.tif", tmp_path))
    readers = replace(stack._readers, plane=lambda z: pytest.fail("the whole slice was read"))
    monkeypatch.setattr(stack, "_readers", readers)
    assert np.array_equal(stack.read(2, slice(5, 7), slice(0, 9)), VOLUME[2, 5:7, :9])


@pytest.mark.parametrize("kind", KINDS)
def test_many_threads_read_at_once(tmp_path: Path, kind: str) -> None:
    stack = open_stack(make(kind, tmp_path))

    def read(number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        z, y, x = number % 6, 5 * (number % 7), 7 * (number % 5)
        part = (slice(y, y + 9), slice(x, x + 11))
        return stack.read(z, *part), VOLUME[z][part]

    with ThreadPoolExecutor(8) as pool:
        for found, expected in pool.map(read, range(120)):
            assert np.array_equal(found, expected)
