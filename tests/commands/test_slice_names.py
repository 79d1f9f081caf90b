"""Folders of images whose names say where slices lie: gaps, doubles, signs, decimals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sff_napari.errors import StackError
from sff_napari.folds import Fold
from sff_napari.simulation import neuropil, simulate_fold
from sff_napari.stacks import open_stack, write_folds
from sff_napari.stacks.slice_names import natural_key, positions_of

Command = Callable[..., Any]
QUICK = ("--interpolation", "mean", "--unfolding", "none", "--fusion", "stitch", "--device", "cpu")
LINE = Fold([(0, 40), (95, 50)], 4)


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    found = neuropil((7, 96, 96), seed=2)
    found[3] = simulate_fold(found[3], LINE, hidden_half_width=10).damaged
    return found


def save(folder: Path, names: list[str], images: NDArray[Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, image in zip(names, images, strict=True):
        if name.endswith(".tif"):
            tifffile.imwrite(folder / name, image)
        else:
            Image.fromarray(image).save(folder / name)
    return folder


@pytest.mark.parametrize(
    ("numbers", "previous", "following", "note"),
    [
        ([1, 2, 3, 4, 9, 10, 11], 2, None, "No undamaged next slice lies within 3 slices."),
        ([1, 2, 3, 4, 6, 7, 8], 2, 4, "The next slice that is there, 4, lies 2 slices away."),
        (
            [10, 20, 30, 40, 60, 70, 80],
            2,
            4,
            "The next slice that is there, 4, lies 2 slices away.",
        ),
        ([1, 2, 3, 4, 5, 6, 7], 2, 4, ""),
        ([1, 2, 3, 20, 21, 22, 23], None, 4, "No undamaged previous slice lies within 3 slices."),
    ],
)
@pytest.mark.parametrize("ending", ["zarr", "tif"])
def test_gaps_count_as_distance(
    tmp_path: Path, images: NDArray[Any], command: Command, ending: str,
    numbers: list[int], previous: int | None, following: int | None, note: str,
) -> None:  # fmt: skip
    folder = save(tmp_path / "in", [f"sec_{n:04d}.png" for n in numbers], images)
    write_folds(tmp_path / "f.json", {3: [LINE]})
    out = tmp_path / f"out.{ending}"
    done = command("restore", folder, "--folds", tmp_path / "f.json", "-o", out, *QUICK)
    assert done.code == 0
    if ending == "zarr":
        record = json.loads((out / "sff_napari/slices/000003.json").read_text())
    else:
        (record,) = json.loads((tmp_path / "out.restoration.json").read_text())["slices"]
    assert (record["previous"], record["following"]) == (previous, following)
    assert record["note"] == note
    assert not note or note in done.err
    missing = command("info", folder, "--json").json.get("missing in the names", "")
    assert bool(missing) == bool(note)


def test_gaps_are_named(tmp_path: Path, images: NDArray[Any]) -> None:
    names = [f"sec_{n:04d}.png" for n in (1, 2, 3, 4, 9, 10, 11)]
    with open_stack(save(tmp_path / "in", names, images)) as stack:
        assert stack.positions == (0, 1, 2, 3, 8, 9, 10)
        assert stack.details["missing in the names"] == "4 between sec_0004 and sec_0009"


@pytest.mark.parametrize("second", ["s_{}.png", "s_{}_preview.tif", "thumb_{}.tif", "s_{:03d}.tif"])
def test_doubles_are_refused(
    tmp_path: Path, images: NDArray[Any], command: Command, second: str
) -> None:
    folder = save(tmp_path / "in", [f"s_{n}.tif" for n in range(7)], images)
    save(folder, [second.format(n) for n in range(7)], images)
    for arguments in (("info", folder), ("detect", folder)):
        done = command(*arguments)
        assert done.code == 2
        assert "holds two images of one slice" in done.err
    with pytest.raises(StackError, match="holds two images of one slice"):
        open_stack(folder)


@pytest.mark.parametrize(
    "names",
    [
        [f"z={z}nm.tif" for z in range(-80, 200, 40)],
        [f"s_{z * 0.5:.1f}.tif" for z in range(7)],
        [f"s_{z}.tif" for z in range(7, 14)],
        [f"slice-{z}.tif" for z in range(5, 12)],
        [f"2020-01-{z}_a.tif" for z in range(5, 12)],
        [f"pos_-{z}_x.tif" for z in range(11, 4, -1)],
        [f"z{z * 0.05:.2f}um_t1.tif" for z in range(7)],
        [f"SEM {z}.5 um.tif" for z in range(6, 13)],
    ],
)
def test_signs_and_decimals_are_sorted(
    tmp_path: Path, images: NDArray[Any], names: list[str]
) -> None:
    with open_stack(save(tmp_path / "in", names, images)) as stack:
        assert all(np.array_equal(stack[z], images[z]) for z in range(7))
        assert stack.positions is None


@given(st.lists(st.integers(-500, 500), min_size=3, max_size=12, unique=True))
def test_any_numbers(numbers: list[int]) -> None:
    names = [Path(f"a={n}.png") for n in numbers]
    ordered = sorted(names, key=natural_key)
    assert [int(path.stem[2:]) for path in ordered] == sorted(numbers)
    found = positions_of([path.stem for path in ordered])
    assert found is None or list(found) == sorted(found)
