"""The three stages of the paper: shapes, what they compute, and a few steps of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

import sff_napari as sff
from sff_napari.errors import Cancelled, InputError, WeightsError
from sff_napari.low_magnification.prior import flows_between
from sff_napari.networks import weights
from sff_napari.networks.gpemsr.codebook import (
    PAPER,
    SMALL,
    GpemsrSize,
    TissueCodes,
    size_of_width,
)
from sff_napari.networks.gpemsr.deformable import DeformableConv
from sff_napari.networks.gpemsr.fusion import GpemsrNetwork
from sff_napari.networks.gpemsr.indexer import CodeIndexer
from sff_napari.training.enlarging.gpemsr import GpemsrTrainer
from sff_napari.training.enlarging.run import train
from sff_napari.training.enlarging.settings import EnlargingSettings
from sff_napari.training.records import RunFolder
from sff_napari.training.settings import DataSpec

TINY = GpemsrSize((4, 6, 8, 8), 16, 8, 8, 2, 1, 1)


def test_codes_stand_for_cells() -> None:
    codes = TissueCodes(TINY)
    image = torch.randn(2, 1, 32, 48)
    made, loss = codes(image)
    assert made.shape == image.shape
    assert float(loss.detach()) > 0
    numbers = codes.nearest(codes.encoder(image))
    assert numbers.shape == (2, 4, 6)
    decoded, features = codes.decode(numbers)
    torch.testing.assert_close(decoded, made)
    assert [one.shape[-1] for one in features] == [6, 12, 24, 48]


def test_the_nearest_code_is_the_nearest() -> None:
    codes = TissueCodes(TINY)
    encoded = codes.book.weight[torch.tensor([[3, 7], [1, 3]])].permute(2, 0, 1)[None] + 1e-4
    assert codes.nearest(encoded)[0].tolist() == [[3, 7], [1, 3]]


@pytest.mark.parametrize(("factor", "cells"), [(8, (6, 4)), (4, (3, 2)), (2, (2, 1))])
def test_the_indexer_reads_a_code_for_each_cell(factor: int, cells: tuple[int, int]) -> None:
    logits = CodeIndexer(factor, TINY)(torch.randn(1, 1, 6, 4))
    assert logits.shape == (1, TINY.codes, *cells)


@pytest.mark.parametrize("factor", [16, 6, 0])
def test_factors_that_no_cell_holds_are_refused(factor: int) -> None:
    with pytest.raises(InputError):
        GpemsrNetwork(factor, TINY)


@pytest.mark.parametrize("groups", [1, 2])
def test_without_offsets_it_is_a_convolution(groups: int) -> None:
    torch.manual_seed(0)
    layer = DeformableConv(4, groups)
    x = torch.randn(2, 4, 9, 11)
    kernel = layer.mix.weight.reshape(4, 9, 4).permute(0, 2, 1).reshape(4, 4, 3, 3)
    found = layer(x, torch.zeros(2, layer.offsets, 9, 11))
    torch.testing.assert_close(
        found, F.conv2d(x, kernel, layer.mix.bias, padding=1), atol=1e-5, rtol=1e-4
    )


def test_offsets_move_what_is_read() -> None:
    layer = DeformableConv(2, 1)
    x = torch.randn(1, 2, 12, 12)
    offsets = torch.zeros(1, 9, 2, 12, 12)
    offsets[:, :, 0], offsets[:, :, 1] = 2.0, -1.0
    moved = layer(torch.roll(x, (2, -1), (-2, -1)), offsets.flatten(1, 2))
    plain = layer(x, torch.zeros(1, layer.offsets, 12, 12))
    torch.testing.assert_close(moved[..., 1:8, 3:10], plain[..., 1:8, 3:10], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("factor", [4, 8])
def test_five_slices_become_one(factor: int) -> None:
    network = GpemsrNetwork(factor, TINY)
    made = network(torch.randn(2, 5, 8, 12), torch.zeros(2, 5, 4, 8, 12))
    assert made.shape == (2, 1, 8 * factor, 12 * factor)
    made.square().mean().backward()
    for name, parameter in network.named_parameters():
        frozen = name.startswith(("codes.", "indexer."))
        assert (parameter.grad is None) == frozen, name


def test_sizes() -> None:
    assert size_of_width(1) == SMALL
    assert size_of_width(4) == PAPER
    assert PAPER.cell == 16
    assert size_of_width(0.3).cell == SMALL.cell
    with pytest.raises(InputError):
        GpemsrSize(features=30, groups=4)


def test_flows_find_a_shift(stack: NDArray[np.uint8]) -> None:
    wide = torch.from_numpy(stack[1].astype(np.float32))[None, None]
    low = F.avg_pool2d((wide - wide.mean()) / wide.std(), 4)[0, 0]
    low = low / low.std()
    five = torch.stack([torch.roll(low, (k, 0), (0, 1)) for k in (-2, -1, 0, 1, 2)])
    flows = flows_between(five)
    inner = flows[:, :, 10:-10, 10:-10].mean(dim=(2, 3))
    np.testing.assert_allclose(inner[:, 0], [-2, -1, 0, 1, 2], atol=0.3)
    np.testing.assert_allclose(inner[:, 2], [2, 1, 0, -1, -2], atol=0.3)


@pytest.fixture(scope="module")
def settings(
    stack: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> EnlargingSettings:
    path = tmp_path_factory.mktemp("data") / "stack.tif"
    tifffile.imwrite(path, stack)
    return EnlargingSettings(
        (DataSpec(str(path)),), stages=("gpemsr",), factors=(8,), width=0.3, iterations=10,
        crop=64, save_every=1, threads=1, device="cpu",
    )  # fmt: skip


def test_each_stage_lowers_its_loss(settings: EnlargingSettings, tmp_path: Path) -> None:
    trainer = GpemsrTrainer(replace(settings, iterations=120, width=0.15), RunFolder(tmp_path))
    seen: dict[str, list[float]] = {}

    def note(share: float, text: str) -> None:
        seen.setdefault(trainer.state.phase, []).append(trainer.losses[-1])

    RunFolder(tmp_path).begin(settings, "")
    trainer.train(note, lambda: False)
    assert list(seen) == ["codes", "indexer", "fusion"]
    # The code book is judged from a fifth of the training on, which is another loss.
    seen["codes"] = seen["codes"][:24]
    for losses in seen.values():
        assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_training_stops_resumes_and_restores(
    settings: EnlargingSettings, stack: NDArray[np.uint8], tmp_path: Path
) -> None:
    calls = iter([False] * 5 + [True])
    with pytest.raises(Cancelled):
        train(settings, tmp_path / "parts", stop=lambda: next(calls))
    train(settings, tmp_path / "parts", resume=True)
    train(settings, tmp_path / "whole")
    digests = {weights.digest("gpemsr", tmp_path / name) for name in ("parts", "whole")}
    assert len(digests) == 1
    low = stack[1].reshape(32, 8, 32, 8).mean(axis=(1, 3)).round().astype(np.uint8)
    made = sff.enlarge(low, stack[0], stack[2], method="gpemsr", weights=tmp_path / "whole")
    assert made.restored.shape == stack[1].shape
    assert made.report["off_low_rms"] < 1
    with pytest.raises(InputError, match="8 times"):
        sff.enlarge(
            low, stack[0, :128, :128], stack[2, :128, :128], factor=4, method="gpemsr",
            weights=tmp_path / "whole",
        )  # fmt: skip
    with pytest.raises(WeightsError, match="--stages gpemsr"):
        sff.enlarge(low, stack[0], stack[2], method="gpemsr")
