"""The unfolding network on reduced slices: training, weights, restoration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import functional

from sff_napari import Fold, restore
from sff_napari.commands.train import main
from sff_napari.errors import InputError
from sff_napari.networks import InterpolationNetwork, UnfoldingNetwork, weights
from sff_napari.networks.unfolding import FLOW_UNIT, SCALES
from sff_napari.training import TrainingSettings
from sff_napari.training.data import TripleSet, open_sets
from sff_napari.training.pairs import PairSource, paired
from sff_napari.training.samples import VALIDATION, SampleSet
from sff_napari.training.stages import Stage, precision_context
from sff_napari.warp import warp

EXACT = precision_context("float32", torch.device("cpu"))
CPU = torch.device("cpu")


def made(scale: int, width: float = 0.05) -> UnfoldingNetwork:
    """Return an unfolding network that says something."""
    torch.manual_seed(0)
    network = UnfoldingNetwork(width, scale)
    torch.nn.init.normal_(network.last.weight, std=0.05)
    return network.eval()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shape", [(128, 256), (77, 131), (5, 3)])
def test_any_size_comes_back_in_that_size(scale: int, shape: tuple[int, int]) -> None:
    images = torch.rand(2, 1, 1, *shape)
    with torch.no_grad():
        flow = made(scale)(*images)
    assert flow.shape == (1, 2, *shape)
    assert bool(torch.isfinite(flow).all())


@pytest.mark.parametrize("scale", [0, 3, 16, -4])
def test_other_scales_are_refused(scale: int, settings: TrainingSettings) -> None:
    with pytest.raises(InputError, match="scale of the unfolding network"):
        UnfoldingNetwork(0.05, scale)
    with pytest.raises(InputError, match="scale of the unfolding network"):
        replace(settings, scale=scale)


def test_crops_that_cannot_be_reduced_are_refused(settings: TrainingSettings) -> None:
    for change in ({"crop": 64}, {"crop": 130}, {"crop": 128, "margin": 4}):
        with pytest.raises(InputError, match="cannot be reduced 4 times"):
            replace(settings, scale=4, **change)
    assert replace(settings, scale=4, crop=128, margin=8).scale == 4


def test_it_is_the_same_network_on_reduced_slices() -> None:
    network, plain = made(4), made(1)
    assert network.state_dict().keys() == plain.state_dict().keys()
    images = torch.rand(2, 1, 1, 128, 192)
    small = [functional.avg_pool2d(image, 4) for image in images]
    with torch.no_grad():
        flow, reduced = network(*images), network(*small, reduced=True)
        assert torch.allclose(reduced, plain(*small), atol=1e-4)
    assert reduced.std() > 0.01 * FLOW_UNIT
    # Pixels of the full slice on both grids.
    both = torch.stack([functional.avg_pool2d(flow, 4).flatten(), reduced.flatten()])
    assert float(torch.corrcoef(both)[0, 1]) > 0.95


def test_tens_of_pixels_are_not_rounded_in_bfloat16() -> None:
    network = made(4)
    torch.nn.init.constant_(network.last.bias, 4.7071)
    torch.nn.init.zeros_(network.last.weight)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        flow = network(*torch.rand(2, 1, 1, 64, 64))
    assert float((flow - 4.7071 * FLOW_UNIT).abs().max()) < 1e-3


def test_the_weights_file_holds_the_scale(tmp_path: Path) -> None:
    network = made(4)
    file = tmp_path / "unfolding.safetensors"
    weights.save_weights(file, network, weights.WeightsInfo("unfolding", 0.05, scale=4))
    loaded = weights.load("unfolding", tmp_path)
    assert isinstance(loaded, UnfoldingNetwork)
    assert (loaded.scale, weights.info("unfolding", file).scale) == (4, 4)
    with safe_open(file, framework="pt") as handle:
        header = handle.metadata()
        # Copies: older versions map the file, which is written to below.
        tensors = {name: handle.get_tensor(name).clone() for name in handle.keys()}  # noqa: SIM118
    # Files from before the setting are at full scale.
    save_file(tensors, file, {k: v for k, v in header.items() if k != "scale"})
    older = weights.load("unfolding", file)
    assert isinstance(older, UnfoldingNetwork)
    assert older.scale == 1
    save_file(tensors, file, header | {"scale": "3"})
    with pytest.raises(weights.WeightsError, match="do not fit"):
        weights.load("unfolding", file)


def waves(side: int) -> PairSource:
    """Return pairs of smooth slices, a quarter of `side` wide."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / 40
    full = torch.from_numpy(0.5 + 0.2 * np.sin(y) + 0.2 * np.cos(x))[None, None]
    small = functional.avg_pool2d(full, 4)[0].numpy().astype(np.float16)
    return PairSource("waves", (side // 4, side // 4), {3: np.repeat(small, 2, axis=0)})


@pytest.mark.parametrize("folds", ["straight", "realistic"])
def test_the_flow_of_reduced_samples_is_in_full_pixels(
    settings: TrainingSettings, folds: Any
) -> None:
    settings = replace(settings, crop=512, margin=144, scale=4, folds=folds)
    samples = SampleSet(TripleSet([waves(656)]), settings, VALIDATION, "pair", 4)
    lengths, errors = [], []
    for i in range(6):
        sample = samples[i]
        assert sample["damaged"].shape == sample["reference"].shape == (1, 128, 128)
        flow = sample["flow"]
        seen = sample["known"][0] & ~sample["hidden"][0]
        # What the reduced slice shows next to the black line is mixed with it.
        dark = (sample["damaged"][None] < 0.05).float()
        near = functional.max_pool2d(dark, 7, 1, 3)
        y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
        for at, moved in ((y, flow[0]), (x, flow[1])):
            seen &= (at + moved / 4 > 1) & (at + moved / 4 < 126)
        seen &= warp(near, flow[None] / 4)[0, 0] == 0
        unfolded = warp(sample["damaged"][None], flow[None] / 4, "bicubic")[0, 0]
        errors.append(float((unfolded - sample["clean"][0]).abs()[seen].median()))
        lengths.append(float(flow.norm(dim=0).max()))
    assert np.median(errors) < (2e-3 if folds == "straight" else 0.05)
    assert max(lengths) > 25


def test_pairs_hold_what_the_interpolation_network_makes(settings: TrainingSettings) -> None:
    triples, _ = open_sets(settings)
    network = InterpolationNetwork(0.05).eval()
    for step in (1, 4):
        pairs = paired(triples, network, step, CPU, EXACT)
        assert pairs.count == triples.count
        first = triples.sources[0]
        z = first.centres[0]
        triple = torch.from_numpy(first.crop(z, 0, 0, 120))[:, None, None]
        with torch.no_grad():
            wanted = network(triple[0], triple[2]).clamp(0, 1)
        for image, expected in zip(
            pairs.sources[0].crop(z, 0, 0, 120 // step), (triple[1], wanted), strict=True
        ):
            reduced = functional.avg_pool2d(expected, step)[0, 0]
            # At the right rim the whole slice of 130 columns shows more than the crop.
            inner = (slice(0, 80 // step), slice(0, 60 // step))
            assert np.allclose(image[inner], reduced.numpy()[inner], atol=2e-3)


def test_fusion_learns_on_the_middle_of_what_unfolding_sees() -> None:
    class Shift(torch.nn.Module):
        def forward(self, damaged: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
            flow = torch.zeros(len(damaged), 2, *damaged.shape[-2:])
            flow[:, 1] = 2
            return flow

    stage = Stage("fusion", {"unfolding": Shift()}, EXACT, scale=4)
    images = 0.7 * torch.rand(3, 2, 1, 64, 64)
    batch = dict(zip(("damaged", "clean", "reference"), images, strict=True))
    batch["hidden"] = torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    batch["flow"] = torch.zeros(2, 2, 64, 64)
    unfolded, reference = stage.inputs(batch)
    assert torch.allclose(unfolded, images[0][..., 16:48, 18:50], atol=1e-5)
    assert torch.equal(reference, images[2][..., 16:48, 16:48])
    out = images[1][..., 16:48, 16:48] + 0.25
    assert float(stage.distance(out, batch)) == pytest.approx(0.25, rel=1e-4)
    assert stage.scores(out, (unfolded, reference), batch)["psnr"] == pytest.approx(12.04, abs=0.01)
    assert {image.shape for image in stage.picture(out, (unfolded, reference), batch)} == {
        (1, 32, 32)
    }


def test_all_stages_train_and_restore_at_a_quarter(stacks: Path, tmp_path: Path) -> None:
    arguments = [
        f"{stacks / 'a.tif'}:0-4", "--validate", f"{stacks / 'a.tif'}:6-7", "-o", f"{tmp_path}/r",
        "--stages=interpolation,unfolding,fusion", "--width=0.05", "--scale=2", "--warm-up=2",
        "--iterations=2", "--batch=2", "--crop=96", "--margin=16", "--validate-every=2",
        "--val-samples=2", "--threads=1", "--device=cpu", "--save-every=1",
    ]  # fmt: skip
    threads = torch.get_num_threads()
    try:
        main(arguments)
    finally:
        torch.set_num_threads(threads)
    assert weights.info("unfolding", tmp_path / "r").scale == 2
    assert weights.info("fusion", tmp_path / "r").scale == 1
    card = (tmp_path / "r" / "CARD.md").read_text()
    assert "Unfolding works on slices reduced 2 times" in card


def test_tiles_of_a_reduced_network_agree_with_the_whole(tmp_path: Path) -> None:
    """The reduced grid is the same in every tile, so only the halo is missing."""
    file = tmp_path / "unfolding.safetensors"
    weights.save_weights(file, made(4), weights.WeightsInfo("unfolding", 0.05, scale=4))
    draw = np.random.default_rng(0)
    slices = draw.integers(60, 200, size=(3, 300, 700), dtype=np.uint8)
    fold = Fold([(0.0, 330.0), (299.0, 350.0)], 6.0)
    flows = [
        restore(
            *slices,
            fold,
            unfolding="network",
            interpolation="mean",
            fusion="stitch",
            weights=tmp_path,
            tile=tile,
            device="cpu",
        ).flow
        for tile in (100, 1024)
    ]
    assert np.nanstd(flows[1]) > 0.1
    assert np.nanmean(np.abs(flows[0] - flows[1])) < 0.05 * np.nanstd(flows[1])
