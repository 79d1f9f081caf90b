"""Reconstructions of small phantoms, and what is said of bad input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import sff_napari as sff
from sff_napari.errors import Cancelled, InputError
from sff_napari.tilt_series import make_phantom, simulate_tilts
from sff_napari.tilt_series.evaluation import best_linear, calibrated_psnr
from sff_napari.tilt_series.grid import GridProblem, fit_grid
from sff_napari.tilt_series.image_model import ImageModel, find_levels
from sff_napari.tilt_series.implicit import SMALL, ImplicitVolume, fit_implicit, learn_volume
from sff_napari.tilt_series.projector import Projector
from sff_napari.tilt_series.simulation import SimulatedSeries
from sff_napari.tilt_series.thickness import estimate_thickness

SHAPE = (24, 48, 32)


@pytest.fixture(scope="module")
def made() -> SimulatedSeries:
    return simulate_tilts(make_phantom(SHAPE, seed=11), seed=11)


def test_noise_is_as_strong_as_asked(made: SimulatedSeries) -> None:
    error = np.mean((made.noisy - made.clean) ** 2)
    assert -10 * np.log10(error) == pytest.approx(15.7, abs=0.05)
    assert made.noisy.min() == 0
    assert made.noisy.max() == 1


def test_default_beats_the_best_of_the_linear_methods(made: SimulatedSeries) -> None:
    found = sff.reconstruct(made.noisy, made.tilts, thickness=SHAPE[0])
    best = max(score.volume_psnr for score in best_linear(made, 11))
    assert found.volume.shape == SHAPE
    assert found.volume.dtype == np.float32
    assert calibrated_psnr(found.volume, made.volume) > best + 2.0
    assert found.held_out is not None
    assert found.held_out > 10
    np.testing.assert_allclose(found.projections + found.residuals, made.noisy, atol=1e-5)
    assert found.report["stopped"] is False


@pytest.mark.parametrize("method", ["wbp", "sirt"])
def test_quick_methods_see_the_volume(made: SimulatedSeries, method: Any) -> None:
    found = sff.reconstruct(made.noisy, made.tilts, thickness=SHAPE[0], method=method)
    flat = calibrated_psnr(np.random.default_rng(0).normal(size=SHAPE), made.volume)
    assert calibrated_psnr(found.volume, made.volume) > flat + 1.5


@pytest.mark.parametrize("flow", [False, True])
def test_networks_learn(made: SimulatedSeries, flow: bool) -> None:
    levels = find_levels(made.noisy, "bright")
    projector = Projector(made.tilts, SHAPE[1], SHAPE[0])
    problem = GridProblem(projector, torch.from_numpy(made.noisy), ImageModel("bright", levels))
    settings = replace(SMALL, steps=120)

    def misfit(volume: torch.Tensor) -> float:
        return float(problem.model.whitened(projector.project(volume), problem.images).norm())

    network, noise = fit_implicit(problem, 0.2, settings, flow=flow)
    found = network.volume()
    assert found.shape == SHAPE
    assert misfit(found) < 0.8 * misfit(torch.zeros(SHAPE))
    assert (noise is not None) == flow
    if noise is not None:
        with torch.no_grad():
            means = noise.mean(torch.linspace(0, 1, 9))
        assert float(means.abs().max()) < 0.1 * noise.scale + 0.02


def test_a_network_learns_a_volume() -> None:
    volume = torch.from_numpy(make_phantom((16, 24, 24), seed=2)) * 0.1
    network = ImplicitVolume(SMALL, (16, 24, 24), 0.15)
    with torch.enable_grad():
        learn_volume(network, volume, 150)
    assert calibrated_psnr(network.volume().numpy(), volume.numpy()) > 17


def test_implicit_returns_what_the_others_do(made: SimulatedSeries) -> None:
    count = 0

    def cancelled() -> bool:
        nonlocal count
        count += 1
        return count > 130

    found = sff.reconstruct(
        made.noisy, made.tilts, thickness=SHAPE[0], method="implicit", cancelled=cancelled
    )
    assert found.volume.shape == SHAPE
    assert found.report["features"] == 64


def test_axis_y_is_axis_x_turned(made: SimulatedSeries) -> None:
    along_x = sff.reconstruct(made.noisy, made.tilts, thickness=24, method="sirt")
    along_y = sff.reconstruct(
        np.swapaxes(made.noisy, 1, 2), made.tilts, axis="y", thickness=24, method="sirt"
    )
    np.testing.assert_allclose(np.swapaxes(along_y.volume, 1, 2), along_x.volume, atol=1e-5)
    np.testing.assert_allclose(np.swapaxes(along_y.residuals, 1, 2), along_x.residuals, atol=1e-5)


def test_order_of_the_images_does_not_matter(made: SimulatedSeries) -> None:
    order = np.random.default_rng(0).permutation(len(made.tilts))
    straight = sff.reconstruct(made.noisy, made.tilts, thickness=24, method="wbp")
    mixed = sff.reconstruct(made.noisy[order], made.tilts[order], thickness=24, method="wbp")
    np.testing.assert_allclose(mixed.volume, straight.volume, atol=1e-6)
    np.testing.assert_allclose(mixed.residuals, straight.residuals[order], atol=1e-5)


def test_dark_field_is_linear() -> None:
    made = simulate_tilts(make_phantom(SHAPE, seed=12), contrast="dark", seed=12)
    found = sff.reconstruct(made.noisy, made.tilts, contrast="dark", thickness=SHAPE[0])
    sirt = sff.reconstruct(
        made.noisy, made.tilts, contrast="dark", thickness=SHAPE[0], method="sirt"
    )
    gain = calibrated_psnr(found.volume, made.volume) - calibrated_psnr(sirt.volume, made.volume)
    assert gain > 2.0


def test_scale_of_the_grey_values_does_not_matter(made: SimulatedSeries) -> None:
    one = sff.reconstruct(made.noisy, made.tilts, thickness=24, method="sirt")
    two = sff.reconstruct(made.noisy * 4000 + 300, made.tilts, thickness=24, method="sirt")
    np.testing.assert_allclose(two.volume, one.volume, atol=2e-3)


def test_known_defocus_helps() -> None:
    made = simulate_tilts(make_phantom((16, 48, 24), seed=3), seed=3, defocus=3.0, noise=25)
    blind = sff.reconstruct(made.noisy, made.tilts, thickness=16)
    known = sff.reconstruct(made.noisy, made.tilts, thickness=16, defocus=3.0)
    assert calibrated_psnr(known.volume, made.volume) > calibrated_psnr(blind.volume, made.volume)


def test_thickness_is_estimated() -> None:
    volume = np.zeros((40, 48, 24), np.float32)
    volume[12:28] = make_phantom((16, 48, 24), seed=5)
    made = simulate_tilts(volume, seed=5)
    from sff_napari.tilt_series.series import check_series

    found = estimate_thickness(check_series(made.noisy, made.tilts, "x"), "bright")
    assert 13 <= found <= 26


def test_clipped_noise_is_recognised(made: SimulatedSeries) -> None:
    levels = find_levels(made.noisy, "bright")
    assert levels.clipped_high
    projector = Projector(made.tilts, SHAPE[1], SHAPE[0])
    true = -torch.log(torch.from_numpy(made.clean).clamp(min=1e-3))
    model = ImageModel("bright", levels).fitted(true, torch.from_numpy(made.noisy))
    empty = made.noisy[made.clean > 0.98].mean()
    place = int(1.0 / 1.2 * 200)
    assert float(model.mean[place]) == pytest.approx(float(empty), abs=0.02)
    assert projector.squared_norm() > 0


def test_more_steps_lower_the_penalised_misfit(made: SimulatedSeries) -> None:
    levels = find_levels(made.noisy, "bright")
    projector = Projector(made.tilts, SHAPE[1], SHAPE[0])
    problem = GridProblem(projector, torch.from_numpy(made.noisy), ImageModel("bright", levels))

    def misfit(volume: torch.Tensor) -> float:
        sums = projector.project(volume)
        return float(problem.model.whitened(sums, problem.images).square().sum())

    volumes = [fit_grid(problem, 0.0, steps) for steps in (2, 10, 40)]
    assert misfit(volumes[0]) > misfit(volumes[1]) > misfit(volumes[2])
    assert all(float(volume.min()) >= 0 for volume in volumes)


def test_stopping_keeps_the_best_so_far(made: SimulatedSeries) -> None:
    seen: list[str] = []

    def cancelled() -> bool:
        return seen.count("fitting the volume") >= 5

    found = sff.reconstruct(
        made.noisy,
        made.tilts,
        thickness=SHAPE[0],
        progress=lambda share, text: seen.append(text),
        cancelled=cancelled,
    )
    assert found.report["stopped"] is True
    assert 5 <= found.report["steps"] <= 7
    assert found.volume.max() > 0


def test_stopping_before_there_is_a_volume(made: SimulatedSeries) -> None:
    with pytest.raises(Cancelled):
        sff.reconstruct(made.noisy, made.tilts, thickness=24, cancelled=lambda: True)


GOOD = np.random.default_rng(0).random((9, 16, 16)).astype(np.float32)
ANGLES = np.linspace(-40, 40, 9)


@pytest.mark.parametrize(
    ("series", "tilts", "options", "words"),
    [
        (GOOD[0], ANGLES, {}, "three axes"),
        (GOOD, ANGLES[:5], {}, "5 tilt angles for 9 images"),
        (GOOD, np.radians(ANGLES), {}, "degrees"),
        (GOOD, ANGLES * 3, {}, "not between"),
        (GOOD, np.where(ANGLES == 0, np.nan, ANGLES), {}, "not finite"),
        (GOOD[:4], ANGLES[:4], {}, "too few"),
        (np.where(np.arange(9)[:, None, None] == 3, np.nan, GOOD), ANGLES, {}, "NaN"),
        (np.where(np.arange(9)[:, None, None] == 3, 0.5, GOOD), ANGLES, {}, "constant"),
        (GOOD.astype(complex), ANGLES, {}, "real numbers"),
        (GOOD[:, :4], ANGLES, {}, "at least 8 pixels"),
        (GOOD, ANGLES, {"axis": "z"}, "axis"),
        (GOOD, ANGLES, {"method": "magic"}, "no method"),
        (GOOD, ANGLES, {"contrast": "grey"}, "contrast"),
        (GOOD, ANGLES, {"thickness": 0}, "thickness"),
        (GOOD, ANGLES, {"minutes": 0}, "minutes"),
        (GOOD, ANGLES, {"defocus": -1.0}, "defocus"),
    ],
)
def test_bad_input_gives_one_sentence(
    series: Any, tilts: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        sff.reconstruct(series, tilts, **options)
    assert "\n" not in str(caught.value)
