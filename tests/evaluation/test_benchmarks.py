"""The scripts that print the tables of the documentation."""

from __future__ import annotations

import importlib
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

import sff_napari.evaluation.injected as injected
from sff_napari.commands.evaluate import command as evaluate_command
from sff_napari.evaluation import Trials, psnr
from sff_napari.evaluation.methods import METHODS, Settings

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):
    """Import a script by its name."""
    if not FOLDER.is_dir():
        pytest.skip("the benchmarks are not part of an installed package")
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name: str) -> ModuleType:
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    return load


def test_intervals(script):
    bootstrap = script("bootstrap")
    values = np.random.default_rng(0).normal(3, 1, 400)
    mean, low, high = bootstrap.interval(np.append(values, np.nan))
    assert mean == pytest.approx(values.mean())
    assert low == pytest.approx(mean - 1.96 / 20, abs=0.02)
    assert high == pytest.approx(mean + 1.96 / 20, abs=0.02)
    assert np.isnan(bootstrap.interval(np.full(3, np.nan))).all()
    ratio, low, high = bootstrap.ratio_interval(2 * values, values)
    assert (ratio, low, high) == pytest.approx((2, 2, 2))


def test_every_call_is_one_the_command_knows(script):
    tables = script("tables")
    headings = (FOLDER.parent / "docs" / "evaluation.md").read_text(encoding="utf-8")
    for heading, calls in tables.TABLES.items():
        if heading != "Shifted neighbours":
            assert f"\n## {heading}\n" in headings
        for arguments in calls:
            words = shlex.split(arguments)
            context = evaluate_command.make_context("evaluate", [*words, "--folds", "3"])
            methods = context.params["methods"]
            assert methods is None or set(methods.split(",")) <= METHODS.keys()


def test_nothing_is_measured_twice(script, small, tmp_path, monkeypatch, capsys):
    tables = script("tables")
    monkeypatch.setattr(
        tables, "TABLES", {"One": ("small.tif --methods mean", "small.tif --methods copy")}
    )
    run = tables.Runner(small.parent, tmp_path / "kept", 2)
    tables.print_tables(run, ["One"])
    first = capsys.readouterr().out
    assert "sff-napari evaluate small.tif --methods mean --folds 2\n```" in first
    assert "2 straight folds, slices 1-2, seed 0" in first
    scores = tables.per_fold(run("small.tif --methods mean")[1], "mean", "psnr")
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()
    monkeypatch.setattr(subprocess, "run", None)
    tables.print_tables(run, ["One"])
    assert capsys.readouterr().out == first


def test_goals_in_words(script):
    tables = script("tables")
    reached = tables.Goal("PSNR", (22.5, 22.0, 23.0), 22.3, True).line()
    assert reached == "| PSNR | 22.50 (22.00..23.00) | >= 22.3 | yes |"
    assert tables.Goal("EPE", (0.9, 0.8, 1.0), 0.8).line().endswith("| <= 0.8 | no |")


def test_a_constant_is_changed_wherever_it_is_used(script):
    left_out = script("leave_stack_out")
    name = "sff_napari.evaluation.injected._FALL"
    before = left_out.current(name)
    drift = [injected.random_drift((900, 900), 1.0, np.random.default_rng(0)) for _ in range(2)]
    with left_out.changed(name, 9.0):
        assert left_out.current(name) == 9.0
        other = injected.random_drift((900, 900), 1.0, np.random.default_rng(0))
    assert np.array_equal(*drift)
    assert not np.array_equal(drift[0], other)
    assert left_out.current(name) == before
    # One that was imported by name is changed there, too.
    with left_out.changed("sff_napari.evaluation.calibration.WITHIN", 7.0):
        assert left_out.current("sff_napari.evaluation.calibration.WITHIN") == 7.0
    with pytest.raises(SystemExit, match="no constant"):
        left_out.current("sff_napari.evaluation.injected._NOTHING")


def test_the_constants_of_the_table_exist(script):
    left_out = script("leave_stack_out")
    for name, values in left_out.CONSTANTS.items():
        assert isinstance(values[0], type(left_out.current(name)))


def test_the_stack_left_out_has_no_say(script, monkeypatch):
    left_out = script("leave_stack_out")
    name = "sff_napari.evaluation.injected._FALL"
    now = left_out.current(name)
    monkeypatch.setattr(left_out, "CONSTANTS", {name: (1.0, 9.0)})
    # The odd one out wants 9, all others 1.
    errors = {
        "odd": {now: 2.0, 1.0: 4.0, 9.0: 1.0},
        "b": {now: 2.0, 1.0: 1.5, 9.0: 2.5},
        "c": {now: 2.0, 1.0: 1.5, 9.0: 2.5},
    }
    monkeypatch.setattr(left_out, "STACKS", dict.fromkeys(errors))
    lines = list(left_out.choices(lambda n, v, s: {"epe": errors[s][v]}, name, "epe"))
    cells = {line.split("|")[1].strip(): line.split("|")[2:] for line in lines[:3]}
    # left out: chosen, gives, in the code, gives, best here, gives
    assert [float(x) for x in cells["odd"][:6]] == [1.0, 4.0, now, 2.0, 9.0, 1.0]
    assert [float(x) for x in cells["b"][:6]] == [9.0, 2.5, now, 2.0, 1.0, 1.5]


def test_a_slice_is_matched_with_itself(script, stack):
    matching = script("matching")
    image = torch.from_numpy(stack[1].astype(np.float32) / 255)
    warped, loop = matching.errors([image, image, image], np.random.default_rng(0))
    assert loop < 0.1
    assert 0 < warped < 2.5
    others = [torch.from_numpy(one.astype(np.float32) / 255) for one in stack[:3]]
    assert matching.errors(others, np.random.default_rng(0))[1] > loop


def test_drift_is_checked_against_the_same_folds(script, monkeypatch, capsys, tmp_path):
    checks = script("drift_checks")
    monkeypatch.setattr(checks, "open_stack", lambda path: path)

    def found(stack, trials, methods):
        # Knowing the strength helps by a fifth; each px of shift costs a tenth.
        own = 1 + trials.inject_drift + abs(trials.given.shift[0]) / 10
        rows = {name: 0.8 * own if name == "known-drift" else own for name in methods}
        scores = {name: [{"flow_error": error}] * trials.folds for name, error in rows.items()}
        return SimpleNamespace(scores=scores)

    monkeypatch.setattr(checks, "evaluate", found)
    checks.injected(tmp_path, ["snemi3d"], 3, ["realistic"])
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [float(line.split()[3]) for line in lines] == list(checks.DRIFTS)
    assert all(line.endswith("1.25 (1.25..1.25)") for line in lines)
    checks.opposite(tmp_path, ["snemi3d"], 3, ["realistic"])
    lines = capsys.readouterr().out.strip().splitlines()[1:]
    changes = [float(line.split(")")[1].split()[1]) for line in lines]
    assert changes == [0.0, 0.3, 0.3, 0.5, 0.5]


def test_a_peer_is_shown_as_its_flow_says(script, stack):
    peers = script("peers")
    case = Trials(seed=2).case(stack, 0)
    ceiling = METHODS["ceiling"](case, Settings())
    image = peers.shown(case, case.simulation.flow)
    assert psnr(image, ceiling.image) > 30
    still = peers.shown(case, np.zeros_like(case.simulation.flow))
    dark = peers.dark_line(case)
    mean = (case.previous.astype(float) + case.following) / 2
    assert np.array_equal(still[dark], mean[dark])
    assert np.abs(still - case.simulation.damaged)[~dark].max() < 0.05
