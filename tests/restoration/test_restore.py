"""Restoring slices end to end: what comes back, how good it is, what is refused."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import zarr

import sff_napari as sff
from sff_napari.errors import Cancelled, FoldError, InputError
from sff_napari.evaluation import psnr
from sff_napari.simulation import neuropil, simulate_realistic


@pytest.fixture(scope="module")
def triple():
    stack = neuropil((3, 384, 384), seed=5)
    fold = sff.Fold([(0, 170), (383, 215)], 7)
    return stack, sff.simulate_fold(stack[1], fold, hidden_half_width=30, decay=0.04)


@pytest.fixture(scope="module")
def result(triple):
    stack, sim = triple
    return sff.restore(stack[0], sim.damaged, stack[2], sim.folds, device="cpu")


def test_shapes_and_dtypes(triple, result):
    _, sim = triple
    shape = sim.damaged.shape
    assert result.restored.shape == result.reference.shape == shape
    assert result.restored.dtype == result.reference.dtype == np.uint8
    assert result.unfolded.dtype == result.flow.dtype == result.synthesised.dtype == np.float32
    assert result.flow.shape == (2, *shape)
    assert result.synthesised.min() == 0
    assert result.synthesised.max() == 1
    assert np.array_equal(np.isnan(result.flow).any(0), np.isnan(result.unfolded))


def test_slices_get_much_better():
    # Small slices tell little about how fast a fold dies out: one alone can be off by chance.
    gains, errors = [], []
    for seed in (5, 6, 7):
        stack = neuropil((3, 384, 384), seed=seed)
        fold = sff.Fold([(0, 170), (383, 215)], 7)
        sim = sff.simulate_fold(stack[1], fold, hidden_half_width=30, decay=0.04)
        result = sff.restore(stack[0], sim.damaged, stack[2], sim.folds, device="cpu")
        mean = (stack[0].astype(float) + stack[2]) / 2
        reached = psnr(result.restored, stack[1])
        assert reached > psnr(sim.damaged, stack[1]) + 5
        gains.append(reached - psnr(mean, stack[1]))
        both = np.isfinite(result.flow).all(0) & ~sim.corrupted
        errors.append(np.hypot(*(result.flow - sim.flow)[:, both]).mean())
    assert np.mean(gains) > 4
    assert np.mean(errors) < 1.0


def test_the_flow_is_what_unfolded_the_slice(triple, result):
    from sff_napari.simulation import apply_flow

    _, sim = triple
    again = apply_flow(sim.damaged, result.flow)
    seen = np.isfinite(again)
    assert np.abs(np.clip(again, 0, 255) - result.unfolded)[seen].max() < 1.0


def test_pixels_the_fold_did_not_reach_keep_their_bits():
    stack = neuropil((3, 384, 384), seed=6)
    fold = sff.Fold([(0, 40), (383, 50)], 5)
    sim = sff.simulate_fold(stack[1], fold, hidden_half_width=20, decay=0.1)
    result = sff.restore(stack[0], sim.damaged, stack[2], [fold], device="cpu")
    far = np.zeros_like(sim.corrupted)
    far[:, 340:] = True
    assert np.array_equal(result.restored[far], sim.damaged[far])
    assert (result.synthesised[far] == 0).all()
    observed = result.synthesised == 0
    assert observed.mean() > 0.7


def test_tiles_do_not_change_the_result(triple, result):
    stack, sim = triple
    tiled = sff.restore(stack[0], sim.damaged, stack[2], sim.folds, device="cpu", tile=128)
    assert np.abs(tiled.restored.astype(int) - result.restored).max() <= 1
    both = np.isfinite(tiled.flow) & np.isfinite(result.flow)
    assert np.array_equal(np.isnan(tiled.flow), np.isnan(result.flow))
    assert np.abs(tiled.flow - result.flow)[both].max() < 1e-3
    assert np.allclose(tiled.synthesised, result.synthesised, atol=1e-5)


@pytest.mark.parametrize("kind", ["uint16", "float32", "float64", "unit", "dask", "zarr"])
def test_other_dtypes_and_containers_give_the_same(triple, result, kind):
    stack, sim = triple
    slices = [stack[0], sim.damaged, stack[2]]
    if kind == "uint16":
        slices = [s.astype(np.uint16) * 257 for s in slices]
    elif kind in ("float32", "float64"):
        slices = [s.astype(kind) for s in slices]
    elif kind == "unit":
        slices = [s.astype(np.float32) / 255 for s in slices]
    elif kind == "dask":
        slices = [da.from_array(s, chunks=100) for s in slices]
    else:
        slices = [zarr.array(s, chunks=(128, 128)) for s in slices]
    other = sff.restore(*slices, sim.folds, device="cpu")
    restored = other.restored
    if kind not in ("dask", "zarr"):
        assert restored.dtype == slices[1].dtype
    factor = {"uint16": 1 / 257, "unit": 255}.get(kind, 1)
    assert np.abs(restored * factor - result.restored.astype(float)).mean() < 1.0


@pytest.mark.parametrize("missing", ["previous", "following"])
def test_one_neighbour_is_enough(triple, missing):
    stack, sim = triple
    around = [
        None if missing == "previous" else stack[0],
        None if missing == "following" else stack[2],
    ]
    result = sff.restore(around[0], sim.damaged, around[1], sim.folds, device="cpu")
    assert psnr(result.restored, stack[1]) > psnr(sim.damaged, stack[1]) + 4


def test_brighter_neighbours(triple, result):
    stack, sim = triple
    bright = [np.clip(stack[z].astype(float) * 1.2 + 8, 0, 255).astype(np.uint8) for z in (0, 2)]
    other = sff.restore(bright[0], sim.damaged, bright[1], sim.folds, device="cpu")
    assert psnr(other.restored, stack[1]) > psnr(result.restored, stack[1]) - 0.7


@pytest.mark.parametrize("shift", [(24, 0), (0, -28), (17, 20)])
def test_a_shifted_neighbour(triple, result, shift):
    stack, sim = triple
    moved = np.roll(stack[0], shift, (0, 1))
    other = sff.restore(moved, sim.damaged, stack[2], sim.folds, device="cpu")
    assert psnr(other.restored, stack[1]) > psnr(result.restored, stack[1]) - 2.0


def test_two_folds():
    stack = neuropil((3, 448, 448), seed=8)
    first = sff.simulate_fold(stack[1], sff.Fold([(0, 110), (447, 130)], 6), 24, 0.06)
    second = sff.simulate_fold(first.damaged, sff.Fold([(0, 330), (447, 320)], 6), 24, 0.06)
    folds = [sff.Fold([(0, 110), (447, 130)], 6), second.fold]
    result = sff.restore(stack[0], second.damaged, stack[2], folds, device="cpu")
    assert psnr(result.restored, stack[1]) > psnr(second.damaged, stack[1]) + 4
    assert len(result.report["folds"]) == 2


def test_realistic_fold():
    stack = neuropil((3, 448, 448), seed=9)
    sim = simulate_realistic(stack[1], np.random.default_rng(2))
    result = sff.restore(stack[0], sim.damaged, stack[2], sim.folds, device="cpu")
    assert psnr(result.restored, stack[1]) > psnr(sim.damaged, stack[1]) + 3


@pytest.mark.parametrize(
    "choices",
    [
        {"interpolation": "mean", "fusion": "stitch"},
        {"interpolation": "previous"},
        {"interpolation": "following", "unfolding": "none"},
    ],
)
def test_other_methods_run(triple, choices):
    stack, sim = triple
    result = sff.restore(stack[0], sim.damaged, stack[2], sim.folds, device="cpu", **choices)
    assert result.report["interpolation"] == choices["interpolation"]
    assert psnr(result.restored, stack[1]) > psnr(sim.damaged, stack[1])


def test_progress_and_cancel(triple):
    stack, sim = triple
    shares: list[float] = []
    sff.restore(
        stack[0],
        sim.damaged,
        stack[2],
        sim.folds,
        progress=lambda share, text: shares.append(share),
    )
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert len(shares) > 5
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(Cancelled):
        sff.restore(stack[0], sim.damaged, stack[2], sim.folds, cancelled=stop)


def test_inputs_are_not_written_to(triple):
    stack, sim = triple
    slices = [stack[0].copy(), sim.damaged.copy(), stack[2].copy()]
    for array in slices:
        array.setflags(write=False)
    sff.restore(*slices, sim.folds, device="cpu", unfolding="none")


def test_nan_in_part_of_the_slice(triple):
    stack, sim = triple
    damaged = sim.damaged.astype(np.float32)
    damaged[:40, :40] = np.nan
    result = sff.restore(
        stack[0].astype(np.float32), damaged, stack[2].astype(np.float32), sim.folds
    )
    assert np.isfinite(result.restored[100:, 100:]).all()


FOLD = sff.Fold([(0, 30), (63, 34)], 3)
GREY = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)


@pytest.mark.parametrize(
    ("damaged", "says"),
    [
        (np.zeros(9), "1 dimensions"),
        (np.zeros((3, 64, 64)), "3 dimensions"),
        (np.zeros((0, 64)), "empty"),
        (np.full((64, 64), np.nan), "no finite"),
        (np.full((64, 64), 7, np.uint8), "same value"),
        (GREY.astype(np.int64), "int64"),
        (GREY > 3, "bool"),
        (GREY[:20, :20], "at least"),
    ],
)
def test_bad_slices(damaged, says):
    with pytest.raises(InputError, match=says) as caught:
        sff.restore(GREY, damaged, GREY, [FOLD])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((None, GREY, None), "Both neighbours"),
        ((GREY[:40], GREY, None), "same shape"),
        ((np.zeros_like(GREY), GREY, None), "same value"),
        ((GREY.astype(np.int32), GREY, None), "int32"),
    ],
)
def test_bad_neighbours(arguments, says):
    with pytest.raises(InputError, match=says):
        sff.restore(*arguments, [FOLD])


def test_bad_folds_and_choices():
    with pytest.raises(FoldError, match="no fold"):
        sff.restore(GREY, GREY, GREY, [])
    with pytest.raises(FoldError, match="outside"):
        sff.restore(GREY, GREY, GREY, [sff.Fold([(200, 0), (200, 50)], 3)])
    with pytest.raises(FoldError, match="too large"):
        sff.restore(GREY, GREY, GREY, [sff.Fold([(0, 0), (60, 50)], 300)])
    for wrong in ({"fusion": "magic"}, {"cover": -1}, {"tile": 3}, {"device": "abacus"}):
        with pytest.raises(InputError):
            sff.restore(GREY, GREY, GREY, [FOLD], **wrong)
    with pytest.raises(InputError, match="previous slice is missing"):
        sff.restore(None, GREY, GREY[::-1], [FOLD], interpolation="previous", unfolding="none")


def test_a_small_slice_without_texture_is_restored_without_an_error():
    noise = np.random.default_rng(0).integers(90, 160, (3, 128, 128), dtype=np.uint8)
    damaged = noise[1].copy()
    damaged[:, 58:68] = 5
    fold = sff.Fold([(0, 63), (127, 63)], 5)
    result = sff.restore(noise[0], damaged, noise[2], [fold], device="cpu")
    assert result.restored[:, 60:66].mean() > 60
