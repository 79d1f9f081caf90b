"""Files of every kind that `info` knows, made at random: the right answer, or one sentence.

Each goes through detect, restore, verify, export and revert.  A command ends
with 0 and the right pixels, with 3 and the place it could not do, or with 2
and one sentence; never with a traceback, never with 0 and a wrong picture.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sff_napari.commands import main
from sff_napari.folds import Fold
from sff_napari.simulation import neuropil, simulate_fold
from sff_napari.stacks import open_stack, read_folds, write_folds

EXAMPLES = 150 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 8
"""Files of each kind: 8 of 14 kinds are more than 100, 150 more than 2,000."""
QUICK = ("--interpolation", "mean", "--unfolding", "none", "--fusion", "stitch", "--device", "cpu")
LINE = Fold([(0, 60), (127, 100)], 5)
IMAGES = neuropil((5, 128, 160), seed=2)
IMAGES[2] = simulate_fold(IMAGES[2], LINE, hidden_half_width=12).damaged
KINDS = (
    "zarr", "ome-zarr", "zip", "n5", "precomputed", "tiff", "imagej", "ome-tiff", "images",
    "tiffs", "npy", "hdf5", "mrc", "chunks",
)  # fmt: skip


@dataclass
class Made:
    """A file, what it should read as, and how it is to be opened.

    Parameters
    ----------
    path : Path
        Where it lies.
    values : ndarray, (Z, Y, X)
        What its slices should hold.
    options : list of str
        ``--axis`` and ``--select``.
    lost : str
        "absent" or "damaged" if a chunk of slice 4 was taken away or cut.
    """

    path: Path
    values: NDArray[Any]
    options: list[str] = field(default_factory=list)
    lost: str = ""


def run(*arguments: object) -> tuple[int, str, str]:
    """Run a command in this process; what it raises besides an exit fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as end,
    ):
        main([str(argument) for argument in arguments])
    code = int(end.value.code or 0)
    assert code in (0, 2, 3), err.getvalue()
    if code == 2:
        said = err.getvalue().strip()
        assert said.splitlines()[-1].startswith("Error: "), said
        assert "Traceback" not in said
    return code, out.getvalue(), err.getvalue()


def scaled(dtype: str, data: st.DataObject) -> NDArray[Any]:
    """Return the images in another dtype and other units."""
    kind = np.dtype(dtype)
    if kind == np.uint8:
        return IMAGES.copy()
    if kind.kind == "u":
        factor, low = data.draw(st.sampled_from([(200, 1000), (16, 0), (257, 0)]))
        return (IMAGES.astype(np.uint16) * factor + low).astype(dtype)
    factor, low = data.draw(
        st.sampled_from([(1 / 255, 0.0), (1.0, 0.0), (1e-9, 0.0), (40.0, -5e3)])
    )
    values = (IMAGES * factor + low).astype(dtype)
    if data.draw(st.booleans()):
        values[data.draw(st.integers(0, 4)), 3, 5] = values.max() * 1e6
    return values


def with_axes(
    values: NDArray[Any], data: st.DataObject, most: int = 5
) -> tuple[NDArray[Any], str, list[str]]:
    """Return the values among further axes, the axes, and the options that choose them."""
    layouts = [("zyx", []), ("tczyx", []), ("tczyx on t", []), ("tczyx", ["c"]), ("tczyx", ["t"])]
    name, more = data.draw(
        st.sampled_from([one for one in layouts if len(one[0][:5].strip()) <= most])
    )
    if name == "zyx":
        return values, "zyx", []
    if name == "tczyx on t":
        return values[:, None, None], "tczyx", []
    full = values[None, None]
    if not more:
        return full, "tczyx", []
    other = np.zeros_like(full)
    axis, at = "tc".index(more[0]), data.draw(st.integers(0, 1))
    parts = [other, full] if at else [full, other]
    return np.concatenate(parts, axis=axis), "tczyx", ["--select", f"{more[0]}={at}"]


