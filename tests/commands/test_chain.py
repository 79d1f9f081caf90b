"""From a damaged stack to a restored one, with the commands alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from PIL import Image

from sff_napari.commands import restore as restore_command
from sff_napari.restoration import DEFAULT_COVER, FUSIONS, INTERPOLATIONS, UNFOLDINGS
from sff_napari.stacks import open_stack, read_folds
from sff_napari.volumes.plan.blocks import DEFAULT_TILE

Command = Callable[..., Any]


def error(image: Any, clean: Any) -> float:
    return float(np.sqrt(np.mean((image.astype(float) - clean) ** 2)))


def test_simulate_writes_damage_and_truth(clean: Path, damaged: Path) -> None:
    before, after = open_stack(clean), open_stack(damaged)
    assert after.shape == before.shape
    assert not np.array_equal(before[2], after[2])
    assert all(np.array_equal(before[z], after[z]) for z in (0, 1, 3, 4))
    truth = read_folds(damaged.with_name("damaged.folds.json"))
    truth.check(after.shape)
    assert truth.slices == [2]
    group = zarr.open_group(damaged, mode="r")
    hidden = np.asarray(group["hidden"][2]) > 0
    flow = np.asarray(group["flow"][2])
    assert 0.01 < hidden.mean() < 0.7
    assert np.array_equal(np.isnan(flow[0]), hidden)


def test_simulate_is_deterministic(
    clean: Path, damaged: Path, tmp_path: Path, command: Command
) -> None:
    done = command(
        "simulate", clean, "-o", tmp_path / "again.tif", "--slices", "2,4", "--kind", "straight",
        "--json",
    )  # fmt: skip
    assert done.code == 0
    assert done.json["slices"] == [2, 4]
    assert np.array_equal(open_stack(tmp_path / "again.tif")[2], open_stack(damaged)[2])


def test_detect_then_restore(clean: Path, damaged: Path, tmp_path: Path, command: Command) -> None:
    folds, out = tmp_path / "folds.json", tmp_path / "out.zarr"
    found = command("detect", damaged, "-o", folds)
    assert found.code == 0
    assert "1 fold found in 5 slices" in found.out
    assert read_folds(folds).slices == [2]

    done = command("restore", damaged, "--folds", folds, "-o", out, "--device", "cpu")
    assert done.code == 0, done.err
    assert "1 slice restored" in done.out
    truth, before, after = open_stack(clean)[2], open_stack(damaged), open_stack(out)
    assert after.dtype == before.dtype
    assert all(np.array_equal(before[z], after[z]) for z in (0, 1, 3, 4))
    assert error(after[2], truth) < 0.8 * error(before[2], truth)

    group = zarr.open_group(out, mode="r")
    synthesised = np.asarray(group["labels/synthesised/0"][2])
    assert 0 < (synthesised == 1).mean() < 0.7
    assert (synthesised == 0).any()
    assert np.isfinite(np.asarray(group["displacement"][2])).any()
    made = json.loads((out / "sff_napari" / "plan.json").read_text())
    assert made["parameters"]["unfolding"] == "law"
    record = json.loads((out / "sff_napari" / "slices" / "000002.json").read_text())
    assert (record["slice"], record["previous"], record["following"]) == (2, 1, 3)
    assert record["folds"][0]["source"] == "detected"

    again = command("restore", damaged, "--folds", folds, "-o", out)
    assert again.code == 0
    assert "Nothing was missing" in again.out
    other = command("restore", damaged, "--folds", folds, "-o", out, "--cover", "3")
    assert other.code == 2
    assert "other settings" in other.err


def test_restore_at_the_end_of_the_stack_and_beside_damage(
    clean: Path, tmp_path: Path, command: Command
) -> None:
    stack = tmp_path / "damaged.tif"
    assert command("simulate", clean, "-o", stack, "--slices", "0,1").code == 0
    done = command(
        "restore", stack, "--folds", tmp_path / "damaged.folds.json", "-o", tmp_path / "out.tif",
        "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    neighbours = [(s["previous"], s["following"]) for s in done.json["slices"]]
    assert neighbours == [(None, 2), (None, 2)]
    assert "Slice 0: " in done.err
    assert (tmp_path / "out.flow.tif").exists()
    assert (tmp_path / "out.restoration.json").exists()


def test_the_help_names_what_the_core_offers() -> None:
    assert restore_command.INTERPOLATIONS == INTERPOLATIONS
    assert restore_command.UNFOLDINGS == UNFOLDINGS
    assert restore_command.FUSIONS == FUSIONS
    assert restore_command.COVER == DEFAULT_COVER
    assert restore_command.TILE == DEFAULT_TILE


def test_detect_prints_the_folds_file(damaged: Path, command: Command) -> None:
    found = command("detect", damaged, "--slices", "1-2", "--json").json
    assert found["format"] == "sff-napari-folds"
    assert found["stack"]["shape"] == [5, 384, 384]
    assert [fold["slice"] for fold in found["folds"]] == [2]


def test_detect_passes_over_an_empty_slice(tmp_path: Path, command: Command) -> None:
    volume = np.random.default_rng(0).normal(0.5, 0.1, (2, 64, 64)).astype(np.float32)
    volume[0] = np.nan
    np.save(tmp_path / "a.npy", volume)
    done = command("detect", tmp_path / "a.npy")
    assert done.code == 0
    assert "Slice 0 was passed over" in done.err
    alone = command("detect", tmp_path / "a.npy", "--slices", "0")
    assert alone.code == 2


def test_calibrate(clean: Path, command: Command) -> None:
    arguments = ("calibrate", clean, "--slices", "1", "--thresholds", "0.5,0.6", "--folds", "1")
    found = command(*arguments, "--json").json
    assert [row["threshold"] for row in found["rows"]] == [0.5, 0.6]
    assert found["best"] in (0.5, 0.6)
    assert all(0 <= row[key] <= 1 for row in found["rows"] for key in ("precision", "recall", "f1"))
    assert found["drift"]["slices"] == [1]
    assert "Drift, on 1 of these slices" in command(*arguments).out
    assert "must be one or more numbers" in command("calibrate", clean, "--thresholds", "2").err


def test_evaluate(clean: Path, command: Command) -> None:
    arguments = ("evaluate", clean, "--folds", "1", "--methods", "damaged,mean", "--slices", "2")
    found = command(*arguments, "--json").json
    assert [row["method"] for row in found["rows"]] == ["damaged", "mean"]
    assert found["kind"] == "straight"
    assert all(5 < row["mean"]["psnr"] < 40 for row in found["rows"])
    assert "mean" in command(*arguments).out
    wrong = command("evaluate", clean, "--methods", "magic")
    assert wrong.code == 2
    assert "magic" in wrong.err


def test_demo(tmp_path: Path, command: Command) -> None:
    done = command("demo", "-o", tmp_path / "demo", "--json")
    assert done.code == 0, done.err
    scores = done.json["scores"]
    assert done.json["folds_detected"] == 1
    assert scores["restored"]["psnr"] > scores["mean"]["psnr"] + 2
    assert scores["restored"]["psnr"] > scores["copy"]["psnr"] + 2
    assert scores["restored"]["ssim"] > scores["damaged"]["ssim"]
    with Image.open(tmp_path / "demo" / "demo.png") as picture:
        assert picture.width > 4 * picture.height
        assert picture.mode == "RGB"


def test_demo_on_a_stack(clean: Path, tmp_path: Path, command: Command) -> None:
    done = command("demo", "--stack", clean, "--slice", "4", "--kind", "straight", "-o", tmp_path)
    assert done.code == 0, done.err
    assert "Slice 4 of clean" in done.out
    for name in ("damaged", "copy", "mean", "restored"):
        assert name in done.out


def test_info(damaged: Path, command: Command) -> None:
    facts = command("info", damaged, "--json").json
    assert facts["shape (z, y, x)"] == [5, 384, 384]
    assert facts["dtype"] == "uint8"
    assert facts["kind"].startswith("OME-Zarr 0.5")
    assert "changed slices" in command("info", damaged).out
    here = command("info", "--json").json
    assert here["devices"][-1].startswith("cpu")
    assert here["torch"]
