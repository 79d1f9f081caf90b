"""Scores and the comparison of methods."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio

from sff_napari.errors import InputError
from sff_napari.evaluation import (
    METHODS,
    Perturbation,
    Trials,
    common_shift,
    end_point_errors,
    evaluate,
    psnr,
    sharpness,
    spectrum_distance,
    ssim,
    without_shift,
)
from sff_napari.evaluation import methods as methods_module
from sff_napari.simulation import RealisticRanges, apply_flow


def test_psnr_and_ssim_against_skimage(stack):
    a, b = stack[0], stack[1]
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(b, a, data_range=255))
    assert psnr(a, a) == math.inf
    assert ssim(a, a) == pytest.approx(1)
    where = np.zeros(a.shape, bool)
    assert math.isnan(psnr(a, b, where))
    where[:10] = True
    assert psnr(a, b, where) == pytest.approx(psnr(a[:10], b[:10]))


def test_sharpness_tells_a_mean_from_a_slice(stack):
    everywhere = np.ones(stack[0].shape, bool)
    mean = (stack[0].astype(float) + stack[2]) / 2
    assert sharpness(stack[0], stack[1], everywhere) == pytest.approx(1, abs=0.1)
    assert sharpness(mean, stack[1], everywhere) < 0.85


def test_spectrum_distance_sees_blur_and_not_place(stack):
    clean, neighbour = stack[1], stack[2]
    mean = (stack[0].astype(float) + stack[2]) / 2
    assert spectrum_distance(clean, clean) == 0
    assert spectrum_distance(neighbour, clean) < 0.5
    assert spectrum_distance(np.roll(clean, 40, axis=0), clean) < 0.5
    assert spectrum_distance(mean, clean) > 2
    assert spectrum_distance(gaussian_filter(clean, 1.5), clean) > 5
    # Twice the contrast is four times the power: 6 dB at every frequency.
    soft = 60 + 0.25 * clean
    doubled = 2 * (soft - 60) + 60
    assert spectrum_distance(doubled, soft) == pytest.approx(6.02, abs=0.4)
    left = np.zeros(clean.shape, bool)
    left[:, :160] = True
    half = np.where(left, clean, 0)
    assert spectrum_distance(half, clean, left) < spectrum_distance(half, clean)
    assert math.isnan(spectrum_distance(half, clean, np.zeros(clean.shape, bool)))


def test_missing_pixels_do_not_count(stack):
    clean, other = stack[1].astype(np.float32), stack[2]
    holed = clean.copy()
    holed[:64] = np.nan
    everywhere = np.ones(clean.shape, bool)
    assert psnr(other, holed) == pytest.approx(psnr(other[64:], clean[64:]))
    assert psnr(holed, other, everywhere) == pytest.approx(psnr(other[64:], clean[64:]))
    assert ssim(other, holed) == pytest.approx(ssim(other[64:], clean[64:]), abs=0.01)
    rest = spectrum_distance(other[64:], clean[64:])
    assert spectrum_distance(other, holed) == pytest.approx(rest)
    assert sharpness(holed, clean, everywhere) == pytest.approx(1, abs=0.01)
    nothing = np.full(clean.shape, np.nan)
    for score in (psnr, ssim, spectrum_distance):
        assert math.isnan(score(nothing, clean))


def test_end_point_error():
    flow = np.zeros((2, 4, 4), np.float32)
    truth = flow.copy()
    truth[0] += 3
    truth[1] += 4
    truth[:, 0, 0] = np.nan
    errors = end_point_errors(flow, truth)
    assert errors.size == 15
    assert np.allclose(errors, 5)
    with pytest.raises(InputError):
        end_point_errors(flow, truth[:, :2])


@pytest.mark.parametrize("shift", [(3.0, -2.0), (-0.5, 4.25), (0.0, 0.0)])
def test_a_common_shift_is_found_and_taken_out(stack, shift):
    clean = gaussian_filter(stack[1].astype(np.float64), 1.5)
    flow = np.zeros((2, *clean.shape), np.float32)
    flow[1] = 5
    truth = flow - np.array(shift, np.float32)[:, None, None]
    truth[:, :20] = np.nan
    found = common_shift(flow, truth)
    assert found == pytest.approx(shift, abs=1e-5)
    image = apply_flow(
        clean, np.broadcast_to(np.array(shift, np.float32)[:, None, None], (2, *clean.shape))
    )
    back, same = without_shift(image, clean, found)
    lost = [math.ceil(abs(s)) for s in shift]
    assert back.shape == same.shape == tuple(np.array(clean.shape) - lost)
    assert np.abs(back - same)[8:-8, 8:-8].max() < 1.5
    if any(shift):
        assert np.abs(image - clean)[8:-8, 8:-8].max() > 10
    far = without_shift(image, clean, np.array([1e4, 0.0]))
    assert far[0].size == 0
    assert np.isnan(common_shift(np.full_like(flow, np.nan), truth)).all()


def test_what_is_missing_stays_missing_when_a_shift_is_taken_out(stack):
    image = stack[1].astype(np.float64)
    image[100:110, 50:60] = np.nan
    back, _ = without_shift(image, stack[1], np.array([2.0, 0.0]))
    gap = np.isnan(back)
    # The first two rows are cut off, so what lay at row 100 is at row 100 again.
    assert gap[100:110, 50:60].all()
    assert 100 <= gap.sum() <= 144


def test_the_error_is_a_common_shift_and_the_rest(stack, monkeypatch):
    def off(case, settings):
        true = case.simulation.flow
        flow = true + np.array([3.0, 4.0], np.float32)[:, None, None]
        half = true.shape[2] // 2
        flow[0, :, :half] += 0.25
        flow[0, :, half:] -= 0.25
        image = apply_flow(case.simulation.damaged, flow)
        return methods_module.Outcome(np.where(np.isnan(image), case.clean, image), flow)

    monkeypatch.setattr(methods_module, "METHODS", {"off": off})
    found = evaluate(stack, Trials(folds=3, kind="realistic"))
    mean = found.rows[0].mean
    assert mean["flow_shift"] == pytest.approx(5, abs=0.1)
    assert mean["flow_error"] == pytest.approx(5, abs=0.1)
    assert mean["flow_error_internal"] == pytest.approx(0.25, abs=0.05)
    assert mean["psnr_unshifted"] > mean["psnr"] + 0.7
    assert mean["ssim_unshifted"] > mean["ssim"]
    assert "internal" in found.table()
    assert "PSNR*" in found.table()


@pytest.mark.parametrize("kind", ["straight", "realistic"])
def test_the_order_of_the_methods_makes_sense(larger, kind):
    names = ["damaged", "copy", "mean", "inpainting", "ours", "ceiling"]
    trials = Trials(folds=3, kind=kind, seed=1, device="cpu")
    table = evaluate(larger, trials, methods=names)
    scores = {row.method: row.mean for row in table.rows}
    assert table.slices == (1,)
    assert scores["ceiling"]["psnr"] >= scores["ours"]["psnr"] > scores["mean"]["psnr"]
    assert scores["ours"]["psnr_outside"] > scores["damaged"]["psnr_outside"]
    assert scores["ceiling"]["flow_error"] == 0
    assert math.isnan(scores["copy"]["flow_error"])
    assert "ours" in table.table()
    plain = json.loads(json.dumps(table.to_dict()))
    assert plain["rows"][1]["mean"]["flow_error"] is None


def test_same_seed_same_scores(stack):
    names = ["damaged", "mean"]
    one, two = (evaluate(stack, Trials(folds=2, seed=5), methods=names) for _ in range(2))
    assert [r.mean["psnr"] for r in one.rows] == [r.mean["psnr"] for r in two.rows]
    other = evaluate(stack, Trials(folds=2, seed=6), methods=names)
    assert other.rows[0].mean["psnr"] != one.rows[0].mean["psnr"]


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({"slices": [0]}, "neighbour on both sides"),
        ({"slices": [9]}, "no slice 9"),
        ({"kind": "wavy"}, "no kind"),
        ({"folds": 0}, "at least one"),
        ({"inject_drift": -1}, "cannot be injected"),
        ({"inject_drift": math.nan}, "cannot be injected"),
        ({"given": Perturbation(shift=(1, 0)), "ranges": RealisticRanges()}, "Ranges"),
    ],
)
def test_bad_choices(stack, choices, says):
    with pytest.raises(InputError, match=says):
        evaluate(stack, Trials(**choices))


def test_an_unknown_method(stack):
    with pytest.raises(InputError, match="no method"):
        evaluate(stack, methods=["magic"])


def test_every_row_of_the_papers_table_is_there():
    assert set(METHODS) >= {
        "damaged", "copy", "mean", "inpainting", "interpolation", "interpolation+fusion",
        "unfolding+fusion", "cascade", "ours",
    }  # fmt: skip