def take_away(path: Path, data: st.DataObject, lossy: bool = True) -> str:
    """Take a chunk away, or cut it; return which."""
    way = data.draw(st.sampled_from(["", "", "absent", "damaged"] if lossy else ["", "absent"]))
    if way == "absent":
        path.unlink()
    elif way == "damaged":
        path.write_bytes(path.read_bytes()[: data.draw(st.integers(0, 20))])
    return way


def write_zarr(root: Path, data: st.DataObject, kind: str) -> Made:
    dtype = data.draw(st.sampled_from(["u1", "<u2", ">u2", "<f4", ">f4", "<f8"]))
    values = scaled(dtype, data)
    full, axes, options = with_axes(values, data)
    zarr_format: Any = data.draw(st.sampled_from([2, 3]))
    if zarr_format == 3 and dtype[0] == ">":
        full, values = full.astype(dtype[1:]), values.astype(dtype[1:])
    path = root / "in.zarr"
    deep = data.draw(st.sampled_from([1, 2]))
    tall = data.draw(st.sampled_from([64, 128]))
    chunks = tuple({"y": tall, "x": 64, "z": deep}.get(axis, 1) for axis in axes)
    fill = data.draw(st.sampled_from([0, 7]))
    if kind == "zarr":
        array = zarr.create_array(
            path, shape=full.shape, chunks=chunks, dtype=full.dtype, fill_value=fill,
            zarr_format=zarr_format,
        )  # fmt: skip
        array[:] = full
        return Made(path, values, options)
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    levels = data.draw(st.integers(1, 3))
    declared = levels + data.draw(st.integers(0, 1))
    start = data.draw(st.sampled_from([0.0, 4000.0]))
    datasets = []
    for number in range(declared):
        level = full[..., :: 2**number, :: 2**number]
        if number < levels:
            group.create_array(
                f"s{number}", shape=level.shape, chunks=chunks, dtype=full.dtype, fill_value=fill
            )[:] = level
        scale = [{"z": 40.0, "y": 4.0 * 2**number, "x": 4.0 * 2**number}.get(a, 1.0) for a in axes]
        moved = [start if axis in "zyx" else 0.0 for axis in axes]
        datasets.append(
            {
                "path": f"s{number}",
                "coordinateTransformations": [
                    {"type": "scale", "scale": scale},
                    {"type": "translation", "translation": moved},
                ],
            }
        )
    units = {axis: {"type": "space", "unit": "nanometer"} for axis in "zyx"}
    image = {"axes": [{"name": a, **units.get(a, {})} for a in axes], "datasets": datasets}
    if zarr_format == 2:
        group.attrs["multiscales"] = [{"version": "0.4", **image}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    if kind == "zip":
        shutil.make_archive(str(path), "zip", path)
        return Made(root / "in.zarr.zip", values, options)
    return Made(path, values, options)


def write_chunks(root: Path, data: st.DataObject) -> Made:
    """Write a zarr of which a chunk may be absent or damaged."""
    values = scaled(data.draw(st.sampled_from(["u1", "<u2", "<f4"])), data)
    zarr_format: Any = data.draw(st.sampled_from([2, 3]))
    path = root / "in.zarr"
    zarr.create_array(
        path, shape=values.shape, chunks=(1, 64, 160), dtype=values.dtype,
        fill_value=data.draw(st.sampled_from([0, 9])), zarr_format=zarr_format,
    )[:] = values  # fmt: skip
    chunk = path / ("4.0.0" if zarr_format == 2 else "c/4/0/0")
    return Made(path, values, lost=take_away(chunk, data))


def write_tensorstore(root: Path, data: st.DataObject, kind: str) -> Made:
    import tensorstore as ts

    values = scaled(data.draw(st.sampled_from(["u1", "<u2", "<f4"])), data)
    path = root / "in"
    store = {"driver": "file", "path": f"{path}/"}
    name = values.dtype.name
    turned = values.transpose(2, 1, 0)
    if kind == "n5":
        metadata = {
            "dimensions": list(turned.shape), "blockSize": [64, 64, 1], "dataType": name,
            "compression": {"type": data.draw(st.sampled_from(["gzip", "raw"]))},
        }  # fmt: skip
        spec = {"driver": "n5", "kvstore": store, "metadata": metadata}
        ts.open(spec, create=True).result()[...] = turned
        return Made(path, values, lost=take_away(path / "0" / "0" / "4", data))
    offset = data.draw(st.sampled_from([[0, 0, 0], [100, 200, 30]]))
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": store,
        "multiscale_metadata": {"type": "image", "data_type": name, "num_channels": 1},
        "scale_metadata": {
            "size": list(turned.shape), "voxel_offset": offset, "resolution": [4, 4, 40],
            "chunk_size": [64, 64, 1], "encoding": "raw",
        },
    }  # fmt: skip
    ts.open(spec, create=True).result()[ts.d[:].translate_to[0]][..., 0] = turned
    x, y, z = offset
    chunk = path / "4_4_40" / f"{x}-{x + 64}_{y}-{y + 64}_{z + 4}-{z + 5}"
    lost = take_away(chunk, data)
    if data.draw(st.booleans()):
        for one in list((path / "4_4_40").iterdir()):
            packed = gzip.compress(one.read_bytes())
            one.with_name(one.name + ".gz").write_bytes(packed)
            one.unlink()
    return Made(path, values, lost=lost)


