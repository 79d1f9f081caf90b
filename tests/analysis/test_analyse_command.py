"""``sff-napari analyse``, and its ranges in simulate, evaluate and training."""

from __future__ import annotations

import json

import pytest

from sff_napari.analysis import block_matching
from sff_napari.commands import analyse as analyse_command
from sff_napari.simulation import RealisticRanges, read_ranges, write_ranges
from sff_napari.stacks import read_folds, write_folds, write_stack


@pytest.fixture(scope="module")
def stored(known, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    write_stack(folder / "stack.tif", known.stack)
    write_folds(folder / "folds.json", known.folds)
    return folder


def test_analysis_to_simulation(command, stored, tmp_path):
    ended = command(
        "analyse", stored / "stack.tif", "--folds", stored / "folds.json",
        "--slices", "1,3", "--range", 60, "-o", tmp_path,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "2 folds against the neighbours" in ended.out
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {
        "analysis.json",
        "analysis.txt",
        "analysis.png",
        "analysis.svg",
        "ranges.json",
    }
    assert len(json.loads((tmp_path / "analysis.json").read_text())["folds"]) == 2
    ranges = read_ranges(tmp_path / "ranges.json")

    ended = command(
        "simulate", stored / "stack.tif", "-o", tmp_path / "more.tif", "--slices", "4,6",
        "--ranges", tmp_path / "ranges.json",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    for folds in read_folds(tmp_path / "more.folds.json").folds.values():
        width = ranges.half_width[1] * 2.72 ** (1.8 * ranges.half_width_variation)
        assert folds[0].half_width <= width


def test_ranges_change_what_is_simulated(command, stored, tmp_path):
    write_ranges(tmp_path / "thin.json", RealisticRanges(half_width=(2.0, 2.1)))
    ended = command(
        "simulate", stored / "stack.tif", "-o", tmp_path / "thin.tif", "--slices", "2",
        "--ranges", tmp_path / "thin.json",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    ((fold,),) = read_folds(tmp_path / "thin.folds.json").folds.values()
    assert 1.2 < fold.half_width < 3.5


def test_json(command, stored):
    ended = command(
        "analyse", stored / "stack.tif", "--folds", stored / "folds.json", "--slices", "5",
        "--range", "60", "--json",
    )  # fmt: skip
    assert ended.json()["folds"][0]["z"] == 5


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--slices", "2"], "no fold on slice 2"),
        (["--block", "900"], "cannot be used"),
        (["--overlap", "80"], "not possible"),
        (["--device", "toaster"], "toaster"),
    ],
)
def test_what_makes_no_sense(command, stored, options, says):
    folds = stored / "folds.json"
    ended = command("analyse", stored / "stack.tif", "--folds", folds, *options)
    assert ended.code == 2
    assert says in ended.err
    assert "Traceback" not in ended.err


def test_straight_folds_have_no_ranges(command, stored, tmp_path):
    write_ranges(tmp_path / "r.json", RealisticRanges())
    ended = command(
        "simulate", stored / "stack.tif", "-o", tmp_path / "x.tif", "--kind", "straight",
        "--ranges", tmp_path / "r.json",
    )  # fmt: skip
    assert ended.code == 2
    assert "realistic folds" in ended.err


def test_the_defaults_are_those_of_the_analysis():
    own = (analyse_command.BLOCK, analyse_command.OVERLAP, analyse_command.RANGE)
    assert own == (block_matching.BLOCK, block_matching.OVERLAP, block_matching.RANGE)
