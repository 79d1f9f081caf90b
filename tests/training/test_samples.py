"""Samples: deterministic, and their flow undoes their fold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sff_napari.training import TrainingSettings
from sff_napari.training.data import TripleSet, open_sets
from sff_napari.training.samples import JITTER, VALIDATION, SampleSet, What, _jittered, _turned
from sff_napari.warp import warp


class Waves:
    """A source of smooth triples, in which reading between pixels is nearly exact."""

    name = "waves"
    shape = (400, 400)
    centres = (1, 2)

    def crop(self, z: int, top: int, left: int, size: int) -> np.ndarray:
        """Return smooth images that differ from slice to slice."""
        y, x = np.mgrid[top : top + size, left : left + size] / 20
        waves = [0.5 + 0.2 * np.sin(y + k) + 0.2 * np.cos(x - k) for k in (z - 1, z, z + 1)]
        return np.stack(waves).astype(np.float32)


def sample_set(settings: TrainingSettings, stage: int = 1, **changes: object) -> SampleSet:
    """Return samples of smooth images at the paper's size."""
    settings = replace(settings, crop=256, margin=144, **changes)  # type: ignore[arg-type]
    return SampleSet(TripleSet([Waves()]), settings, stage)  # type: ignore[list-item]


@pytest.mark.parametrize("folds", ["straight", "realistic", "mixed"])
def test_a_sample_depends_on_its_number_alone(settings: TrainingSettings, folds: str) -> None:
    samples = sample_set(settings, folds=folds, vary_texture=True)
    first = samples[3]
    samples[4]
    again = samples[3]
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    others = [samples[5], sample_set(settings, 2, folds=folds)[3]]
    others.append(sample_set(replace(settings, seed=1), folds=folds)[3])
    assert all(not torch.equal(first["damaged"], other["damaged"]) for other in others)


@pytest.mark.parametrize("what", ["clean", "fold", "band"])
def test_every_sample_has_the_size_asked_for(settings: TrainingSettings, what: What) -> None:
    settings = replace(settings, crop=64, margin=36, vary_texture=True)
    samples = SampleSet(open_sets(settings)[0], settings, 0, what)
    shapes = {tensor.shape[-2:] for i in range(30) for tensor in samples[i].values()}
    # The mean and the spread of a band are single numbers.
    assert shapes - {(1, 1)} == {(64, 64)}


@pytest.mark.parametrize("folds", ["straight", "realistic"])
def test_the_flow_undoes_the_fold(settings: TrainingSettings, folds: str) -> None:
    samples = sample_set(settings, VALIDATION, folds=folds)
    errors = []
    for i in range(6):
        sample = samples[i]
        flow = sample["flow"][None]
        y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
        at_y, at_x = y + flow[0, 0], x + flow[0, 1]
        inside = (at_y > 1) & (at_y < 254) & (at_x > 1) & (at_x < 254)
        seen = sample["known"][0] & ~sample["hidden"][0] & inside
        # One px from the black line, reading between pixels mixes it in.
        dark = torch.nn.functional.max_pool2d((sample["damaged"][None] == 0).float(), 5, 1, 2)
        seen &= warp(dark, flow)[0, 0] == 0
        assert int(seen.sum()) > 5000
        unfolded = warp(sample["damaged"][None], flow, "bicubic")[0, 0]
        errors.append(float((unfolded - sample["clean"][0]).abs()[seen].median()))
    # Realistic folds also weaken the contrast, which no flow undoes.
    assert np.median(errors) < (1e-3 if folds == "straight" else 0.05)


def test_hidden_tissue_is_sent_onto_the_dark_line(settings: TrainingSettings) -> None:
    for folds in ("straight", "realistic"):
        sample = sample_set(settings, VALIDATION, folds=folds)[1]
        unfolded = warp(sample["damaged"][None], sample["flow"][None], "nearest")[0]
        inner = torch.zeros_like(sample["hidden"])
        inner[:, 90:-90, 90:-90] = True
        black = (unfolded == 0)[sample["hidden"] & sample["known"] & inner]
        assert len(black) == 0 or float(black.float().mean()) > 0.95


def test_the_flow_joins_at_the_edge_of_the_hidden_band(settings: TrainingSettings) -> None:
    flow = sample_set(settings, VALIDATION)[0]["flow"]
    steps = torch.stack([flow.diff(dim=1)[:, :, 1:], flow.diff(dim=2)[:, 1:]]).norm(dim=(0, 1))
    assert float(flow.norm(dim=0).max()) > 5
    # Not smooth, but without a jump: a step is never longer than a few pixels' worth of slope.
    assert float(steps.max()) < 2.5


def test_every_sample_shows_its_line(settings: TrainingSettings) -> None:
    samples = sample_set(settings)
    for i in range(10):
        sample = samples[i]
        assert bool((sample["damaged"] == 0).any())
        assert sample["damaged"].shape == (1, 256, 256)
        assert sample["flow"].shape == (2, 256, 256)
        assert all(torch.isfinite(value).all() for value in sample.values())
        for name in ("previous", "clean", "following", "damaged"):
            assert sample[name].dtype == torch.float32
            assert 0 <= float(sample[name].min()) <= float(sample[name].max()) <= 1


def test_jitter_changes_the_damaged_slice_only(settings: TrainingSettings) -> None:
    draw = [np.random.default_rng(i) for i in range(200)]
    image = torch.full((4, 4), 0.5)
    image[0] = 0.6
    out = [_jittered(image, JITTER, rng) for rng in draw]
    shifts = torch.tensor([float(o[1, 1]) for o in out]) - 0.5
    factors = torch.tensor([float(o[0, 0] - o[1, 1]) for o in out]) / 0.1
    for values, middle in ((shifts, 0.0), (factors, 1.0)):
        assert middle - 0.25 <= float(values.min()) < middle - 0.2
        assert middle + 0.2 < float(values.max()) <= middle + 0.25 + 1e-5
    sample = sample_set(settings)[0]
    truth = {round(float(v), 3) for v in sample["clean"].flatten()[:1000]}
    assert max(truth) <= 0.9
    assert min(truth) >= 0.1


def test_all_eight_orientations_come_up() -> None:
    triple = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    seen = {_turned(triple, np.random.default_rng(i)).tobytes() for i in range(300)}
    assert len(seen) == 8
    for data in seen:
        assert sorted(np.frombuffer(data, np.float32).tolist()) == list(range(12))


def test_varied_texture_is_varied(settings: TrainingSettings) -> None:
    plain = [sample_set(settings)[i]["clean"].std() for i in range(12)]
    varied = [sample_set(settings, vary_texture=True)[i]["clean"].std() for i in range(12)]
    assert torch.stack(varied).std() > 2 * torch.stack(plain).std()