def write_tiff(root: Path, data: st.DataObject, kind: str) -> Made:
    dtypes = ["u1", "u2", "f4"]
    values = scaled(data.draw(st.sampled_from(dtypes)), data)
    stored, options = values, dict[str, Any]()
    options["compression"] = data.draw(st.sampled_from([None, "zlib"]))
    if kind == "imagej":
        options |= {"imagej": True, "metadata": {"axes": "ZYX", "Labels": [*"abcde"]}}
    elif kind == "ome-tiff":
        full, axes, more = with_axes(values, data)
        tifffile.imwrite(root / "in.ome.tif", full, metadata={"axes": axes.upper()},
                         photometric="minisblack", **options)  # fmt: skip
        return Made(root / "in.ome.tif", values, more)
    else:
        options["byteorder"] = data.draw(st.sampled_from(["<", ">"]))
        options["photometric"] = data.draw(st.sampled_from(["minisblack", "miniswhite"]))
        options["tile"] = data.draw(st.sampled_from([None, (64, 64)]))
        if options["photometric"] == "miniswhite":
            stored = -values if values.dtype.kind == "f" else np.iinfo(values.dtype).max - values
    if kind == "tiffs":
        (root / "in").mkdir()
        for z, image in enumerate(stored):
            tifffile.imwrite(root / "in" / f"s_{z - 2}.tif", image, **options)
        return Made(root / "in", values)
    tifffile.imwrite(root / "in.tif", stored, **options)
    return Made(root / "in.tif", values)


def write_images(root: Path, data: st.DataObject) -> Made:
    values = scaled(data.draw(st.sampled_from(["u1", "u2"])), data)
    mode = data.draw(st.sampled_from(["L", "RGB", "RGBA", "LA"])) if values.dtype == "u1" else "L"
    step = data.draw(st.sampled_from([1, 10, 0.5]))
    (root / "in").mkdir()
    for z, image in enumerate(values):
        grey = Image.fromarray(image)
        (grey if mode == "L" else grey.convert(mode)).save(root / "in" / f"s={step * (z - 2)}.png")
    return Made(root / "in", values)


def write_other(root: Path, data: st.DataObject, kind: str) -> Made:
    if kind == "mrc":
        values = scaled(data.draw(st.sampled_from(["u2", "f4"])), data)
        with mrcfile.new(root / "in.mrc") as file:
            file.set_data(values)
        return Made(root / "in.mrc", values)
    values = scaled(data.draw(st.sampled_from(["u1", "<u2", ">u2", "<f4", ">f8"])), data)
    full, _, options = with_axes(values, data)
    if kind == "npy":
        np.save(root / "in.npy", full)
        return Made(root / "in.npy", values, options)
    chunked = data.draw(st.booleans())
    with h5py.File(root / "in.h5", "w") as hdf5:
        hdf5.create_dataset("volumes/raw", data=full, chunks=True if chunked else None)
    return Made(root / "in.h5", values, options)


