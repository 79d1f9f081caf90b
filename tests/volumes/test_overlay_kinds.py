"""Overlays over stacks that are no zarr: TIFF, N5, precomputed, folders of images, NumPy files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.volumes.conftest import QUICK, Folds, run, tree

from sff_napari.errors import StackError
from sff_napari.folds import Fold
from sff_napari.simulation import neuropil
from sff_napari.stacks import open_stack
from sff_napari.stacks.overlay import VARIABLE
from sff_napari.volumes.plan.request import VolumeRequest
from sff_napari.volumes.plan.settings import VolumeSettings
from sff_napari.volumes.restore_volume import restore_volume
from sff_napari.volumes.revert import revert_folds
from sff_napari.volumes.run.executors import Threads
from sff_napari.volumes.verify.verify_volume import verify_volume


def write_n5(folder: Path, volume: NDArray[Any], block: tuple[int, int, int]) -> None:
    """Write an N5 group with two levels; the coarse one has every other pixel."""
    import tensorstore as ts

    for number, data in enumerate((volume, volume[:, ::2, ::2])):
        metadata = {
            "dimensions": list(reversed(data.shape)),
            "blockSize": list(block),
            "dataType": str(data.dtype),
            "compression": {"type": "gzip"},
        }
        store = {"driver": "file", "path": f"{folder}/s{number}/"}
        spec = {"driver": "n5", "kvstore": store, "metadata": metadata}
        ts.open(spec, create=True).result()[...] = data.transpose(2, 1, 0)
    (folder / "attributes.json").write_text("{}")


def write_precomputed(folder: Path, volume: NDArray[Any]) -> None:
    """Write a precomputed volume with one scale."""
    import tensorstore as ts

    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        "multiscale_metadata": {
            "type": "image",
            "data_type": str(volume.dtype),
            "num_channels": 1,
        },
        "scale_metadata": {
            "size": list(reversed(volume.shape)),
            "resolution": [4, 4, 40],
            "chunk_size": [32, 32, 2],
            "encoding": "raw",
        },
    }
    store = ts.open(spec, create=True).result()
    store[...] = volume.transpose(2, 1, 0)[..., None]


def write(folder: Path, how: dict[str, Any], volume: NDArray[Any]) -> Path:
    """Write a stack of a kind and return its place."""
    kind = how["kind"]
    if kind == "tiff":
        place = folder / "in.tif"
        tifffile.imwrite(
            place, volume, photometric="minisblack", compression=how["compression"],
            bigtiff=how["big"], byteorder=how["order"],
        )  # fmt: skip
    elif kind == "folder":
        place = folder / "slices"
        place.mkdir()
        for z, image in enumerate(volume):
            tifffile.imwrite(place / f"slice_{z}.tif", image, compression=how["compression"])
    elif kind == "npy":
        place = folder / "in.npy"
        np.save(place, volume)
    elif kind == "n5":
        place = folder / "in.n5"
        write_n5(place, volume, how["block"])
    else:
        place = folder / "precomputed"
        write_precomputed(place, volume)
    return place


@st.composite
def kinds(draw: Any) -> dict[str, Any]:
    """Draw a kind of stack and how it is stored."""
    kind = draw(st.sampled_from(["tiff", "n5", "tiff", "n5", "folder", "npy", "precomputed"]))
    even = st.integers(20, 40).map(lambda n: 2 * n)
    dtypes = ["uint8", "uint16", "float32"]
    return {
        "kind": kind,
        "shape": (draw(st.integers(3, 5)), draw(even), draw(even)),
        "dtype": draw(st.sampled_from(dtypes)),
        "compression": draw(st.sampled_from([None, "zlib"])),
        "big": draw(st.booleans()),
        "order": draw(st.sampled_from(["<", ">"])),
        "block": tuple(draw(st.integers(8, 40)) for _ in "xyz"),
    }


@given(kinds())
@settings(max_examples=10)
def test_an_overlay_reads_as_the_full_copy(
    tmp_path_factory: pytest.TempPathFactory, how: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("kinds")
    depth, height, width = how["shape"]
    volume = neuropil(how["shape"], seed=2).astype(how["dtype"])
    if volume.dtype.kind == "f":
        volume /= 255
    source = write(folder, how, volume)
    untouched = source.read_bytes() if source.is_file() else tree(source)
    folds = {1: [Fold([(0, width / 3), (height - 1, width / 2)], 2, source="detected")]}
    full, thin = folder / "full.zarr", folder / "thin.zarr"
    assert run(source, folds, full).complete
    assert run(source, folds, thin, overlay=True).complete
    before, copied, laid = (open_stack(place) for place in (source, full, thin))
    assert (laid.shape, laid.dtype) == (copied.shape, copied.dtype) == (before.shape, before.dtype)
    assert not np.array_equal(laid[1], before[1])
    for z in range(depth):
        assert np.array_equal(laid[z], copied[z])
    part = (slice(3, height - 2), slice(width // 4, width))
    assert np.array_equal(laid.read(1, *part), copied[1][part])
    # Coarser levels are those of the source, made in its way above what changed.
    assert [level.stack.shape for level in laid.levels] == [
        level.stack.shape for level in before.levels
    ]
    for level in laid.levels:
        for z in (0, 1):
            assert np.array_equal(level.stack[z], laid[z][::2, ::2])
    chunks = [n for n in tree(thin) if n.startswith("0/c/")]
    assert chunks
    assert all(name.startswith("0/c/1/") for name in chunks)
    assert verify_volume(thin).good
    assert run(source, folds, thin, overlay=True).outcome.restored == []
    revert_folds(thin, ["z1-0"], pool=Threads(1))
    assert verify_volume(thin).good
    assert not [n for n in tree(thin) if "/c/" in n]
    assert all(np.array_equal(a, b) for a, b in zip(open_stack(thin), before, strict=True))
    assert (source.read_bytes() if source.is_file() else tree(source)) == untouched


@pytest.fixture
def tiff(tmp_path: Path, damaged: Any) -> Path:
    """Return the damaged volume as a TIFF."""
    tifffile.imwrite(tmp_path / "in.tif", damaged[0], photometric="minisblack")
    return tmp_path / "in.tif"


def test_an_overlay_over_a_tiff_goes_on_and_comes_back_in_parts(
    tiff: Path, folds: Folds, tmp_path: Path, sure: VolumeSettings
) -> None:
    once, parts = tmp_path / "once.zarr", tmp_path / "parts.zarr"
    run(tiff, folds, once, overlay=True, settings=sure)
    for z in (3, 1):
        run(tiff, folds, parts, slices=[z], overlay=True, settings=sure)
    assert tree(once) == tree(parts)
    revert_folds(once, ["z3-1"], pool=Threads(1))
    run(tiff, {**folds, 3: folds[3][:1]}, tmp_path / "less.zarr", overlay=True, settings=sure)
    less = tree(tmp_path / "less.zarr")
    kept = {name: data for name, data in tree(once).items() if "/c/" in name}
    assert kept == {name: data for name, data in less.items() if "/c/" in name}
    assert verify_volume(once).good


def test_an_overlay_over_a_tiff_can_be_copied_and_overlaid(
    tiff: Path, folds: Folds, tmp_path: Path
) -> None:
    run(tiff, folds, tmp_path / "whole.zarr")
    run(tiff, {1: folds[1]}, tmp_path / "first.zarr", overlay=True)
    rest = {3: folds[3]}
    expected = open_stack(tmp_path / "whole.zarr")
    for name, overlay in (("copy.zarr", False), ("second.zarr", True)):
        run(tmp_path / "first.zarr", rest, tmp_path / name, overlay=overlay)
        found = open_stack(tmp_path / name)
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    array = zarr.open_array(tmp_path / "copy.zarr", path="0", mode="r")
    assert np.array_equal(np.asarray(array[4]), expected[4])


def test_another_source_is_refused(
    tiff: Path, folds: Folds, damaged: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.zarr"
    run(tiff, folds, out, overlay=True)
    expected = open_stack(out)[3]
    other = tmp_path / "other.tif"
    for volume in (damaged[0][:, :-1], damaged[0].astype(np.uint16)):
        tifffile.imwrite(other, volume, photometric="minisblack")
        monkeypatch.setenv(VARIABLE, os.fspath(other))
        with pytest.raises(StackError, match="name the right one with --source"):
            open_stack(out)
    monkeypatch.setenv(VARIABLE, os.fspath(out))
    with pytest.raises(StackError, match="name the right one with --source"):
        open_stack(out)
    monkeypatch.delenv(VARIABLE)
    # Pixels that are not those that the overlay was made over are told.
    changed = damaged[0].copy()
    changed[3] = 255 - changed[3]
    tifffile.imwrite(other, changed, photometric="minisblack")
    wrong = verify_volume(out, source=os.fspath(other)).wrong
    assert wrong
    assert all(text.startswith("The source has changed since") for text in wrong.values())
    tiff.rename(tmp_path / "elsewhere.tif")
    with pytest.raises(StackError, match="there is nothing"):
        open_stack(out)
    monkeypatch.setenv(VARIABLE, os.fspath(tmp_path / "elsewhere.tif"))
    assert np.array_equal(open_stack(out)[3], expected)


@pytest.mark.parametrize(
    "change",
    [
        {"arrays": ["../in.tif"]},
        {"arrays": ["0", "nothing"]},
        {"source": {"select": {"c": "x"}}},
        {"source": None},
        {"overlay_of": "../in.tif"},
        {"overlay_of": "out.zarr"},
    ],
)
def test_a_hostile_manifest_is_refused(
    tiff: Path, folds: Folds, tmp_path: Path, change: dict[str, Any]
) -> None:
    out = tmp_path / "out.zarr"
    run(tiff, folds, out, slices=[1], overlay=True)
    path = out / "sff_napari/plan.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(StackError):
        open_stack(out)


def test_metadata_that_does_not_fit_is_refused(tiff: Path, folds: Folds, tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    run(tiff, folds, out, slices=[1], overlay=True)
    path = out / "0/zarr.json"
    good = json.loads(path.read_text())
    for change in (
        {"codecs": [*good["codecs"], {"name": "gzip", "configuration": {"level": 1}}]},
        {"shape": [5, 160, 193]},
        {"data_type": "uint16"},
        {"zarr_format": 9},
    ):
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(StackError):
            open_stack(out)


def test_a_page_that_cannot_be_read_fails_its_slice_alone(
    folds: Folds, damaged: Any, tmp_path: Path
) -> None:
    source = tmp_path / "in.tif"
    tifffile.imwrite(source, damaged[0], photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(source) as file:
        first = file.pages[3].dataoffsets[0]
    data = bytearray(source.read_bytes())
    data[first : first + 60] = bytes(60)
    source.write_bytes(data)
    out = tmp_path / "out.zarr"
    with open_stack(source) as stack:
        summary = restore_volume(
            VolumeRequest(source, stack, folds, out, overlay=True, settings=QUICK), Threads(2)
        )
    assert summary.outcome.restored == [1]
    assert "Slice 3 of" in summary.outcome.failed[3]
    assert np.array_equal(open_stack(out)[2], damaged[0][2])
    with pytest.raises(StackError, match="Slice 3 of"):
        open_stack(out)[3]
