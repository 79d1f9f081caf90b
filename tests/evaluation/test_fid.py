"""The distance of Inception features, with features that need no download."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy import linalg

from sff_napari.errors import InputError
from sff_napari.evaluation import Trials, evaluate
from sff_napari.evaluation.fid import frechet_distance, inception, patches


def test_the_distance_is_the_one_by_definition():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6))
    second = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)) + 0.5
    s1, s2 = np.cov(first.T), np.cov(second.T)
    apart = np.square(first.mean(0) - second.mean(0)).sum()
    expected = apart + np.trace(s1 + s2 - 2 * np.real(linalg.sqrtm(s1 @ s2)))
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-8)
    # Fewer pictures than features.
    assert frechet_distance(first[:4], first[:4]) == pytest.approx(0, abs=1e-8)
    with pytest.raises(InputError, match="more folds"):
        frechet_distance(first[:1], second)


def test_patches():
    image = np.arange(300 * 600).reshape(300, 600) % 251
    cut = patches(image)
    assert cut.shape == (2, 256, 256)
    assert np.array_equal(cut[1], image[:256, 256:512])
    assert patches(image[:100, :100]).shape == (1, 100, 100)


def test_the_missing_extra_is_named(stack, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(InputError, match=r"pip install 'sff-napari\[fid\]'"):
        evaluate(stack, Trials(folds=1), fid=True)


class _Blocks(torch.nn.Module):
    """Stands in for the network: mean and spread of the picture, and of its differences."""

    def __init__(self, name, features):
        super().__init__()
        assert features == ["2048"]

    def forward(self, pictures):
        assert pictures.dtype == torch.uint8
        assert pictures.shape[1] == 3
        grey = pictures[:, 0].float()
        step = grey.diff(dim=1)
        return (torch.stack([grey.mean((1, 2)), grey.std((1, 2)), step.std((1, 2))], dim=1),)


def test_rows_get_their_distance(stack, monkeypatch):
    module = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = _Blocks
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    names = ["damaged", "mean", "ceiling"]
    found = evaluate(stack, Trials(folds=3, device="cpu"), fid=True, methods=names)
    fid = {row.method: row.fid for row in found.rows}
    assert fid["ceiling"] < fid["mean"]
    assert fid["ceiling"] < fid["damaged"]
    assert "FID" in found.table()
    assert found.to_dict()["rows"][0]["fid"] > 0


def test_weights_that_cannot_be_had(monkeypatch):
    def refuse(*_):
        raise OSError("no route to host")

    module = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = refuse
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(InputError, match="could not be downloaded: no route"):
        inception("cpu")
