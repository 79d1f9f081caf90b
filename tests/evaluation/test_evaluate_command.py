"""``sff-napari evaluate`` in its modes."""

from __future__ import annotations

import json

import pytest

from sff_napari.simulation import RealisticRanges, write_ranges


def test_segmentation_and_ranges(command, small, tmp_path):
    write_ranges(tmp_path / "ranges.json", RealisticRanges(gap=(12, 13), half_width=(4, 5)))
    ended = command(
        "evaluate", small, "--folds", 2, "--methods", "damaged,mean", "--kind", "realistic",
        "--ranges", tmp_path / "ranges.json", "--segmentation", "--json",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    rows = {row["method"]: row for row in ended.json()["rows"]}
    assert rows["damaged"]["recovered"]["arand"][0] == 0
    assert abs(rows["clean"]["mean"]["voi"]) < 1e-9


def test_instances(command, small):
    ended = command(
        "evaluate", small, "--folds", 1, "--methods", "damaged", "--instances", small
    )  # any integers will do
    assert ended.code == 0, ended.err
    assert "against the instances" in ended.out


def test_perturb(command, small):
    ended = command(
        "evaluate", small, "--folds", 1, "--methods", "mean",
        "--perturb", "brightness=+20%", "--perturb", "blur=1",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "20 % brighter" in ended.out
    assert "blurred by 1 px" in ended.out


def test_injected_drift_and_shifted_neighbours(command, small):
    options = ["evaluate", small, "--folds", 2, "--methods", "mean,ceiling"]
    plain, drifted, shifted = (
        command(*options, *more, "--json").json()
        for more in ((), ("--inject-drift", 5), ("--shift-neighbours", 3, -4.5))
    )
    assert plain["conditions"] is None
    assert drifted["conditions"] == "drift of 5 px rms injected"
    assert shifted["conditions"] == "neighbours ±(3, -4.5) px off"
    for record in (drifted, shifted):
        mean, ceiling = record["rows"]
        # Neither touches the true flow; both put the neighbours farther from the slice.
        assert ceiling["mean"]["flow_error"] == 0
        assert mean["mean"]["psnr"] < plain["rows"][0]["mean"]["psnr"] - 0.1
    ended = command(*options, "--perturb", "shift=3/-4.5", "--inject-drift", 2)
    assert ended.code == 0, ended.err
    assert "drift of 2 px rms injected" in ended.out


def test_everything_is_saved_beside_the_table(command, small, tmp_path):
    file = tmp_path / "found.json"
    ended = command("evaluate", small, "--folds", 3, "--methods", "mean,ceiling", "--save", file)
    assert ended.code == 0, ended.err
    assert "ceiling" in ended.out
    record = json.loads(file.read_text())
    assert record["stack"] == "small.tif"
    scores = [one["psnr"] for one in record["per_fold"]["mean"]]
    assert len(scores) == 3
    assert sum(scores) / 3 == pytest.approx(record["rows"][0]["mean"]["psnr"], abs=1e-4)
    assert record["per_fold"]["mean"][0]["flow_error"] is None
    ended = command("evaluate", small, "--folds", 1, "--methods", "mean", "--save", tmp_path)
    assert ended.code == 2
    assert "Traceback" not in ended.err


def test_leave_one_out(command, small):
    ended = command("evaluate", small, "--leave-one-out", "--slices", "1", "--json")
    assert ended.code == 0, ended.err
    record = ended.json()
    assert record["slices"][0]["psnr"].keys() >= {"copy", "mean", "motion", "network", "restored"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--perturb", "magic=1"], "cannot be read"),
        (["--leave-one-out", "--perturb", "blur=1"], "no effect with --leave-one-out"),
        (["--perturb", "blur=1", "--segmentation"], "no effect with --perturb"),
        (["--damaged", "1"], "no effect without"),
        (["--inject-drift", "-1"], "cannot be injected"),
        (["--inject-drift", "nan"], "cannot be injected"),
        (["--shift-neighbours", "nan", "1"], "finite numbers"),
        (["--shift-neighbours", "1", "1", "--perturb", "blur=1"], "no effect with --perturb"),
        (["--inject-drift", "1", "--leave-one-out"], "no effect with --leave-one-out"),
        (["--ranges", "nothing.json"], "no file of ranges"),
    ],
)
def test_what_makes_no_sense(command, small, options, says):
    ended = command("evaluate", small, *options)
    assert ended.code == 2
    assert says in ended.err
    assert "Traceback" not in ended.err
