"""Samples and loss of the filling network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis import settings as quickly
from hypothesis import strategies as st
from scipy import ndimage

from sff_napari.simulation import neuropil
from sff_napari.training import TrainingSettings
from sff_napari.training.data import TripleSet, open_sets
from sff_napari.training.inpainting import (
    detail_share,
    filling_distance,
    filling_losses,
    filling_scores,
)
from sff_napari.training.inpainting_samples import band_sample, zoomed
from sff_napari.training.samples import VALIDATION, SampleSet
from sff_napari.training.settings import STAGES, DataSpec

FILLING = STAGES.index("filling")


@pytest.fixture(scope="module")
def triple() -> np.ndarray:
    """Return three slices in [0, 1]."""
    return neuropil((3, 96, 96), seed=3).astype(np.float32) / 255


@pytest.fixture
def samples(settings: TrainingSettings) -> SampleSet:
    """Return samples of the stacks of the training tests."""
    found = replace(settings, vary_texture=True, folds="mixed")
    return SampleSet(open_sets(found)[0], found, FILLING, "band")


def test_a_sample_depends_on_its_number_alone(samples: SampleSet) -> None:
    first, other = samples[2], samples[3]
    again = samples[2]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["clean"], other["clean"])


@given(st.integers(0, 2**31), st.sampled_from(["straight", "realistic", "mixed"]))
@quickly(max_examples=25, deadline=None)
def test_every_sample_has_something_to_fill_and_something_to_see(
    triple: np.ndarray, seed: int, folds: str
) -> None:
    made = band_sample(triple, folds, None, np.random.default_rng(seed), varied=True)
    share = float(made["hidden"].float().mean())
    assert 0.05 < share < 0.8
    for name in ("unfolded", "previous", "following", "clean"):
        assert made[name].shape == (1, 96, 96)
        assert made[name].dtype == torch.float32
        assert bool(torch.isfinite(made[name]).all())
    grey = made["clean"] * made["spread"] + made["mean"]
    assert torch.allclose(grey, torch.from_numpy(triple[1:2]), atol=1e-5)


def test_for_validation_nothing_is_varied(triple: np.ndarray) -> None:
    made = band_sample(triple, "straight", None, np.random.default_rng(0), varied=False)
    assert torch.equal(made["unfolded"], made["clean"])
    both = torch.cat([made["previous"], made["following"]])
    assert abs(float(both.mean())) < 1e-4
    assert abs(float(both.std()) - 1) < 1e-3


def test_neighbours_are_moved_half_way_to_each_other(
    tmp_path: Path, settings: TrainingSettings
) -> None:
    """Of one texture, moved from slice to slice, all three show the same at the same place."""
    rng = np.random.default_rng(0)
    wide = ndimage.gaussian_filter(rng.normal(size=(340, 340)), 3)
    wide = np.clip(128 + 40 * wide / wide.std(), 0, 255).astype(np.uint8)
    stack = np.stack([wide[20 + 4 * k : 320 + 4 * k, 20 - 3 * k : 320 - 3 * k] for k in range(3)])
    path = tmp_path / "moving.tif"
    tifffile.imwrite(path, stack, photometric="minisblack")
    given = DataSpec(str(path))
    found = replace(settings, data=(given,), validate=(replace(given, slices=((1, 1),)),))
    source = open_sets(found)[0].sources[0]
    still, moved = source.crop(1, 100, 100, 96), source.moved_crop(1, 100, 100, 96)
    assert np.array_equal(still[1], moved[1])
    for index in (0, 2):
        before = np.abs(still[index] - still[1]).mean()
        assert np.abs(moved[index] - moved[1]).mean() < 0.3 * before


def test_small_and_large_crops_become_the_wanted_side(triple: np.ndarray) -> None:
    for side in (80, 112):
        again = zoomed(zoomed(triple, side), 96)
        assert again.shape == triple.shape
        assert np.abs(again - triple).mean() < 0.05
    assert zoomed(triple, 96) is triple


def batch(count: int = 2) -> dict[str, torch.Tensor]:
    """Return a batch of samples of smoothed noise, half of it hidden."""
    draw = torch.Generator().manual_seed(0)
    planes = torch.randn((3, count, 1, 64, 64), generator=draw)
    hidden = torch.zeros(count, 1, 64, 64, dtype=torch.bool)
    hidden[..., 16:48] = True
    one = torch.ones(count, 1, 1, 1)
    return {
        "clean": planes[0],
        "previous": planes[1],
        "following": planes[2],
        "unfolded": planes[0],
        "hidden": hidden,
        "mean": one * 0.5,
        "spread": one * 0.2,
    }


def output(expected: torch.Tensor, textured: torch.Tensor, doubt: float = 0.0) -> torch.Tensor:
    """Return an output of the network."""
    return torch.cat([expected, textured, torch.full_like(expected, doubt)], dim=1)


def test_the_truth_costs_nothing_but_its_doubt() -> None:
    given = batch()
    true = output(given["clean"], given["clean"], -6)
    losses = filling_losses(true, given)
    assert float(losses["error"]) == float(losses["textured"]) == 0
    assert float(losses["doubt"]) < 0
    assert float(filling_distance(true, given, 1.0)) == pytest.approx(float(losses["doubt"]))


def test_only_hidden_pixels_count() -> None:
    given = batch()
    wrong = torch.where(given["hidden"], given["clean"], given["clean"] + 5)
    losses = filling_losses(output(wrong, wrong), given)
    assert float(losses["error"]) == float(losses["textured"]) == 0


def test_a_validation_compares_the_strength_of_detail() -> None:
    given = batch()
    clean = given["clean"]

    def distance(image: torch.Tensor, texture: float = 1.0) -> float:
        out = output(clean, image)
        textured = float(filling_losses(out, given)["textured"])
        return float(filling_distance(out, given, texture)) - textured

    assert distance(torch.zeros_like(clean)) > 0.5
    assert distance(2 * clean) > 0.5
    # Other detail of the same strength is as good: it is not to lie in the same place.
    assert distance(clean.flip(-1)) < 0.1
    assert distance(0.5 * clean, texture=0.5) < 0.01
    assert detail_share(0.5 * clean, given) == pytest.approx(0.5, rel=1e-3)


def test_the_best_doubt_is_the_error_s_logarithm() -> None:
    given = batch()
    off = given["clean"] + 0.5
    costs = {
        doubt: float(filling_losses(output(off, off, doubt), given)["doubt"])
        for doubt in (-3.0, float(np.log(0.25)), 0.0)
    }
    assert min(costs, key=lambda doubt: costs[doubt]) == float(np.log(0.25))


def test_the_scores() -> None:
    given = batch()
    scores = filling_scores(output(given["clean"] + 1, given["clean"]), given)
    assert scores["psnr_filled"] == pytest.approx(-20 * np.log10(0.2), abs=1e-3)
    assert scores["psnr_filled_textured"] > 90
    assert scores["detail"] == pytest.approx(1, abs=1e-3)
    assert scores["detail_mean"] == pytest.approx(0.5**0.5, rel=0.1)


def test_validation_samples_are_those_of_the_set(
    samples: SampleSet, settings: TrainingSettings
) -> None:
    triples: TripleSet = samples.triples
    held = SampleSet(triples, settings, VALIDATION, "band")
    assert torch.equal(held[0]["unfolded"], held[0]["clean"])
