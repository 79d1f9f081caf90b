"""``sff-napari enlarge`` as a process, on real files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from sff_napari.commands import main
from sff_napari.commands.enlarge import METHODS
from sff_napari.low_magnification import METHODS as KNOWN


def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sff_napari", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


def reduced(images: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    rows, columns = images.shape[-2] // factor, images.shape[-1] // factor
    blocks = images.reshape(*images.shape[:-2], rows, factor, columns, factor)
    return np.rint(blocks.astype(float).mean(axis=(-3, -1))).astype(np.uint8)


@pytest.fixture(scope="module")
def files(stack: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a stack that lacks slice 2, that slice reduced, and all reduced."""
    folder = tmp_path_factory.mktemp("files")
    lacking = stack.copy()
    lacking[2] = 0
    tifffile.imwrite(
        folder / "stack.tif", lacking, imagej=True, resolution=(1 / 4, 1 / 4),
        metadata={"unit": "nm", "spacing": 40, "axes": "ZYX"},
    )  # fmt: skip
    tifffile.imwrite(folder / "low.tif", reduced(stack[2], 8))
    tifffile.imwrite(folder / "all_low.tif", reduced(stack, 4))
    return folder


def test_the_methods_are_those_of_the_core() -> None:
    assert METHODS == KNOWN


def test_a_slice_goes_into_its_stack_and_can_be_taken_back(
    files: Path, stack: NDArray[np.uint8], tmp_path: Path
) -> None:
    out = tmp_path / "out.zarr"
    before = (files / "stack.tif").read_bytes()
    arguments = ["enlarge", files / "stack.tif", "--low", files / "low.tif", "--at", 2]
    done = run(*arguments, "--low-voxel", 32, "--method", "aligned", "-o", out, "--json")
    told = json.loads(done.stdout)
    assert told["factor"] == 8
    assert told["neighbours"] == 2
    found = zarr.open_group(out, mode="r")
    image = np.asarray(found["0"])
    others = [0, 1, 3, 4]
    np.testing.assert_array_equal(image[others], stack[others])
    assert np.abs(reduced(image[2], 8).astype(float) - reduced(stack[2], 8)).mean() < 1
    assert np.asarray(found["labels/synthesised/0"])[2].any()
    assert not np.asarray(found["labels/synthesised/0"])[others].any()
    assert (files / "stack.tif").read_bytes() == before
    record = json.loads((out / "sff_napari/slices/000002.json").read_text())
    assert record["parameters"]["enlarging"]["low"]["name"] == "low.tif"
    assert "0 wrong" in run("verify", out).stdout
    refused = run(*arguments, "-o", out, code=2)
    assert "exists already" in refused.stderr
    run("revert", out, "--fold", told["name"])
    assert not np.asarray(zarr.open_group(out, mode="r")["0"])[2].any()
    assert "0 wrong" in run("verify", out).stdout


def test_a_changed_chunk_is_noticed(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    run(
        "enlarge", files / "stack.tif", "--low", files / "low.tif", "--at", 2,
        "--method", "bicubic", "-o", out,
    )  # fmt: skip
    zarr.open_group(out, mode="r+")["0"][2, 5, 5] = 7
    assert "is not what was written" in run("verify", out, code=3).stdout


def test_a_whole_stack(files: Path, stack: NDArray[np.uint8], tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    run(
        "enlarge", files / "all_low.tif", "--mode", "stack", "--factor", 4,
        "--method", "back-projected", "--slices", "1-2", "-o", out,
    )  # fmt: skip
    group = zarr.open_group(out, mode="r")
    made = np.asarray(group["0"])
    assert made.shape == (2, *stack.shape[1:])
    errors = np.abs(reduced(made, 4).astype(float) - reduced(stack[1:3], 4))
    assert errors.mean() < 1
    assert group["synthesised"].shape == group["confidence"].shape == made.shape
    assert [one["slice"] for one in group.attrs["sff_napari"]["slices"]] == [1, 2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--factor", "4"], "the factor is about 8"),
        (["--factor", "2.5"], "whole number"),
        (["--factor", "8", "--low-voxel", "32"], "not both"),
        (["--low-voxel", "30"], "only whole multiples"),
        (["--placement", "0,1,900,0"], "does not overlap"),
        (["--placement", "0,1"], "not four numbers"),
        (["--at", "9"], "has slices 0 to 4"),
        (["--weights", "nowhere"], "no enlarging weights"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(
    files: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    words: str,
) -> None:
    out = tmp_path / "out.zarr"
    arguments = ["enlarge", files / "stack.tif", "--low", files / "low.tif", "--at", 2, "-o", out]
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments), *options])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert words in told
    assert len(told.strip().splitlines()) == 1
    assert not out.exists()
