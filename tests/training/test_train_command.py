"""``sff-napari-train`` from end to end, and through kills and interruptions."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sff_napari.commands.train import main
from sff_napari.errors import Cancelled, InputError, StackError
from sff_napari.networks import weights
from sff_napari.training import TrainingSettings, train
from sff_napari.training.settings import STAGES

QUICK = [
    "--width=0.05", "--iterations=4", "--batch=2", "--crop=64", "--margin=36", "--validate-every=2",
    "--save-every=1", "--val-samples=2", "--threads=1", "--device=cpu", "--folds=mixed",
]  # fmt: skip


def run(*arguments: str | Path) -> int:
    """Run the command here and return its exit code."""
    threads = torch.get_num_threads()
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as error:
        return int(error.code or 0)
    finally:
        torch.set_num_threads(threads)
    return 0


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start the command as its own process."""
    return subprocess.Popen(
        [sys.executable, "-m", "sff_napari.commands.train", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a file is there."""
    until = time.monotonic() + 90
    while not path.exists():
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            raise AssertionError(f"no {path.name}: {process.communicate()[1]}")
        time.sleep(0.02)


def rows(folder: Path) -> list[dict[str, str]]:
    """Return the log without the times."""
    with (folder / "log.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "minutes"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def arguments(stacks: Path) -> list[str]:
    """Return data arguments and options of a run that takes a few seconds."""
    return [
        f"{stacks / 'a.tif'}:0-4",
        str(stacks / "b.zarr"),
        f"--validate={stacks / 'a.tif'}:6-7",
        *QUICK,
    ]


@pytest.fixture(scope="module")
def finished(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that nothing disturbed, made by its own process."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    process = start(*arguments, "-o", folder, "--licence", "CC0", "--data-note", "synthetic")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.split() == [str(folder / f"{stage}.safetensors") for stage in STAGES]
    assert "fusion 4" in err
    return folder


def test_a_run_leaves_everything_behind(finished: Path, arguments: list[str]) -> None:
    for kind in STAGES:
        network = weights.load(kind, finished)
        assert network.width == 0.05
        found = weights.info(kind, finished)
        assert found.data == "a.tif:0-4, b.zarr"
        assert found.scores["loss"] > 0
        assert (finished / "checkpoints" / f"{kind}_last.pt").exists()
        assert len(list((finished / "pictures").glob(f"{kind}_*.png"))) == 2
    log = rows(finished)
    assert [(row["stage"], row["iteration"]) for row in log] == [
        (stage, iteration) for stage in STAGES for iteration in ("2", "4")
    ]
    assert all(float(row["train_loss"]) > 0 for row in log)
    assert TrainingSettings.from_dict(json.loads((finished / "run.json").read_text())).width == 0.05


def test_the_card_says_what_was_done(finished: Path) -> None:
    card = (finished / "CARD.md").read_text()
    for text in ("a.tif:0-4", "CC0", "synthetic", "sff-napari-train", "Seed 0", "PSNR", "--width"):
        assert text in card
    for kind in STAGES:
        assert weights.digest(kind, finished) in card


def same_weights(first: Path, second: Path) -> bool:
    """Tell whether two runs ended with the same weights, bit for bit."""
    for kind in STAGES:
        a, b = (load_file(folder / f"{kind}.safetensors") for folder in (first, second))
        last = [
            torch.load(folder / "checkpoints" / f"{kind}_last.pt", weights_only=True)["network"]
            for folder in (first, second)
        ]
        if not all(torch.equal(a[name], b[name]) for name in a):
            return False
        if not all(torch.equal(last[0][name], last[1][name]) for name in last[0]):
            return False
    return True


def test_killed_runs_end_as_if_nothing_had_happened(
    finished: Path, arguments: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    options = [*arguments, "-o", folder, "--licence", "CC0"]
    process = start(*options)
    wait_for(folder / "checkpoints" / "interpolation_last.pt", process)
    process.kill()
    process.communicate()
    process = start("--resume", "-o", folder)
    wait_for(folder / "checkpoints" / "unfolding_last.pt", process)
    process.kill()
    process.communicate()
    assert not (folder / "fusion.safetensors").exists()
    assert run(*options, "--resume") == 0
    assert same_weights(folder, finished)
    assert rows(folder) == rows(finished)
    card = (folder / "CARD.md").read_text()
    assert "Commands, in order" in card
    assert card.count("sff-napari-train") == 3


if os.name == "posix":

    def test_ctrl_c_saves_and_exits_with_130(
        finished: Path, arguments: list[str], tmp_path: Path
    ) -> None:
        folder = tmp_path / "interrupted"
        process = start(*arguments, "--iterations=100000", "--save-every=100000", "-o", folder)
        wait_for(folder / "pictures" / "interpolation_0000002.png", process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Traceback" not in err
        assert err.splitlines()[-1].startswith("Interrupted; the last checkpoint is saved")
        state = torch.load(folder / "checkpoints" / "interpolation_last.pt", weights_only=True)
        assert state["state"]["iteration"] >= 2


def test_stopping_and_going_on_changes_nothing(
    finished: Path, quick: dict[str, Any], tmp_path: Path
) -> None:
    """Stop at every iteration there is; the settings are those of the finished run."""
    settings = TrainingSettings(**(quick | {"val_samples": 2, "folds": "mixed"}))
    threads = torch.get_num_threads()
    stops = 0
    for attempt in range(40):
        asked = iter([False, True])
        try:
            train(settings, tmp_path / "s", resume=attempt > 0, stop=lambda: next(asked, True))  # noqa: B023
            break
        except Cancelled:
            stops += 1
    torch.set_num_threads(threads)
    assert stops >= 3 * 4
    assert same_weights(tmp_path / "s", finished)
    assert rows(tmp_path / "s") == rows(finished)


def test_workers_change_nothing(finished: Path, arguments: list[str], tmp_path: Path) -> None:
    assert run(*arguments, "-o", tmp_path / "w", "--workers=1") == 0
    assert same_weights(tmp_path / "w", finished)


def test_two_processes_train_together(arguments: list[str], tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    command = [
        *launcher,
        "-m",
        "sff_napari.commands.train",
        *arguments,
        "-o",
        str(tmp_path / "two"),
    ]
    done = subprocess.run(
        [*command, "--stages=unfolding", f"--before={_small_set(tmp_path)}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert weights.load("unfolding", tmp_path / "two").width == 0.05
    assert [row["iteration"] for row in rows(tmp_path / "two")] == ["2", "4"]


def _small_set(folder: Path) -> Path:
    """Write an untrained interpolation network and return its folder."""
    network = weights.NETWORKS["interpolation"](0.05)
    record = weights.WeightsInfo("interpolation", 0.05)
    weights.save_weights(folder / "interpolation.safetensors", network, record)
    return folder


def test_the_time_limit_ends_every_stage(arguments: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "timed"
    began = time.monotonic()
    assert run(*arguments, "--iterations=1000000", "--max-minutes=0.04", "-o", folder) == 0
    assert time.monotonic() - began < 60
    log = rows(folder)
    assert list(dict.fromkeys(row["stage"] for row in log)) == list(STAGES)
    rates = [float(row["learning_rate"]) for row in log if row["stage"] == "fusion"]
    # The rate follows the time: it is nearly down when the time is over.
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 5e-5
    for kind in STAGES:
        assert weights.info(kind, folder).scores["loss"] > 0


def test_more_time_goes_on_with_the_last_stage(arguments: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "longer"
    options = ["--iterations=1000000", "--stages=interpolation,fusion", "-o", folder]
    assert run(*arguments, *options, "--max-minutes=0.03") == 0
    first = {stage: [row for row in rows(folder) if row["stage"] == stage] for stage in STAGES}
    # The time is used up: there is nothing to go on with.
    assert run("--resume", "-o", folder) == 0
    assert [row for stage in STAGES for row in first[stage]] == rows(folder)
    assert run("--resume", "-o", folder, "--max-minutes=0.08") == 0
    then = {stage: [row for row in rows(folder) if row["stage"] == stage] for stage in STAGES}
    assert int(then["fusion"][-1]["iteration"]) > int(first["fusion"][-1]["iteration"])
    # Fusion was trained on what interpolation had learned: that stays.
    assert then["interpolation"] == first["interpolation"]


def test_early_stopping(arguments: list[str], tmp_path: Path) -> None:
    options = ["--iterations=400", "--stages=interpolation", "--validate-every=1", "--patience=2"]
    # Such steps only make it worse, so the first validation stays the best.
    folder = tmp_path / "early"
    assert run(*arguments, *options, "--rate=0.02", "-o", folder) == 0
    log = rows(folder)
    assert len(log) < 100
    assert [row["best"] for row in log[-2:]] == ["0", "0"]
    best = min(float(row["validation_loss"]) for row in log)
    assert weights.info("interpolation", folder).scores["loss"] == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--batch=0"], "batch is 0"),
        (["--rate=fast"], "not a number"),
        (["--stages=repair"], "no stage repair"),
        (["--crop=4096"], "smaller than the crop of 4096"),
        (["--device=tpu"], "device"),
        (["--folds=round"], "round"),
        (["--validate=nowhere.tif"], "nowhere.tif"),
        (["--stages=fusion", "--before=nowhere"], "no interpolation weights"),
        (["--resume"], "no training run to resume"),
    ],
)
def test_bad_arguments_are_one_sentence(
    change: list[str],
    says: str,
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(*arguments, *change, "-o", tmp_path / "x") == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_no_data_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-o", tmp_path / "x") == 2
    assert "nothing to train on" in capsys.readouterr().err
    assert run("data.tif") == 2
    assert "--out" in capsys.readouterr().err


def test_a_folder_with_a_run_is_kept(
    finished: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "fusion.safetensors").read_bytes()
    assert run(*arguments, "-o", finished) == 2
    assert "--resume" in capsys.readouterr().err
    assert run(*arguments, "-o", finished, "--resume", "--seed=5") == 2
    assert "other settings (seed)" in capsys.readouterr().err
    assert (finished / "fusion.safetensors").read_bytes() == before


def test_a_damaged_checkpoint_is_named(quick: dict[str, Any], tmp_path: Path) -> None:
    settings = TrainingSettings(**(quick | {"stages": ("interpolation",), "iterations": 1}))
    train(settings, tmp_path / "d")
    path = tmp_path / "d" / "checkpoints" / "interpolation_last.pt"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"interpolation_last\.pt is damaged"):
        train(settings, tmp_path / "d", resume=True)


def test_a_full_disk_is_one_sentence_and_the_last_checkpoint_stays(
    quick: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TrainingSettings(**(quick | {"stages": ("interpolation",)}))
    path = tmp_path / "f" / "checkpoints" / "interpolation_last.pt"
    sync = os.fsync

    def full(handle: int) -> None:
        if path.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StackError, match="disk is full"):
        train(settings, tmp_path / "f")
    assert torch.load(path, weights_only=True)["state"]["iteration"] == 1
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_made(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    assert run(*arguments, "-o", tmp_path / "file" / "run") == 2
    assert "could not be written" in capsys.readouterr().err
