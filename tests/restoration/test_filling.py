"""Filling the hidden band by the network."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

import sff_napari as sff
from sff_napari.errors import WeightsError
from sff_napari.evaluation import psnr
from sff_napari.evaluation.metrics import sharpness
from sff_napari.networks import weights
from sff_napari.restoration.fusion.inpainting import Learned, _windows_of
from sff_napari.restoration.neighbours.neighbour import Neighbour
from sff_napari.simulation import neuropil

SHAPE = (300, 340)


@pytest.fixture(scope="module")
def triple():
    """Return a stack and a fold simulated on its middle slice."""
    stack = neuropil((3, *SHAPE), seed=5)
    fold = sff.Fold([(0, 150), (299, 190)], 7)
    return stack, sff.simulate_fold(stack[1], fold, hidden_half_width=30, decay=0.04)


def restored(triple, **choices):
    """Return the restoration of the triple."""
    stack, sim = triple
    choices = {"fusion": "learned", "device": "cpu", **choices}
    around = choices.pop("around", (stack[0], stack[2]))
    return sff.restore(around[0], sim.damaged, around[1], sim.folds, **choices)


@pytest.fixture(scope="module")
def result(triple):
    return restored(triple)


def test_only_the_hidden_band_and_its_seam_are_made_up_differently(triple, result):
    seamless = restored(triple, fusion="seamless")
    outside = result.synthesised == 0
    assert np.array_equal(result.synthesised, seamless.synthesised)
    assert np.array_equal(result.restored[outside], seamless.restored[outside])
    assert np.array_equal(result.flow, seamless.flow, equal_nan=True)
    hidden = result.synthesised == 1
    assert (result.restored[hidden] != seamless.restored[hidden]).mean() > 0.5


def test_tiles_do_not_change_it(triple, result):
    tiled = restored(triple, tile=96)
    assert np.abs(tiled.restored.astype(int) - result.restored).max() <= 1
    assert np.allclose(tiled.confidence, result.confidence, atol=2e-3)


def test_windows_join_without_a_seam(triple, result):
    """Steps between rows are no larger where windows begin than elsewhere."""
    hidden = np.isnan(result.flow).any(0)
    both = hidden[1:] & hidden[:-1]
    steps = np.abs(np.diff(result.restored.astype(float), axis=0))
    rows = [steps[y][both[y]].mean() for y in range(len(steps)) if both[y].any()]
    begins = [y for y in range(64, 290, 64) if both[y].any()]
    assert max(steps[y - 1][both[y - 1]].mean() for y in begins) < 1.5 * np.percentile(rows, 95)


def test_brightness_and_contrast_do_not_matter(triple, result):
    stack, sim = triple
    paler = [(s.astype(np.float32) * 0.4 + 70) for s in (stack[0], sim.damaged, stack[2])]
    other = sff.restore(*paler, sim.folds, fusion="learned", device="cpu")
    hidden = result.synthesised == 1
    same = (other.restored - 70) / 0.4
    assert np.abs(same - result.restored)[hidden].mean() < 3


def test_one_neighbour_will_do(triple):
    stack, sim = triple
    for around in ((stack[0], None), (None, stack[2])):
        one = restored(triple, around=around)
        assert np.isfinite(one.confidence).all()
        hidden = one.synthesised == 1
        clean, damaged = stack[1], sim.damaged
        assert psnr(one.restored, clean, hidden) > psnr(damaged, clean, hidden) + 2


@pytest.mark.parametrize("choice", ["mean", "previous", "network"])
def test_it_goes_with_every_interpolation(triple, result, choice):
    other = restored(triple, interpolation=choice)
    assert np.array_equal(np.isnan(other.flow), np.isnan(result.flow)) or choice == "network"
    assert other.restored.shape == SHAPE


def test_a_fold_at_the_border(triple):
    stack, _ = triple
    fold = sff.Fold([(0, 12), (299, 4)], 6)
    sim = sff.simulate_fold(stack[1], fold, hidden_half_width=25, decay=0.05)
    one = sff.restore(stack[0], sim.damaged, stack[2], sim.folds, fusion="learned", device="cpu")
    hidden = one.synthesised == 1
    assert hidden[:, 0].any()
    assert one.restored[hidden].std() > 10


def test_it_says_how_unsure_it_is(triple, result):
    hidden = result.synthesised == 1
    sure = result.confidence[hidden].astype(float)
    assert 0.05 < sure.mean() < 0.95
    assert sure.std() > 0.01


def test_the_report_names_the_weights(result):
    assert result.report["weights"] == {"filling": weights.digest("filling")}


def test_a_folder_without_filling_weights_leaves_it_to_the_bundled_ones(triple, result, tmp_path):
    for kind in ("interpolation", "unfolding", "fusion"):
        shutil.copy(weights.BUNDLED / f"{kind}.safetensors", tmp_path)
    other = restored(triple, weights=tmp_path)
    assert np.array_equal(other.restored, result.restored)
    (tmp_path / "filling.safetensors").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="damaged"):
        restored(triple, weights=tmp_path)


@pytest.mark.parametrize("begin", [(128, 256), (77, 1030)])
def test_part_of_a_slice_has_its_windows_where_the_slice_has_them(begin):
    """The windows of two parts that overlap hold the same pixels."""
    whole = torch.zeros(2000, 2000, dtype=torch.bool)
    whole[begin[0] + 40 : begin[0] + 90, begin[1] + 50 : begin[1] + 60] = True
    part = whole[begin[0] : begin[0] + 200, begin[1] : begin[1] + 200]
    first = {index for index, _, _ in _windows_of(whole, (0, 0))}
    second = {index for index, _, _ in _windows_of(part, begin)}
    assert first == second
    assert first


class Given:
    """Slices as they are: nothing to correct, to move or to unfold."""

    def __init__(self, stack: np.ndarray, hidden: np.ndarray) -> None:
        self.planes = torch.from_numpy(stack.astype(np.float32) / 255)
        self.hidden = torch.from_numpy(hidden)

    def corrected(self, unfolded, origin):
        return unfolded, torch.zeros_like(unfolded)

    def parts(self, rows, columns):
        return [self.planes[0][rows, columns], self.planes[2][rows, columns]]

    def unfolded(self, rows, columns):
        return self.planes[1][rows, columns], self.hidden[rows, columns]


def test_a_part_of_a_slice_is_filled_like_the_whole():
    stack = neuropil((3, 420, 300), seed=9)
    hidden = np.zeros((420, 300), dtype=bool)
    hidden[:, 120:170] = True
    network = weights.load("filling")
    results = []
    for top in (0, 37):
        given = Given(stack[:, top:], hidden[top:])
        around = [
            Neighbour("previous", torch.tensor([0.3, 0.7]), torch.tensor([True, True])),
        ]
        shape = (420 - top, 300)
        learned = Learned(network, given, given, around, given.unfolded, shape, (top, 0))
        part = slice(200 - top, 300 - top)
        tile, mask = given.unfolded(part, slice(None))
        results.append(learned.on_tile(tile, tile, mask, (part.start, 0))[0])
    assert torch.allclose(*results, atol=1e-5)
    assert not torch.allclose(results[0], torch.from_numpy(stack[1, 200:300] / 255.0).float())


def test_what_is_expected_is_smoother_and_nearer_the_truth(triple, result):
    stack, _ = triple
    smooth = restored(triple, fusion="expected")
    hidden = result.synthesised == 1
    assert sharpness(smooth.restored, stack[1], hidden) < sharpness(
        result.restored, stack[1], hidden
    )
    assert psnr(smooth.restored, stack[1], hidden) > psnr(result.restored, stack[1], hidden)
    assert np.array_equal(smooth.restored[~hidden & (result.synthesised == 0)],
                          result.restored[~hidden & (result.synthesised == 0)])  # fmt: skip
    # Detail that may lie elsewhere in truth costs correlation.
    assert smooth.confidence[hidden].mean() > result.confidence[hidden].mean()
