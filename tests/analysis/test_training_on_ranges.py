"""Networks are trained on folds drawn from a laboratory's own ranges."""

from __future__ import annotations

import json

import pytest
import torch

from sff_napari.commands.train import main
from sff_napari.errors import InputError
from sff_napari.simulation import RealisticRanges, neuropil, ranges_to_dict, write_ranges
from sff_napari.stacks import write_stack
from sff_napari.training import DataSpec, TrainingSettings

THIN = RealisticRanges(half_width=(2.0, 2.1), gap=(5.0, 6.0), decay=(0.1, 0.2))
QUICK = [
    "--stages=unfolding", "--width=0.05", "--iterations=1", "--batch=1", "--crop=64",
    "--margin=36", "--val-samples=1", "--threads=1", "--device=cpu", "--folds=realistic",
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return write_stack(folder / "a.tif", neuropil((6, 120, 120), seed=1))


def test_samples_are_drawn_from_the_ranges(data):
    from sff_napari.training.data import open_sets
    from sff_napari.training.samples import SampleSet

    shares = {}
    for name, ranges in (("usual", None), ("thin", THIN)):
        settings = TrainingSettings(
            data=(DataSpec(str(data)),),
            folds="realistic",
            ranges=ranges,
            crop=64,
            margin=36,
            val_slices=3,
        )
        stored = TrainingSettings.from_dict(json.loads(json.dumps(settings.to_dict())))
        assert stored == settings
        samples = SampleSet(open_sets(settings)[0], settings, 1)
        hidden = [samples[i]["hidden"].float().mean() for i in range(12)]
        shares[name] = float(torch.stack(hidden).mean())
    assert 0 < shares["thin"] < 0.5 * shares["usual"]


def test_the_command_stores_the_values(data, tmp_path):
    write_ranges(tmp_path / "thin.json", THIN)
    threads = torch.get_num_threads()
    try:
        main(
            [str(data), *QUICK, "--ranges", str(tmp_path / "thin.json"), "-o", str(tmp_path / "r")]
        )
    finally:
        torch.set_num_threads(threads)
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    assert "thin.json" not in json.dumps(record.get("ranges", record))
    text = json.dumps(record)
    assert json.dumps(ranges_to_dict(THIN)["half_width"]) in text


def test_ranges_are_for_realistic_folds(data):
    with pytest.raises(InputError, match="realistic or mixed"):
        TrainingSettings(data=(DataSpec(str(data)),), ranges=THIN)


def test_a_missing_file_is_said(data, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main([str(data), *QUICK, "--ranges", str(tmp_path / "no.json"), "-o", str(tmp_path / "r")])
    assert ended.value.code == 2
    assert "no file of ranges" in capsys.readouterr().err
