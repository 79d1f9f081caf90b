"""The confidence map: where it is sure, where not, and that it is not sure too often."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import sff_napari as sff
from sff_napari.arrays import GreyScale
from sff_napari.progress import Reporter
from sff_napari.restoration.cascade import Cascade
from sff_napari.restoration.confidence import FlowConfidence
from sff_napari.restoration.methods import Methods
from sff_napari.restoration.unfolding.fitted_fold import FittedFold, LawUnfolding
from sff_napari.simulation import neuropil


@pytest.fixture(scope="module")
def outcomes():
    results = []
    for seed in (5, 7):
        stack = neuropil((3, 384, 384), seed=seed)
        fold = sff.Fold([(0, 170), (383, 215)], 7)
        sim = sff.simulate_fold(stack[1], fold, hidden_half_width=30, decay=0.04)
        result = sff.restore(stack[0], sim.damaged, stack[2], sim.folds, device="cpu")
        results.append((sim, result))
    return results


def test_a_chance_for_each_pixel(outcomes):
    for _, result in outcomes:
        sure = result.confidence
        assert sure.shape == result.restored.shape
        assert sure.dtype == np.float16
        assert float(sure.min()) >= 0
        assert float(sure.max()) <= 1


def test_what_the_fold_did_not_change_is_sure(outcomes):
    for _, result in outcomes:
        untouched = (result.flow == 0).all(axis=0) & (result.synthesised == 0)
        assert (result.confidence[untouched] == 1).all()


def test_made_up_tissue_is_less_sure_than_what_was_seen(outcomes):
    for _, result in outcomes:
        made_up = result.synthesised == 1
        assert result.confidence[made_up].max() < 0.95


def test_it_does_not_claim_much_more_than_is_true(outcomes):
    said, right = [], []
    for sim, result in outcomes:
        seen = np.isfinite(result.flow).all(0) & ~sim.corrupted & (result.flow != 0).any(0)
        error = np.hypot(*(result.flow - sim.flow)[:, seen])
        said.append(result.confidence[seen].astype(float))
        right.append(error <= 1)
    assert np.mean(np.concatenate(said)) < np.mean(np.concatenate(right)) + 0.25


@pytest.fixture(scope="module")
def fitted() -> FittedFold:
    stack = neuropil((3, 288, 320), seed=6)
    fold = sff.Fold([(0, 140), (287, 150)], 4)
    made = sff.simulate_fold(stack[1], fold, hidden_half_width=18, decay=0.04)
    around = {"previous": stack[0], "following": stack[2]}
    methods = Methods.checked("motion", "law", "stitch", None, 2.0, None)
    grey, device, reporter = GreyScale.of(made.damaged), torch.device("cpu"), Reporter(None, None)
    cascade = Cascade(made.damaged, grey, around, made.folds, methods, device, 512, reporter)
    assert isinstance(cascade.unfolding, LawUnfolding)
    return cascade.unfolding.fitted[0]


def mean_confidence(one: FittedFold) -> float:
    return float(FlowConfidence([one]).on_grid((18, 20), (8.0, 8.0), 16.0).mean())


def test_what_a_fit_leaves_unexplained_makes_it_less_sure(fitted: FittedFold) -> None:
    levels = [mean_confidence(replace(fitted, misfit=one)) for one in (0.1, 0.3, 0.6, 1.2)]
    assert levels == sorted(levels, reverse=True)
    assert levels[0] > levels[-1] + 0.1


def test_what_is_less_well_known_is_less_sure(fitted: FittedFold) -> None:
    assert fitted.covariance is not None
    levels = [
        mean_confidence(replace(fitted, covariance=factor * fitted.covariance))
        for factor in (0.1, 1.0, 10.0)
    ]
    assert levels == sorted(levels, reverse=True)
    assert levels[0] > levels[-1] + 0.05


def test_methods_that_cannot_tell_say_nothing(outcomes):
    stack = neuropil((3, 256, 256), seed=1)
    fold = sff.Fold([(0, 120), (255, 140)], 6)
    result = sff.restore(stack[0], stack[1], stack[2], [fold], unfolding="none", device="cpu")
    assert result.confidence is None
