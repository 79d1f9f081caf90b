"""The weights that come with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

import sff_napari
from sff_napari.errors import WeightsError
from sff_napari.evaluation import end_point_errors
from sff_napari.folds import Fold
from sff_napari.networks import weights
from sff_napari.simulation import neuropil, simulate_fold, simulate_straight

KINDS = tuple(kind for kind in weights.NETWORKS if kind not in weights.NOT_BUNDLED)


def test_the_set_is_small() -> None:
    sizes = [(weights.BUNDLED / f"{kind}.safetensors").stat().st_size for kind in KINDS]
    assert max(sizes) < 4 * 2**20
    assert sum(sizes) < 24 * 2**20


@pytest.mark.parametrize("kind", KINDS)
def test_they_load_by_default_and_the_card_names_them(kind: str) -> None:
    network = weights.load(kind)
    assert isinstance(network, weights.NETWORKS[kind])
    card = (weights.BUNDLED / "CARD.md").read_text(encoding="utf-8")
    assert weights.digest(kind) in card
    scores = weights.info(kind).scores
    if kind.startswith("enlarging"):
        assert all(scores[f"psnr_{f}"] > scores[f"back_projected_{f}"] for f in (4, 8))
    else:
        assert scores["loss"] > 0


def test_interpolation_beats_the_mean_of_the_neighbours() -> None:
    """On tissue it has never seen, drawn by the generator."""
    stack = neuropil((3, 192, 192), seed=11).astype(np.float32) / 255
    previous, clean, following = (torch.from_numpy(s)[None, None] for s in stack)
    with torch.no_grad():
        out = weights.load("interpolation")(previous, following)
    errors = [float((x - clean).square().mean()) for x in (out, (previous + following) / 2)]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("seed", [0, 3])
def test_unfolding_finds_most_of_a_straight_fold(seed: int) -> None:
    """On tissue it has never seen, with the mean of the neighbours as the reference."""
    stack = neuropil((3, 512, 512), seed=11)
    made = simulate_straight(stack[1], np.random.default_rng(seed))
    damaged, previous, following = (
        torch.from_numpy(image.astype(np.float32) / 255)[None, None]
        for image in (made.damaged, stack[0], stack[2])
    )
    with torch.no_grad():
        flow = weights.load("unfolding")(damaged, (previous + following) / 2)[0].numpy()
    error, untouched = (end_point_errors(one, made.flow).mean() for one in (flow, 0 * flow))
    assert untouched > 20
    assert error < untouched / 4


def test_fusion_fills_what_is_black() -> None:
    image = neuropil((1, 128, 128), seed=5)[0].astype(np.float32) / 255
    reference = torch.from_numpy(ndimage.gaussian_filter(image, 3))[None, None]
    clean = torch.from_numpy(image)[None, None]
    unfolded = clean.clone()
    unfolded[..., 50:78] = 0
    with torch.no_grad():
        out = weights.load("fusion")(unfolded, reference)
    band = (slice(None), slice(None), slice(None), slice(54, 74))
    filled, black = ((x - clean)[band].square().mean() for x in (out, unfolded))
    assert float(filled) < float(black) / 4
    assert float((out - clean)[..., :32].square().mean()) < float(filled)


def test_the_free_set_fills_without_the_bundled_weights() -> None:
    free = weights.named("free")
    assert free == weights.BUNDLED / "free"
    about = weights.info("filling", "free")
    assert about.sha256 != weights.info("filling").sha256
    assert "neuropil" in about.data or "synthetic" in about.data.lower()
    # Never mixed with weights that others may not use.
    assert weights.own_or_bundled("unfolding", free) == free
    with pytest.raises(WeightsError, match="free weights hold no unfolding network"):
        weights.load("unfolding", "free")


def test_restoring_with_the_free_set() -> None:
    images = neuropil((3, 160, 160), 4)
    fold = Fold([(0, 70), (159, 90)], 5)
    damaged = simulate_fold(images[1], fold, hidden_half_width=10).damaged
    made = [
        sff_napari.restore(
            images[0], damaged, images[2], fold, unfolding="none", device="cpu", weights=chosen
        )
        for chosen in (None, "free")
    ]
    hidden = made[0].synthesised > 0.5
    assert hidden.any()
    assert not np.array_equal(made[0].restored[hidden], made[1].restored[hidden])
    assert np.array_equal(made[0].restored[~hidden & (made[0].synthesised == 0)],
                          made[1].restored[~hidden & (made[0].synthesised == 0)])  # fmt: skip


def test_a_folder_called_free_is_that_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "free").mkdir()
    monkeypatch.chdir(tmp_path)
    assert weights.named("free") == Path("free")
