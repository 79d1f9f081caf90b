"""Where a low slice lies: frames, and finding placements."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sff_napari.alignment import Similarity
from sff_napari.errors import InputError
from sff_napari.low_magnification.frame import Frame, check_factor, in_place
from sff_napari.low_magnification.placement import find_placement
from sff_napari.simulation import neuropil

SIDE = 512


@pytest.fixture(scope="module")
def tissue() -> NDArray[np.float32]:
    return neuropil((1, SIDE, SIDE), seed=9)[0].astype(np.float32) / 255


def seen_from(image: NDArray[np.float32], move: Similarity, factor: int) -> NDArray[np.float32]:
    """Return a slice as a low one that lies elsewhere shows it."""
    turned = cv2.warpAffine(
        image, move.matrix(), image.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP
    )
    rows, columns = (side // factor for side in image.shape)
    return turned.reshape(rows, factor, columns, factor).mean(axis=(1, 3))


def distance(one: Similarity, other: Similarity) -> float:
    line = np.linspace(0, SIDE - 1, 9)
    grid = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    return float(np.linalg.norm(one.apply(grid) - other.apply(grid), axis=1).mean())


MOVES = st.builds(
    lambda turn, scale, dy, dx: Similarity(turn, scale, (dy, dx), 1.0, (SIDE, SIDE)),
    st.floats(-5, 5),
    st.floats(0.97, 1.03),
    st.floats(-100, 100),
    st.floats(-100, 100),
)


@settings(max_examples=6)
@given(MOVES, st.sampled_from([4, 8]))
def test_a_placement_is_found(tissue: NDArray[np.float32], move: Similarity, factor: int) -> None:
    rng = np.random.default_rng(0)
    noisy = [tissue + rng.normal(0, 0.03, tissue.shape).astype(np.float32) for _ in range(2)]
    found, note = find_placement(seen_from(tissue, move, factor), noisy, factor)
    assert note is None
    assert distance(found, move) < 0.5


def test_a_slice_in_place_is_in_place(stack: NDArray[np.uint8]) -> None:
    """Although its neighbours show other tissue."""
    images = [image.astype(np.float32) / 255 for image in stack[:3]]
    low = images[1].reshape(32, 8, 32, 8).mean(axis=(1, 3))
    found, _ = find_placement(low, [images[0], images[2]], 8)
    assert found.displacement == 0


def test_what_matches_nothing_is_taken_to_lie_in_place(tissue: NDArray[np.float32]) -> None:
    low = np.random.default_rng(3).random((64, 64)).astype(np.float32)
    found, note = find_placement(low, [tissue], 8)
    assert found.displacement == 0
    assert note is not None


@given(st.floats(-20, 20), st.floats(0.9, 1.1), st.floats(-60, 60), st.floats(-60, 60))
def test_to_the_frame_and_back(turn: float, scale: float, dy: float, dx: float) -> None:
    shape = (160, 192)
    frame = Frame((20, 24), 8, shape, Similarity(turn, scale, (dy, dx), 1.0, shape))
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    image = np.sin(y / 17) + np.cos(x / 13)
    back = frame.to_stack(frame.to_frame(image))
    seen = cv2.erode(np.isfinite(back).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert float(np.abs(back - image)[seen].max(initial=0)) < 0.02


def test_frames_that_are_larger_or_smaller_than_the_stack() -> None:
    image = np.random.default_rng(0).random((100, 90)).astype(np.float32)
    for low_shape in ((13, 12), (12, 11)):
        frame = Frame(low_shape, 8, (100, 90), in_place((100, 90)))
        back = frame.to_stack(frame.to_frame(image))
        known = np.isfinite(back)
        np.testing.assert_array_equal(known, frame.covered())
        np.testing.assert_array_equal(back[known], image[known])


def test_frames_that_do_not_overlap_are_refused() -> None:
    with pytest.raises(InputError, match="does not overlap"):
        Frame((16, 16), 4, (64, 64), Similarity(0, 1, (70.0, 0.0), 1.0, (64, 64)))


@pytest.mark.parametrize(
    ("factor", "words"),
    [(2.5, "whole number"), (1, "whole number"), (64, "whole number"), (4, "is about 8")],
)
def test_wrong_factors_are_refused(factor: float, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_factor((32, 32), factor, (256, 256))


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(InputError, match="cut it to what the stack shows"):
        check_factor((32, 60), 8, (256, 256))
