"""Stacks whose slices lie on another axis than z, and choices on further axes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from sff_napari.errors import InputError, StackError
from sff_napari.folds import Fold
from sff_napari.simulation import neuropil, simulate_fold
from sff_napari.stacks import open_stack, read_folds, write_folds
from sff_napari.stacks.axes import SLICES, choose_axes, parse_select

Command = Callable[..., Any]
QUICK = ("--interpolation", "mean", "--unfolding", "none", "--fusion", "stitch", "--device", "cpu")
LINE = Fold([(0, 60), (127, 80)], 5)


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    found = neuropil((5, 128, 128), seed=2)
    found[2] = simulate_fold(found[2], LINE, hidden_half_width=12).damaged
    return found


def ome(path: Path, data: NDArray[Any], axes: str, zarr_format: int = 2) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)  # type: ignore[arg-type]
    chunks = tuple(64 if axis in "yx" else 1 for axis in axes)
    for number, level in enumerate((data, data[..., ::2, ::2])):
        group.create_array(str(number), shape=level.shape, chunks=chunks, dtype="u1")[:] = level
    image = {
        "axes": [
            {"name": axis, **({"type": "space", "unit": "nanometer"} if axis in "zyx" else {})}
            for axis in axes
        ],
        "datasets": [
            {
                "path": str(number),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [4.0 * 2**number if a in "yx" else 1 for a in axes]}
                ],
            }
            for number in range(2)
        ],
    }
    if zarr_format == 2:
        group.attrs["multiscales"] = [{"version": "0.4", **image}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    return path


def plain(path: Path, data: NDArray[Any], axes: str) -> Path:
    zarr.create_array(path, shape=data.shape, chunks=data.shape, dtype="u1")[:] = data
    return path


def npy(path: Path, data: NDArray[Any], axes: str) -> Path:
    np.save(path.with_suffix(".npy"), data)
    return path.with_suffix(".npy")


def tiff(path: Path, data: NDArray[Any], axes: str) -> Path:
    out = path.with_suffix(".ome.tif")
    tifffile.imwrite(out, data, metadata={"axes": axes.upper()}, photometric="minisblack")
    return out


WRITERS: dict[str, Callable[[Path, NDArray[Any], str], Path]] = {
    "ome": ome,
    "plain": plain,
    "npy": npy,
    "tiff": tiff,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_slices_on_t(tmp_path: Path, images: NDArray[Any], command: Command, kind: str) -> None:
    """A stack of one z: its slices lie on t, as some programs save them."""
    place = WRITERS[kind](tmp_path / "t.zarr", images[:, None, None], "tczyx")
    with open_stack(place) as stack:
        assert stack.shape == images.shape
        assert all(np.array_equal(stack[z], images[z]) for z in range(5))
        assert np.array_equal(
            stack.read_block(1, 3, slice(0, 9), slice(2, 7)), images[1:4, :9, 2:7]
        )
    found = command("detect", place, "-o", tmp_path / "f.json")
    assert "1 fold found in 5 slices" in found.out
    done = command(
        "restore", place, "--folds", tmp_path / "f.json", "-o", tmp_path / "o.zarr", *QUICK
    )
    assert done.code == 0
    with open_stack(tmp_path / "o.zarr") as made:
        assert made.shape == images.shape
        assert np.array_equal(made[1], images[1])
        assert not np.array_equal(made[2], images[2])
    assert command("verify", tmp_path / "o.zarr").code == 0
    assert command("export", tmp_path / "o.zarr", "--to", "sofima", "-o", tmp_path / "e").code == 0
    assert command("revert", tmp_path / "o.zarr", "--all").code == 0
    with open_stack(tmp_path / "o.zarr") as made:
        assert all(np.array_equal(made[z], images[z]) for z in range(5))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_choice_on_further_axes(
    tmp_path: Path, images: NDArray[Any], command: Command, zarr_format: int
) -> None:
    other = neuropil((5, 128, 128), seed=9)
    place = ome(tmp_path / "a.zarr", np.stack([other, images], 1), "zcyx", zarr_format)
    assert command("detect", place, "-o", tmp_path / "f.json").code == 0
    assert 2 not in read_folds(tmp_path / "f.json").folds
    found = command("detect", place, "--select", "c=1", "-o", tmp_path / "g.json", "--workers", 1)
    assert "1 fold found in 5 slices" in found.out
    arguments = ("--select", "c=1", "--folds", tmp_path / "g.json")
    for more in ((), ("--overlay",), ("--workers", 1)):
        out = tmp_path / f"o{len(more)}{more[:1]}.zarr"
        assert command("restore", place, *arguments, "-o", out, *more, *QUICK).code == 0
        with open_stack(out, {"c": 1}) as made, open_stack(out) as rest:
            assert np.array_equal(made[1], images[1])
            assert not np.array_equal(made[2], images[2])
            assert np.array_equal(rest[2], other[2])
        assert command("verify", out).code == 0
        assert command("export", out, "--to", "bigwarp", "-o", out.with_suffix(".csvs")).code == 0
        assert command("revert", out, "--all").code == 0
    assert command("info", place, "--select", "c=1", "--json").json["axis c"] == "1 of 2"
    assert command("info", place, "--select", "c=2").code == 2
    assert command("info", place, "--select", "q=2").code == 2


def test_another_axis_of_slices(tmp_path: Path, images: NDArray[Any], command: Command) -> None:
    data = np.stack([images, images[::-1]], 1)  # z, t
    place = ome(tmp_path / "a.zarr", data, "ztyx")
    assert command("info", place, "--json").json["shape (z, y, x)"] == [5, 128, 128]
    told = command("info", place, "--axis", "t", "--select", "z=2", "--json").json
    assert told["shape (z, y, x)"] == [2, 128, 128]
    assert told["slices on axis"] == "t"
    found = command("detect", place, "--axis", "t", "--select", "z=2", "-o", tmp_path / "f.json")
    assert "2 folds found in 2 slices" in found.out
    write_folds(tmp_path / "g.json", {0: [LINE]})
    out = tmp_path / "o.zarr"
    done = command("restore", place, "--axis", "t", "--select", "z=2", "--folds",
                   tmp_path / "g.json", "-o", out, *QUICK)  # fmt: skip
    assert done.code == 0
    with open_stack(out) as made:
        assert np.array_equal(made[3], images[3])
        assert not np.array_equal(made[2], images[2])
    assert command("verify", out).code == 0
    assert command("revert", out, "--all").code == 0


@pytest.mark.parametrize(
    ("axes", "shape", "chosen"),
    [
        ("zyx", (5, 8, 9), 0),
        ("tzyx", (7, 1, 8, 9), 0),
        ("tczyx", (7, 2, 1, 8, 9), 0),
        ("tczyx", (7, 2, 5, 8, 9), 2),
        ("tczyx", (5, 1, 1, 8, 9), 0),
        ("czyx", (3, 1, 8, 9), 1),
        ("czyx", (30, 1, 8, 9), 0),
        ("cyx", (3, 8, 9), 0),
        ("qyx", (3, 8, 9), 0),
        ("yxz", (8, 9, 3), 2),
        ("zyx", (1, 8, 9), 0),
        ("yx", (8, 9), None),
    ],
)
def test_the_axis_that_is_long(axes: str, shape: tuple[int, ...], chosen: int | None) -> None:
    assert choose_axes(axes, shape, {}, "a").slices == chosen


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ({}, "several could count the slices: t .7., q .3."),
        ({"z": 3, "t": SLICES}, "there is no 3"),
        ({"t": SLICES, "q": SLICES}, "Two axes"),
        ({"w": 1}, "no further axis 'w'"),
        ({"t": 4, "q": 0, "z": 0, "x": 3}, "'x'"),
    ],
)
def test_what_cannot_be_chosen_is_one_sentence(select: dict[str, int], words: str) -> None:
    with pytest.raises(StackError, match=words):
        choose_axes("tqzyx", (7, 3, 1, 8, 9), select, "a")


def test_choices_as_people_write_them() -> None:
    assert parse_select("c=0, T=1") == {"c": 0, "t": 1}
    assert parse_select(None, "T") == {"t": SLICES}
    for text, axis in (("c", None), ("c=-1", None), ("y=0", None), ("c=0", "c"), (None, "zz")):
        with pytest.raises(InputError):
            parse_select(text, axis)
