"""The segmentation that rows are compared by, and its scores."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from sff_napari.errors import InputError
from sff_napari.evaluation import Trials, evaluate, segment, segmentation_scores, share_recovered
from sff_napari.evaluation.segmentation import SegmentationJudge, instances_in_slice


@pytest.fixture(scope="module")
def squares():
    """Bright squares between dark membranes, with grain; and which square a pixel is in."""
    rng = np.random.default_rng(0)
    truth = np.zeros((240, 240), np.int32)
    for row in range(6):
        for column in range(6):
            truth[row * 40 + 3 : row * 40 + 37, column * 40 + 3 : column * 40 + 37] = (
                1 + row * 6 + column
            )
    image = ndimage.gaussian_filter(np.where(truth > 0, 180.0, 50.0), 1.0)
    return image + rng.normal(0, 8, image.shape), truth


def test_squares_are_segmented(squares):
    image, truth = squares
    scores = segmentation_scores(segment(image), truth)
    assert scores["voi"] < 0.1
    assert scores["arand"] < 0.05
    # Brightness and contrast do not matter.
    assert np.array_equal(segment(image), segment(image * 0.5 + 30))


def test_missing_pixels_and_empty_slices_do_not_matter(squares):
    image, truth = squares
    holed = image.astype(np.float32)
    holed[:20, :20] = np.nan
    elsewhere = np.ones(truth.shape, bool)
    elsewhere[:80, :80] = False
    assert segmentation_scores(segment(holed), truth, elsewhere)["voi"] < 0.1
    assert (segment(np.full((64, 64), 7, np.uint8)) > 0).all()


def test_splits_and_merges_are_told_apart(squares):
    _, truth = squares
    halves = truth * 2 + (np.indices(truth.shape)[1] % 40 < 20)
    cut = segmentation_scores(halves, truth)
    assert cut["voi_split"] == pytest.approx(1.0, abs=0.02)
    assert cut["voi_merge"] == pytest.approx(0.0, abs=1e-9)
    joined = segmentation_scores((truth + 1) // 2, truth)
    assert joined["voi_merge"] == pytest.approx(1.0, abs=0.02)
    assert joined["voi_split"] == pytest.approx(0.0, abs=1e-9)
    assert joined["arand"] > 0.1
    none = {"voi_split": 0, "voi_merge": 0, "voi": 0, "arand": 0}
    assert segmentation_scores(truth, truth) == pytest.approx(none, abs=1e-9)


def test_membrane_and_pixels_elsewhere_do_not_count(squares):
    _, truth = squares
    wrong = np.where(truth == 0, 77, truth)
    assert segmentation_scores(wrong, truth)["voi"] == pytest.approx(0, abs=1e-9)
    left = np.zeros(truth.shape, bool)
    left[:, :120] = True
    spoilt = np.where(left, truth, 99)
    assert segmentation_scores(spoilt, truth, left)["voi"] == pytest.approx(0, abs=1e-9)
    assert segmentation_scores(spoilt, truth)["voi"] > 0
    nowhere = segmentation_scores(spoilt, truth, np.zeros(truth.shape, bool))
    assert all(np.isnan(value) for value in nowhere.values())


def test_instances_of_a_slice_are_its_connected_parts():
    instances = np.zeros((8, 8), np.uint16)
    instances[:2], instances[6:] = 5, 5
    parts = instances_in_slice(instances)
    assert parts.max() == 2
    assert (parts[3] == 0).all()


def test_near_the_fold_is_a_band(squares):
    image, _ = squares
    corrupted = np.zeros(image.shape, bool)
    corrupted[:, :10] = True
    judge = SegmentationJudge.of(image, corrupted)
    assert judge.near[:, 73].all()
    assert not judge.near[:, 74].any()
    spoilt = image.copy()
    spoilt[:, 120:] = image[:, 119:-1][:, ::-1]
    scores = judge.scores(spoilt)
    assert scores["voi"] > scores["voi_near"]
    with pytest.raises(InputError, match="instances have"):
        SegmentationJudge.of(image, corrupted, np.zeros((3, 3)))


def test_share_recovered():
    share, low, high = share_recovered([2, 4, 3], [1, 2, 1.5], [0, 0, 0])
    assert share == pytest.approx(0.5)
    assert low == pytest.approx(0.5)
    assert high == pytest.approx(0.5)
    assert share_recovered([1, 3], [0, 3], [0, 0])[0] == pytest.approx(0.25)
    assert np.isnan(share_recovered([1, 1], [1, 1], [1, 1])[0])


def test_evaluation_with_instances_and_without(stack):
    stack = stack[:3, :256, :256]
    trials = Trials(folds=2, seed=1, slices=[1])
    names = ["damaged", "ceiling"]
    found = evaluate(stack, trials, methods=names, segmentation=True)
    rows = {row.method: row for row in found.rows}
    assert list(rows) == ["damaged", "ceiling", "clean"]
    assert rows["clean"].mean["voi"] == pytest.approx(0, abs=1e-9)
    assert rows["damaged"].recovered["voi"][0] == 0
    assert 0.3 < rows["ceiling"].recovered["voi"][0] < 1
    assert "recovered" in found.table()
    assert json.loads(json.dumps(found.to_dict()))["segmentation"] == "clean slices"

    # Cells cut in half: the segmentation of the clean slice is then not perfect.
    instances = np.stack([segment(one) for one in stack]) * 2
    instances += np.indices(stack.shape)[2] % 40 < 20
    judged = evaluate(stack, trials, methods=names, instances=instances)
    true = {row.method: row for row in judged.rows}
    assert true["clean"].mean["voi"] > 0.3
    assert true["clean"].recovered["voi"][0] == pytest.approx(1)
    with pytest.raises(InputError, match="instances have shape"):
        evaluate(stack, trials, instances=instances[:2])
    with pytest.raises(InputError, match="do not follow a drift"):
        evaluate(stack, replace(trials, inject_drift=1.0), instances=instances)
