"""Whether confidence is worth believing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sff_napari.evaluation import Trials, evaluate, methods
from sff_napari.evaluation.calibration import Calibration


def test_honest_and_boasting():
    rng = np.random.default_rng(0)
    truth = np.ones((2, 200, 200), np.float32)
    sure = rng.uniform(size=(200, 200))
    right = rng.uniform(size=(200, 200)) < sure
    flow = truth.copy()
    flow[0] += np.where(right, 0.5, 3.0)
    honest, boasting = Calibration(), Calibration()
    honest.add(sure, flow, truth)
    boasting.add(np.sqrt(sure), flow, truth)
    assert honest.error < 0.02
    assert boasting.error > 0.1
    assert honest.count.sum() == 40_000


def test_what_does_not_count():
    truth = np.zeros((2, 10, 10), np.float32)
    truth[:, 0] = np.nan
    truth[0, 5] = 4
    found = Calibration()
    assert np.isnan(found.error)
    found.add(np.ones((10, 10)), np.zeros((2, 10, 10)), truth)
    assert found.count.sum() == 10  # the row that moved
    assert found.right.sum() == 0
    assert found.error == 1


def test_it_is_part_of_the_evaluation(stack, monkeypatch):
    ceiling = methods.METHODS["ceiling"]

    def sure(case, settings):
        made = ceiling(case, settings)
        return methods.Outcome(made.image, made.flow, np.full(made.image.shape, 0.75))

    monkeypatch.setattr(methods, "METHODS", {"sure": sure, "ceiling": ceiling})
    found = evaluate(stack, Trials(folds=2), methods=["sure", "ceiling"])
    assert list(found.calibration) == ["sure"]
    assert found.calibration["sure"].error == pytest.approx(0.25)
    assert "said to be within 1 px" in found.table()
    steps = json.loads(json.dumps(found.to_dict()))["calibration"]["sure"]["steps"]
    assert steps[0]["said"] == 0.75
    assert steps[0]["right"] == 1