def write(kind: str, root: Path, data: st.DataObject) -> Made:
    if kind in ("zarr", "ome-zarr", "zip"):
        return write_zarr(root, data, kind)
    if kind == "chunks":
        return write_chunks(root, data)
    if kind in ("n5", "precomputed"):
        return write_tensorstore(root, data, kind)
    if kind in ("tiff", "imagej", "ome-tiff", "tiffs"):
        return write_tiff(root, data, kind)
    return write_images(root, data) if kind == "images" else write_other(root, data, kind)


def same(found: NDArray[Any], expected: NDArray[Any], lost: bool) -> bool:
    """Tell whether a slice is as it should be; of one with a lost chunk what is left."""
    part = slice(64, None) if lost else slice(None)
    return bool(np.array_equal(found[part], expected[part]))


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_any_file(kind: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        made = write(kind, root, data)
        check(made, root, data)


def check(made: Made, root: Path, data: st.DataObject) -> None:
    code, text, _ = run("info", made.path, *made.options, "--json")
    assert code == (0 if made.lost != "damaged" else code)
    assert json.loads(text)["shape (z, y, x)"] == list(IMAGES.shape)
    code, _, err = run("detect", made.path, *made.options, "-o", root / "folds.json")
    assert code == (3 if made.lost == "damaged" else 0), err
    assert sorted(read_folds(root / "folds.json").folds) == [2]
    assert ("not stored" in err) == (made.lost == "absent")
    write_folds(root / "line.json", {2: [LINE]})
    out = root / "out.zarr"
    how = ["--overlay"] if data.draw(st.booleans()) else []
    code, _, err = run("restore", made.path, *made.options, "--folds", root / "line.json",
                       "-o", out, *how, *QUICK)  # fmt: skip
    damaged = made.lost == "damaged" and not how
    if code == 2:
        # The one thing that is documented not to work: a stack that cannot be an overlay's base.
        assert how, err
        return
    # A chunk that cannot be read is named; a copy of stored bytes takes it along as it is.
    assert code == 0 or damaged, err
    select = {}
    if made.options:
        name, _, value = made.options[1].partition("=")
        select = {name: int(value)}
    after = select if "zarr" in (made.path.suffix, made.path.suffix[1:]) else {}
    with open_stack(out, after) as stack:
        assert stack.shape == IMAGES.shape
        assert stack.dtype == made.values.dtype.newbyteorder("=")
        for z in (0, 1, 3, *((4,) if made.lost != "damaged" else ())):
            assert same(stack[z], made.values[z], bool(made.lost) and z == 4)
        now, before = stack[2].astype(np.float64), made.values[2].astype(np.float64)
        changed = now != before
        assert changed[:, 60:101].any()
        # Only beside the line, and with grey values of the neighbours.
        assert not changed[:20, 110:].any()
        beside = made.values[[1, 3]].astype(np.float64)
        inside = np.abs(np.sort(beside.ravel())[[100, -100]])
        assert np.abs(now[changed]).max() <= 1.3 * inside.max() + 1e-12
    code, _, err = run("verify", out)
    assert code == 0 or made.lost == "damaged", err
    code, _, err = run("export", out, "--to", "sofima", "-o", root / "exported")
    assert code == 0, err
    mask = zarr.open_array(root / "exported" / "mask.zarr", mode="r")
    assert np.asarray(mask[:]).any(axis=(1, 2)).tolist() == [False, False, True, False, False]
    code, _, err = run("revert", out, "--all")
    assert code == 0 or made.lost == "damaged", err
    with open_stack(out, after) as stack:
        assert np.array_equal(stack[2], made.values[2])
