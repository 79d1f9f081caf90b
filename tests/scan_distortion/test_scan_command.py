"""The command ``sff-napari scan``, with verify and revert, on files on disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import zarr

import sff_napari as sff
from sff_napari.commands import main
from sff_napari.commands import scan as scan_command
from sff_napari.scan_distortion import METHODS, specimen
from sff_napari.stacks import open_stack, write_stack


@pytest.fixture(scope="module")
def measured() -> np.ndarray:
    tissue = [specimen("tissue", (96, 96), seed) for seed in range(3)]
    return np.stack(
        [
            sff.simulate_scan(np.rint(image * 255).astype(np.uint8), z, counts=50).distorted
            for z, image in enumerate(tissue)
        ]
    )


@pytest.fixture
def stack(measured: np.ndarray, tmp_path: Path) -> Path:
    return write_stack(tmp_path / "stack.zarr", measured)


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sff_napari", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_restore_verify_and_revert(
    stack: Path, measured: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.zarr"
    done = call("scan", stack, "-o", out, "--slices", "0,2", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert [row["slice"] for row in record["slices"]] == [0, 2]
    assert record["slices"][0]["report"]["weights"]
    group = zarr.open_group(out, mode="r")
    np.testing.assert_array_equal(group["measured"][0], measured[0])
    np.testing.assert_array_equal(group["0"][1], measured[1])
    expected = sff.restore_scan(measured[2])
    np.testing.assert_array_equal(group["0"][2], expected.restored)
    np.testing.assert_array_equal(group["displacement"][2], expected.displacement)
    np.testing.assert_array_equal(open_stack(stack)[0], measured[0])

    assert run("verify", out, "--json", capsys=capsys)["restored"] == [0, 2]
    assert run("revert", out, "--slices", "2", "--json", capsys=capsys)["reverted"] == [2]
    np.testing.assert_array_equal(open_stack(out)[2], measured[2])
    assert run("verify", out, "--json", capsys=capsys)["reverted"] == [2]

    pixels = zarr.open_group(out, mode="r+")["0"]
    pixels[0, 5, 5] = 255 - int(pixels[0, 5, 5])
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(out)])
    assert ended.value.code == 3
    assert "slice 0 is not what was written" in capsys.readouterr().out
    assert run("revert", out, "--all", "--json", capsys=capsys)["reverted"] == [0]
    np.testing.assert_array_equal(np.stack(list(open_stack(out))), measured)


def test_an_mrc_file_along_y_with_moved_pixels_alone(
    measured: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "stack.mrc", tmp_path / "out.zarr"
    with mrcfile.new(source) as file:
        file.set_data(measured.astype(np.float32))
    made = run(
        "scan", source, "-o", out, "--fast-axis", "y", "--displacement-only", "--neighbours",
        "--strength", "0.5", "--method", "gaussian", "--json", capsys=capsys,
    )  # fmt: skip
    assert made["parameters"]["displacement_only"]
    assert made["parameters"]["fast_axis"] == "y"
    assert made["parameters"]["neighbours"]
    assert open_stack(out).dtype == np.float32


def run(*arguments: object, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command in this process; return its JSON."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert not ended.value.code, printed.err
    return json.loads(printed.out)


def sentence(*arguments: object, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that fails; return what it says, which is one line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip()
    assert "Traceback" not in said
    return said


def test_slices_without_image_stay_and_are_named(
    measured: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = measured.copy()
    images[1] = 7
    source = write_stack(tmp_path / "gap.tif", images)
    out = tmp_path / "out.zarr"
    made = run("scan", source, "-o", out, "--method", "median", "--json", capsys=capsys)
    assert made["notes"] == ["Slice 1 holds no image: it stays as it is."]
    np.testing.assert_array_equal(open_stack(out)[1], images[1])
    again = tmp_path / "again.zarr"
    said = sentence("scan", source, "-o", again, "--slices", "1", capsys=capsys)
    assert "Slice 1: The image has one value throughout" in said
    assert not again.exists()


def test_bad_input_is_one_sentence_and_code_2(
    stack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.zarr"
    nothing = write_stack(tmp_path / "nothing.tif", np.full((2, 64, 64), 5, np.uint8))
    tiny = write_stack(tmp_path / "tiny.tif", np.eye(16, dtype=np.uint8)[None])
    lost = write_stack(tmp_path / "lost.zarr", np.full((1, 64, 64), np.nan, np.float32))
    for arguments, words in (
        ((nothing, "-o", out), "nothing to restore"),
        ((tiny, "-o", out), "at least 32 x 32"),
        ((lost, "-o", out), "nothing to restore"),
        ((stack, "-o", out, "--fast-axis", "z"), "'z' is not one of 'x', 'y'"),
        ((stack, "-o", out, "--strength", "3"), "not in the range"),
        ((stack, "-o", out, "--slices", "9"), "9"),
        ((stack, "-o", tmp_path / "out.tif"), "with .zarr at the end"),
        ((stack, "-o", out, "--method", "cgrdn"), "--stages scan_cgrdn"),
        ((stack, "-o", out, "--device", "toaster"), "no device"),
        ((tmp_path / "none.mrc", "-o", out), "none.mrc"),
    ):
        assert words in sentence("scan", *arguments, capsys=capsys)
        assert not out.exists()


def test_revert_and_verify_tell_scans_and_folds_apart(
    stack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.zarr"
    run("scan", stack, "-o", out, "--slices", "0", "--method", "median", "--json", capsys=capsys)
    assert "was not restored" in sentence("revert", out, "--slices", "1", capsys=capsys)
    assert "--slices, or --all" in sentence("revert", out, capsys=capsys)
    assert "--slices, or --all" in sentence("revert", out, "--fold", "z0-0", capsys=capsys)
    assert "no volume" in sentence("verify", stack, capsys=capsys)


def test_the_choices_of_the_command_are_those_of_the_core() -> None:
    assert scan_command.METHODS == METHODS
