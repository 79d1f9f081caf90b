"""The settings of a run: reading, checking, storing, the learning rate."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sff_napari.errors import InputError
from sff_napari.training import DataSpec, TrainingSettings


@pytest.mark.parametrize(
    ("text", "path", "slices"),
    [
        ("a.tif", "a.tif", None),
        ("a.tif:0-15", "a.tif", ((0, 15),)),
        ("dir/a.zarr:3,7-9", "dir/a.zarr", ((3, 3), (7, 9))),
        (r"C:\data\a.tif", r"C:\data\a.tif", None),
        (r"C:\data\a.tif:2-4", r"C:\data\a.tif", ((2, 4),)),
        ("odd:name.tif", "odd:name.tif", None),
    ],
)
def test_data_arguments(text: str, path: str, slices: Any) -> None:
    spec = DataSpec.parse(text)
    assert (spec.path, spec.slices) == (path, slices)
    assert str(spec) == text


@pytest.mark.parametrize(("text", "says"), [("", "empty"), ("a.tif:9-3", "backwards")])
def test_data_arguments_that_make_no_sense(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        DataSpec.parse(text)


def test_the_label_leaves_the_folder_out() -> None:
    assert DataSpec.parse("some/where/a.tif:0-3").label == "a.tif:0-3"


def test_the_defaults_are_the_paper_s() -> None:
    settings = TrainingSettings(data=(DataSpec("a.tif"),))
    assert (settings.batch, settings.crop, settings.crop + settings.margin) == (32, 256, 400)
    assert settings.rate_at("fusion", 0) == pytest.approx(1e-4)
    assert settings.rate_at("fusion", 0.5) == pytest.approx(1e-5 + 9e-5 * 0.5**1.5)
    assert settings.rate_at("fusion", 1) == pytest.approx(1e-5)
    assert settings.rate_at("fusion", 7) == pytest.approx(1e-5)
    assert settings.iterations == 400_000
    assert settings.folds == "straight"


def test_the_rate_rises_during_the_warm_up() -> None:
    settings = TrainingSettings(data=(DataSpec("a.tif"),), warm_up=9)
    rates = [settings.rate_at("fusion", 0, iteration) for iteration in (0, 4, 9, 50)]
    assert rates == pytest.approx([1e-5, 5e-5, 1e-4, 1e-4])


def test_a_rate_for_each_stage() -> None:
    settings = TrainingSettings(
        data=(DataSpec("a.tif"),), stages=("interpolation", "fusion"), rates=(1e-3, 1e-2)
    )
    assert settings.rate_at("interpolation", 0) == pytest.approx(1e-3)
    assert settings.rate_at("fusion", 0) == pytest.approx(1e-2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch": 0}, "batch is 0"),
        ({"iterations": -5}, "iterations"),
        ({"crop": 8}, "crop is 8"),
        ({"val_samples": 0}, "val-samples"),
        ({"rates": (0.0,)}, "learning rates"),
        ({"final_rate": 1.0}, "learning rates"),
        ({"rates": (1e-3, 1e-3)}, "one for each stage"),
        ({"max_minutes": 0.0}, "max-minutes"),
        ({"neuropil": 2}, "neuropil"),
        ({"data": ()}, "nothing to train on"),
        ({"stages": ("repair",)}, "no stage repair"),
        ({"stages": ()}, "no stage"),
        ({"stages": ("fusion", "unfolding")}, "order"),
        ({"folds": "none"}, "folds is 'none'"),
        ({"precision": "int8"}, "precision"),
        ({"true_flow_share": 1.5}, "true-flow-share"),
    ],
)
def test_settings_that_make_no_sense(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        TrainingSettings(**({"data": (DataSpec("a.tif"),)} | change))


def test_settings_survive_json(settings: TrainingSettings) -> None:
    assert TrainingSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_stored_settings_of_another_version() -> None:
    record = TrainingSettings(data=(DataSpec("a.tif"),)).to_dict()
    assert TrainingSettings.from_dict(record | {"unknown": 1}) == TrainingSettings.from_dict(record)
    with pytest.raises(InputError, match="cannot be read"):
        TrainingSettings.from_dict({"data": ["a.tif"], "batch": None})
