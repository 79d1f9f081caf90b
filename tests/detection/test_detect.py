"""Detection as a whole: folds are found and measured, everything else is left alone."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from sff_napari.detection import compare, detect_folds, match
from sff_napari.errors import Cancelled, InputError
from sff_napari.folds import Fold
from sff_napari.simulation import (
    Simulation,
    neuropil,
    simulate_fold,
    simulate_realistic,
    simulate_straight,
)


def drawn(
    image: NDArray[np.uint8], vertices: list[tuple[float, float]], width: int, grey: int
) -> NDArray[np.uint8]:
    """Return `image` with a line drawn through (y, x) vertices, anti-aliased."""
    points = np.round(np.array(vertices)[:, ::-1] * 16).astype(np.int32)
    return np.asarray(
        cv2.polylines(image.copy(), [points], False, grey, width, cv2.LINE_AA, 4), np.uint8
    )


def test_a_straight_fold_is_found_with_two_vertices(straight: Simulation) -> None:
    lines = detect_folds(straight.damaged)
    assert len(lines) == 1
    fold = lines[0]
    assert fold.source == "detected"
    assert fold.score is not None
    assert fold.score > 0.8
    assert fold.is_straight
    assert fold.half_width == pytest.approx(straight.fold.half_width, abs=0.5)
    agreement = compare(fold, straight.fold, straight.damaged.shape)
    assert agreement.distance < 0.4
    assert agreement.cover > 0.99
    for y, x in fold.vertices:
        assert min(y, x, 383 - y, 447 - x) < 1


def test_a_bent_fold_gets_a_bent_line(realistic: Simulation) -> None:
    lines = detect_folds(realistic.damaged)
    result = match(lines, realistic.folds, realistic.damaged.shape)
    assert (result.missed, result.false) == (0, 0)
    assert len(lines[0].vertices) > 2
    assert result.distances[0] < 1.0
    assert lines[0].half_widths is not None
    assert np.mean(lines[0].half_widths) == pytest.approx(
        np.mean(realistic.fold.half_widths), rel=0.25
    )


# Seeds whose folds do not lie along the border, where only one of their sides is in the slice.
@pytest.mark.parametrize("seed", [51, 52, 53, 55, 56, 57])
@pytest.mark.parametrize("kind", [simulate_straight, simulate_realistic])
def test_random_folds_are_found(tissue: NDArray[np.uint8], kind: object, seed: int) -> None:
    trial = kind(tissue, np.random.default_rng(seed))  # type: ignore[operator]
    result = match(detect_folds(trial.damaged), trial.folds, trial.damaged.shape)
    assert (result.missed, result.false) == (0, 0)


def test_two_folds_are_two_lines(tissue: NDArray[np.uint8]) -> None:
    first, second = (
        Fold([(80.0, 0.0), (40.0, 447.0)], 6.0),
        Fold([(300.0, 0.0), (330.0, 447.0)], 9.0),
    )
    damaged = simulate_fold(simulate_fold(tissue, first, 20).damaged, second, 25).damaged
    lines = detect_folds(damaged)
    assert len(lines) == 2
    assert lines[0].score is not None
    assert lines[1].score is not None
    assert lines[0].score >= lines[1].score
    assert len(detect_folds(damaged, max_folds=1)) == 1


def test_an_end_inside_the_slice_is_found(tissue: NDArray[np.uint8]) -> None:
    image = drawn(tissue, [(200.0, 0.0), (150.0, 300.0)], 15, 12)
    (fold,) = detect_folds(image)
    ends = sorted((fold.vertices[0], fold.vertices[-1]), key=lambda p: p[1])
    assert ends[0][1] < 1
    assert math.dist(ends[1], (150.0, 300.0)) < 12


@pytest.mark.parametrize("seed", range(3))
def test_clean_tissue_has_no_fold(seed: int) -> None:
    for image in neuropil((2, 384, 384), seed=20 + seed):
        assert detect_folds(image) == []


def _vessel(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    cv2.circle(image, (220, 200), 90, 225, -1, cv2.LINE_AA)
    return cv2.circle(image, (220, 200), 93, 35, 5, cv2.LINE_AA)


def _seam(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image[:, 230:] = (image[:, 230:] * 0.55).astype(np.uint8)
    return image


def _dark_half(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image[240:] = image[240:] // 8
    return image


def _border(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image[:, :25] = 3
    return image


def _rotated(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    turn = cv2.getRotationMatrix2D((220, 190), 6.0, 1.0)
    return np.asarray(cv2.warpAffine(image, turn, (448, 384)), np.uint8)


def _membrane(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return drawn(image, [(100.0, 30.0), (190.0, 210.0)], 3, 60)


def _resin(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image[:, 250:] = 235
    return image


@pytest.mark.parametrize(
    "spoil", [_vessel, _seam, _dark_half, _border, _rotated, _membrane, _resin]
)
def test_other_dark_and_straight_things_are_no_folds(
    tissue: NDArray[np.uint8], spoil: object
) -> None:
    assert detect_folds(spoil(tissue.copy())) == []  # type: ignore[operator]


CHANGES = {
    "brighter": lambda a: np.clip(a * 1.2, 0, 255).astype(np.uint8),
    "pale": lambda a: (a * 0.3 + 90).astype(np.uint8),
    "blurred": lambda a: cv2.GaussianBlur(a, (0, 0), 2),
    "noisy": lambda a: np.clip(a + np.random.default_rng(1).normal(0, 15, a.shape), 0, 255).astype(
        np.uint8
    ),
    "uint16": lambda a: a.astype(np.uint16) * 4 + 1000,
    "float": lambda a: a.astype(np.float32) / 255,
    "float with NaN": lambda a: np.where(np.arange(a.shape[1]) < 9, np.nan, a / 255.0),
    "column order": lambda a: np.asfortranarray(a),
    "a view of something larger": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
}


@pytest.mark.parametrize("name", CHANGES)
def test_it_works_in_any_grey_scale(realistic: Simulation, name: str) -> None:
    lines = detect_folds(CHANGES[name](realistic.damaged))
    result = match(lines, realistic.folds, realistic.damaged.shape)
    assert (result.missed, result.false) == (0, 0)


def test_a_large_slice_is_searched_reduced_and_measured_at_full_scale() -> None:
    quarter = neuropil((1, 512, 512), seed=3)[0]
    clean = np.tile(quarter, (5, 4))
    fold = Fold([(200.0, 0.0), (2000.0, 2047.0)], 8.0)
    (line,) = detect_folds(simulate_fold(clean, fold).damaged)
    assert compare(line, fold, clean.shape).distance < 0.5
    assert line.half_width == pytest.approx(8.0, abs=0.5)


def test_it_gives_the_same_answer_twice(realistic: Simulation) -> None:
    assert detect_folds(realistic.damaged) == detect_folds(realistic.damaged)


def test_progress_is_reported_and_cancelling_works(straight: Simulation) -> None:
    shares: list[float] = []
    detect_folds(straight.damaged, progress=lambda share, text: shares.append(share))
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    with pytest.raises(Cancelled):
        detect_folds(straight.damaged, cancelled=lambda: len(shares) > 0)


@pytest.mark.parametrize("image", [np.full((64, 64), 9, np.uint8), np.zeros((40, 900), np.float32)])
def test_constant_slices_have_no_fold(image: np.ndarray) -> None:
    assert detect_folds(image) == []


@pytest.mark.parametrize("shape", [(32, 32), (32, 500), (333, 35)])
def test_small_and_narrow_slices_do_not_fail(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, shape).astype(np.uint8)
    assert isinstance(detect_folds(image), list)
    image[shape[0] // 2 - 4 : shape[0] // 2 + 4] = 0
    assert isinstance(detect_folds(image), list)


@pytest.mark.parametrize(
    ("image", "arguments"),
    [
        (np.zeros(9, np.uint8), {}),
        (np.zeros((3, 64, 64), np.uint8), {}),
        (np.zeros((64, 64), np.int64), {}),
        (np.zeros((64, 64), bool), {}),
        (np.zeros((0, 64), np.uint8), {}),
        (np.full((64, 64), np.nan), {}),
        (np.zeros((64, 64), np.uint8), {"threshold": 1.5}),
        (np.zeros((64, 64), np.uint8), {"max_folds": 0}),
        (np.zeros((64, 64), np.uint8), {"device": "abacus"}),
    ],
)
def test_bad_input_is_one_sentence(image: np.ndarray, arguments: dict[str, object]) -> None:
    with pytest.raises(InputError) as caught:
        detect_folds(image, **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [simulate_straight, simulate_realistic])
def test_folds_in_real_tissue_are_found(data_folder: Path, kind: object) -> None:
    with tifffile.TiffFile(data_folder / "vnc_stack1.tif") as file:
        clean = file.pages[18].asarray()
    for seed in (1, 2):
        trial = kind(clean, np.random.default_rng([0, seed]))  # type: ignore[operator]
        result = match(detect_folds(trial.damaged), trial.folds, clean.shape)
        assert (result.missed, result.false) == (0, 0)


@pytest.mark.parametrize(
    ("name", "pages"),
    [
        ("vnc_stack1.tif", (0, 17)),
        ("vnc_stack2_z00_09.tif", (8,)),
        ("isbi2012_train.tif", (2, 26)),
        ("isbi2012_test.tif", (6, 27)),
        ("snemi3d_z34_73.tif", (16, 28, 38)),
    ],
)
def test_real_clean_slices_have_no_fold(
    data_folder: Path, name: str, pages: tuple[int, ...]
) -> None:
    with tifffile.TiffFile(data_folder / name) as file:
        for page in pages:
            assert detect_folds(file.pages[page].asarray()) == []


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("fafb_fold_p04_x42_433x433.png", 470),
        ("fafb_fold_p15_x80_433x433.png", 470),
        ("ZW7L18_1.png", 700),
    ],
)
def test_real_folds_are_found(data_folder: Path, name: str, length: float) -> None:
    image = cv2.imread(str(data_folder / "real_folds" / name), cv2.IMREAD_GRAYSCALE)
    lines = detect_folds(image)
    assert len(lines) >= 1
    assert max(line.length for line in lines) > length
