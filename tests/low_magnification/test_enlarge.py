"""One slice among its neighbours, and a whole stack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import sff_napari as sff
from sff_napari.alignment import Similarity
from sff_napari.errors import Cancelled, InputError
from sff_napari.low_magnification import Enlarged, enlarge_stack

Stack = NDArray[np.uint8]


def reduced(image: NDArray[np.generic], factor: int) -> NDArray[np.uint8]:
    """Return means of blocks, rounded to 8 bits."""
    rows, columns = image.shape[0] // factor, image.shape[1] // factor
    blocks = image.reshape(rows, factor, columns, factor).astype(np.float64)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)


def rms(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    return float(np.sqrt(np.mean(np.square(one.astype(float) - other.astype(float)))))


@pytest.mark.parametrize("method", ["default", "back-projected", "aligned"])
@pytest.mark.parametrize("factor", [4, 8])
def test_the_result_reduces_to_the_low_slice(
    stack: Stack, untrained: Path, method: str, factor: int
) -> None:
    low = reduced(stack[1], factor)
    made = sff.enlarge(low, stack[0], stack[2], factor=factor, method=method, weights=untrained)
    assert made.restored.shape == stack[1].shape
    assert made.restored.dtype == np.uint8
    assert rms(reduced(made.restored, factor), low) < 1
    assert made.report["off_low_rms"] < 1
    for share in (made.synthesised, made.confidence):
        assert share.shape == stack[1].shape
        assert 0 <= share.min() <= share.max() <= 1


def test_the_same_slice_as_neighbour_gives_the_slice_back(stack: Stack) -> None:
    made = sff.enlarge(reduced(stack[1], 8), stack[1], stack[1], method="aligned")
    assert rms(made.restored, stack[1]) < 0.2 * stack[1].std()
    assert rms(made.reference, stack[1]) < 0.2 * stack[1].std()


def test_what_was_synthesised_is_told(stack: Stack) -> None:
    low = reduced(stack[1], 8)
    plain = sff.enlarge(low, stack[0], stack[2], method="back-projected")
    detailed = sff.enlarge(low, stack[0], stack[2], method="aligned")
    assert plain.synthesised.mean() < 0.05
    assert detailed.synthesised.mean() > plain.synthesised.mean() + 0.1


def test_a_moved_slice_lands_where_the_stack_shows_it(stack: Stack) -> None:
    import cv2

    move = Similarity(2.0, 1.01, (20.0, -14.0), 1.0, stack[1].shape)
    turned = cv2.warpAffine(stack[1], move.matrix(), stack[1].shape[::-1], flags=cv2.INTER_CUBIC)
    low = reduced(turned, 4)
    for placement in (None, move):
        made = sff.enlarge(low, stack[1], stack[1], factor=4, method="aligned", placement=placement)
        seen = made.confidence > 0
        assert 0.7 < seen.mean() < 0.99
        assert rms(made.restored[seen], stack[1][seen]) < 0.35 * stack[1].std()
        assert made.report["off_low_rms"] < 1
        assert np.all(made.synthesised[~seen] == 1)
    assert made.report["placement_found"] is False


def test_one_neighbour_and_none(stack: Stack, untrained: Path) -> None:
    low = reduced(stack[1], 8)
    one = sff.enlarge(low, stack[0], None, weights=untrained)
    assert "one neighbour" in one.report["notes"][0]
    assert list(one.report["weights"]) == ["enlarging"]
    none = sff.enlarge(low, None, None, weights=untrained)
    assert "no neighbour" in none.report["notes"][0]
    assert list(none.report["weights"]) == ["enlarging_stack"]
    assert none.restored.shape == stack[1].shape
    assert np.isnan(none.reference).all()


@pytest.mark.parametrize("blank", [0, 7])
def test_a_neighbour_that_is_lost_too_is_none(stack: Stack, blank: int) -> None:
    low, lost = reduced(stack[1], 8), np.full_like(stack[0], blank)
    one = sff.enlarge(low, lost, stack[2], method="aligned")
    np.testing.assert_array_equal(
        one.restored, sff.enlarge(low, None, stack[2], method="aligned").restored
    )
    assert one.report["used"] == ["following"]
    none = sff.enlarge(low, lost, lost, method="aligned")
    assert none.report["neighbours"] == 0
    assert "no neighbour" in none.report["notes"][0]


def test_a_slice_without_neighbours_takes_the_stacks_dtype_or_is_refused(stack: Stack) -> None:
    made = sff.enlarge(reduced(stack[1], 8), None, None, method="bicubic")
    wide = made.on_stack(stack[1].shape, np.uint16)
    assert wide.restored.dtype == np.uint16
    np.testing.assert_array_equal(wide.restored, 257 * made.restored.astype(int))
    with pytest.raises(InputError, match="has to fit exactly"):
        made.on_stack((100, 100), np.uint8)


@pytest.mark.parametrize("factor", [2, 3, 6, 16])
def test_factors_that_no_network_was_trained_for(
    stack: Stack, untrained: Path, factor: int
) -> None:
    side = 240 // factor * factor
    images = stack[:3, :side, :side]
    low = reduced(images[1], factor)
    made = sff.enlarge(low, images[0], images[2], factor=factor, weights=untrained)
    assert rms(reduced(made.restored, factor), low) < 1


def test_other_kinds_of_data(stack: Stack) -> None:
    low = reduced(stack[1], 8)
    plain = sff.enlarge(low, stack[0], stack[2], method="aligned").restored / 255
    wide = stack.astype(np.uint16) * 257
    made = sff.enlarge(low, wide[0], wide[2], method="aligned")
    assert made.restored.dtype == np.uint16
    np.testing.assert_allclose(made.restored / 65535, plain, atol=0.01)
    unit = (stack / 255).astype(np.float32)
    made = sff.enlarge((low / 255).astype(np.float32), unit[0], unit[2], method="aligned")
    assert made.restored.dtype == np.float32
    np.testing.assert_allclose(made.restored, plain, atol=0.01)


def test_where_the_low_slice_shows_nothing(stack: Stack) -> None:
    low = reduced(stack[1], 4).astype(np.float32)
    low[:, :20] = np.nan
    images = stack.astype(np.float32)
    made = sff.enlarge(low, images[0], images[2], factor=4, method="aligned")
    assert np.isnan(made.restored[:, :80]).all()
    assert np.isfinite(made.restored[:, 80:]).all()
    assert (made.confidence[:, :80] == 0).all()


def test_inputs_are_left_alone(stack: Stack) -> None:
    low, images = reduced(stack[1], 8), stack.copy()
    before = low.copy()
    sff.enlarge(low, images[0], images[2], method="aligned")
    np.testing.assert_array_equal(low, before)
    np.testing.assert_array_equal(images, stack)


@pytest.mark.parametrize(
    ("low", "words"),
    [
        (np.zeros((32, 32), np.uint8), "the same everywhere"),
        (np.ones((3, 32, 32), np.uint8), "dimensions"),
        (np.arange(64 * 64, dtype=np.float64).reshape(64, 64), "factor is about 4"),
    ],
)
def test_what_cannot_be_used_is_refused(stack: Stack, low: NDArray[np.generic], words: str) -> None:
    with pytest.raises(InputError, match=words):
        sff.enlarge(low, stack[0], stack[2])


def test_neighbours_of_two_sizes_are_refused(stack: Stack) -> None:
    with pytest.raises(InputError, match="differ in size"):
        sff.enlarge(reduced(stack[1], 8), stack[0], stack[2, :128])


def test_it_can_be_cancelled(stack: Stack) -> None:
    with pytest.raises(Cancelled):
        sff.enlarge(reduced(stack[1], 8), stack[0], stack[2], cancelled=lambda: True)


def test_progress_rises(stack: Stack, untrained: Path) -> None:
    shares: list[float] = []
    sff.enlarge(
        reduced(stack[1], 8),
        stack[0],
        stack[2],
        weights=untrained,
        progress=lambda share, text: shares.append(share),
    )
    assert shares == sorted(shares)
    assert len(shares) > 3


def test_a_stack_at_low_magnification(stack: Stack, untrained: Path) -> None:
    low = np.stack([reduced(image, 8) for image in stack])
    for method in ("default", "back-projected", "aligned", "bicubic"):
        made: list[Enlarged] = list(
            enlarge_stack(low, slices=[0, 2], method=method, weights=untrained)
        )
        assert [one.report["slice"] for one in made] == [0, 2]
        assert [one.report["neighbours"] for one in made] == [2, 4]
        for z, one in zip((0, 2), made, strict=True):
            assert one.restored.shape == stack[0].shape
            if method != "bicubic":
                assert rms(reduced(one.restored, 8), low[z]) < 1


def test_the_bundled_network_adds_detail_to_tissue_it_never_saw(stack: Stack) -> None:
    low = reduced(stack[1], 8)
    plain, ours = (
        rms(sff.enlarge(low, stack[0], stack[2], method=method).restored, stack[1])
        for method in ("back-projected", "default")
    )
    assert ours < plain
