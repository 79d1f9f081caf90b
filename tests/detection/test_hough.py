"""The Hough transform against OpenCV and scikit-image."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version
from skimage.transform import hough_line

from sff_napari.detection import hough_lines, hough_votes
from sff_napari.errors import InputError


def random_mask(seed: int, shape: tuple[int, int], lines: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = (rng.uniform(size=shape) < 0.04).astype(np.uint8)
    for _ in range(lines):
        ends = rng.integers(0, min(shape), size=(2, 2))
        cv2.line(mask, tuple(map(int, ends[0])), tuple(map(int, ends[1])), 1, 2)
    return mask


@settings(max_examples=15)
@given(seed=st.integers(0, 999), height=st.integers(8, 90), width=st.integers(8, 90))
def test_votes_equal_those_of_scikit_image(seed: int, height: int, width: int) -> None:
    mask = random_mask(seed, (height, width))
    angles = np.linspace(-np.pi / 2, np.pi / 2, 60, endpoint=False) + 0.0123
    theirs, _, distances = hough_line(mask, theta=angles)
    space = hough_votes(mask, theta=torch.from_numpy(angles))
    ours = {float(r): space.votes[0, :, i].numpy() for i, r in enumerate(space.rho)}
    # Both count every pixel once an angle; only ties of rounding may fall to the neighbour.
    assert np.array_equal(theirs.sum(axis=0), space.votes[0].sum(dim=1).numpy())
    moved = sum(
        np.abs(row - ours.get(float(r), np.zeros(len(angles)))).sum()
        for row, r in zip(theirs.astype(np.int64), np.round(distances), strict=True)
    )
    assert moved <= 0.002 * theirs.sum()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("rho", "degrees"), [(1.0, 1.0), (2.0, 0.5)])
def test_peaks_equal_those_of_opencv(seed: int, rho: float, degrees: float) -> None:
    if rho != 1 and Version(cv2.__version__) < Version("5"):
        pytest.skip("OpenCV before 5 looks for peaks of coarse distances in another way")
    mask = random_mask(seed, (140, 180))
    step = math.radians(degrees)
    threshold = 60
    theirs = cv2.HoughLinesWithAccumulator(mask, rho, step, threshold).reshape(-1, 3)
    ours = hough_lines(
        mask, rho=rho, theta=step, threshold=threshold, max_lines=1000, backend="torch"
    )[0]
    expected = {(round(r / rho), round(t / step)): int(v) for r, t, v in theirs}
    got = {(round(line.rho / rho), round(line.theta / step)): line.votes for line in ours}
    # A tie of rounding can move a vote, and with it a weak peak.
    same = [key for key in expected if key in got and abs(got[key] - expected[key]) <= 2]
    assert len(same) >= 0.9 * len(expected)
    assert len(got) <= 1.1 * len(expected) + 1
    strongest = max(expected, key=lambda key: expected[key])
    assert strongest in got


def test_both_backends_return_the_same_lines() -> None:
    mask = random_mask(11, (200, 160), lines=3)
    arguments = {"threshold": 70, "apart": (12.0, 0.1), "device": "cpu"}
    first = hough_lines(mask, backend="torch", **arguments)[0]
    second = hough_lines(mask, backend="opencv", **arguments)[0]
    assert len(first) == len(second) >= 1
    for line, other in zip(first, second, strict=True):
        assert line.rho == pytest.approx(other.rho, abs=1e-6)
        assert line.theta == pytest.approx(other.theta, abs=1e-5)
        assert abs(line.votes - other.votes) <= 2


def test_a_batch_is_the_slices_one_by_one() -> None:
    masks = np.stack([random_mask(seed, (60, 70)) for seed in range(3)] + [np.zeros((60, 70))])
    together = hough_votes(masks)
    for index, mask in enumerate(masks):
        assert torch.equal(together.votes[index], hough_votes(mask).votes[0])
    assert int(together.votes[3].sum()) == 0
    lines = hough_lines(masks, threshold=20, backend="torch")
    assert len(lines) == 4
    assert lines[3] == []


def test_all_votes_at_once_are_those_angle_by_angle() -> None:
    from sff_napari.detection.hough import _vote_at_once

    masks = torch.from_numpy(np.stack([random_mask(seed, (50, 64)) for seed in (1, 2)])) > 0
    space = hough_votes(masks)
    count, lines, bins = space.votes.shape
    votes = torch.zeros(count * lines * bins, dtype=torch.int32)
    cosine, sine = torch.cos(space.theta).float(), torch.sin(space.theta).float()
    _vote_at_once(torch.nonzero(masks), cosine, sine, votes, lines, bins, bins // 2)
    assert torch.equal(votes.view(count, lines, bins), space.votes)


def test_a_known_line_is_found_where_it_is() -> None:
    y, x = np.mgrid[:128, :128]
    theta = math.radians(37)
    mask = np.abs(x * math.cos(theta) + y * math.sin(theta) - 80) < 0.6
    line = hough_lines(mask, threshold=50, backend="torch")[0][0]
    assert line.rho == pytest.approx(80, abs=1)
    assert line.theta == pytest.approx(theta, abs=math.radians(1))


def test_lines_across_the_wrap_of_theta_are_one() -> None:
    mask = np.zeros((100, 100), bool)
    mask[:, 49:52] = True
    lines = hough_lines(mask, threshold=40, apart=(8.0, 0.2), backend="torch")[0]
    assert len(lines) == 1
    assert abs(abs(lines[0].rho) - 50) <= 1.5


@pytest.mark.parametrize(
    "arguments",
    [{"rho": 0.0}, {"theta": -1.0}, {"theta": 4.0}, {"backend": "sparse"}],
)
def test_bad_arguments_are_one_sentence(arguments: dict[str, object]) -> None:
    with pytest.raises(InputError):
        hough_lines(np.ones((8, 8), bool), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(4,), (2, 2, 2, 2), (0, 5)])
def test_bad_masks_are_one_sentence(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="cannot be searched"):
        hough_votes(np.ones(shape, bool))
