"""The enlarging networks and their training."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from sff_napari.errors import Cancelled, InputError
from sff_napari.networks import EnlargingNetwork, StackEnlargingNetwork, weights
from sff_napari.training.enlarging.run import train
from sff_napari.training.enlarging.samples import Samples, target
from sff_napari.training.enlarging.settings import EnlargingSettings, settings_from_options
from sff_napari.training.settings import DataSpec


@pytest.fixture(scope="module")
def settings(
    stack: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> EnlargingSettings:
    path = tmp_path_factory.mktemp("data") / "stack.tif"
    tifffile.imwrite(path, stack[:, :128, :128])
    data = (DataSpec(str(path)),)
    return EnlargingSettings(
        data, data, width=0.1, iterations=4, crop=64, save_every=1, threads=1, device="cpu"
    )


@pytest.mark.parametrize("kind", [EnlargingNetwork, StackEnlargingNetwork])
@pytest.mark.parametrize("factor", EnlargingNetwork.factors)
def test_networks_give_detail_and_doubt(kind: type[EnlargingNetwork], factor: int) -> None:
    network = kind(0.1)
    found = network(torch.randn(2, 5, 48, 64), factor)
    assert found.shape == (2, 2, 48, 64)
    found.square().mean().backward()
    used = [p for name, p in network.named_parameters() if p.grad is not None]
    assert used
    assert all(float(p.grad.abs().sum()) > 0 for p in used if p.dim() > 1)


def test_networks_refuse_what_does_not_fit() -> None:
    network = EnlargingNetwork(0.1)
    for shape, factor in (((1, 5, 40, 64), 8), ((1, 4, 48, 64), 8), ((1, 5, 48, 64), 5)):
        with pytest.raises(InputError):
            network(torch.zeros(shape), factor)


def test_a_few_steps_lower_the_loss(settings: EnlargingSettings, tmp_path: Path) -> None:
    path = settings.data[0].path
    settings = replace(
        settings,
        data=(DataSpec(path, ((0, 2),)),),
        # Slice 1 is trained on: it is left out.
        validate=(DataSpec(path, ((1, 3),)),),
        stages=("enlarging",),
        iterations=120,
        width=0.25,
        factors=(8,),
    )
    train(settings, tmp_path / "run")
    info = weights.info("enlarging", tmp_path / "run")
    assert info.scores["psnr_8"] > info.scores["back_projected_8"]


def test_a_run_can_be_resumed_and_comes_to_the_same(
    settings: EnlargingSettings, tmp_path: Path
) -> None:
    made = train(settings, tmp_path / "whole", command="the command")
    assert set(made) == {"enlarging", "enlarging_stack"}
    calls = iter([False, False, True])
    with pytest.raises(Cancelled, match="--resume"):
        train(settings, tmp_path / "parts", stop=lambda: next(calls))
    train(settings, tmp_path / "parts", resume=True)
    for kind in made:
        digests = {weights.digest(kind, tmp_path / name) for name in ("whole", "parts")}
        assert len(digests) == 1
    card = (tmp_path / "whole/CARD.md").read_text()
    assert "the command" in card
    assert all(weights.digest(kind, tmp_path / "whole") in card for kind in made)


def test_a_run_is_not_resumed_with_other_settings(
    settings: EnlargingSettings, tmp_path: Path
) -> None:
    train(replace(settings, iterations=1, stages=("enlarging",)), tmp_path / "run")
    with pytest.raises(InputError, match="seed"):
        train(replace(settings, iterations=1, stages=("enlarging",), seed=1),
              tmp_path / "run", resume=True)  # fmt: skip
    with pytest.raises(InputError, match="already holds"):
        train(settings, tmp_path / "run")


def test_samples_are_those_of_the_seed(stack: NDArray[np.uint8]) -> None:
    images = [image.astype(np.float32) for image in stack[:3]]
    targets = [target(images[1], [images[0], images[2]], factor, False) for factor in (4, 8)]
    samples = Samples(targets, (4, 8), 64, 0.5, 0.5)
    for seed in range(6):
        first, second = (samples.batch(np.random.default_rng(seed), 2) for _ in range(2))
        torch.testing.assert_close(first[1], second[1])
        for one in first[0]:
            assert one.base.shape == one.neighbours[0].shape == (1, 1, 64, 64)
            assert bool(torch.isfinite(torch.cat([one.base, *one.neighbours])).all())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": ("a.tif",), "folds": "mixed"}, "--folds has no meaning"),
        ({"data": ("a.tif",), "factors": "8,5"}, "among 4, 8"),
        ({"data": ("a.tif",), "rates": "1e-3,1e-4"}, "single one"),
        ({"data": ("a.tif",), "stages": "fusion"}, "no network fusion"),
        ({"data": ("a.tif",), "crop": 100}, "multiple"),
        ({}, "nothing to train on"),
    ],
)
def test_options_without_meaning_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        settings_from_options(options, {})


def test_the_command(settings: EnlargingSettings, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "sff_napari.commands.train", "--for", "low-magnification"]
    arguments = [settings.data[0].path, "-o", str(out), "--iterations", "2", "--width", "0.1"]
    arguments += ["--crop", "64", "--threads", "1", "--device", "cpu", "--stages", "enlarging"]
    subprocess.run([*command, *arguments], check=True, capture_output=True)
    assert weights.info("enlarging", out).width == 0.1
    assert json.loads((out / "run.json").read_text())["crop"] == 64
    with (out / "log.csv").open() as file:
        assert list(csv.DictReader(file)) == []
    done = subprocess.run(
        [*command, *arguments, "--neuropil", "5"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "--neuropil has no meaning" in done.stderr
