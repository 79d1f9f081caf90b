"""Bringing neighbours to the damaged slice."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sff_napari as sff
from sff_napari.restoration.neighbours.neighbour import load, with_contrast_of
from sff_napari.simulation import neuropil

STACK = neuropil((3, 384, 384), seed=12)
FOLD = sff.Fold([(0, 190), (383, 200)], 6)
SIM = sff.simulate_fold(STACK[1], FOLD, hidden_half_width=20, decay=0.05)


def unit(image):
    return image.astype(np.float32) / 255


def prepared(*images):
    device = torch.device("cpu")
    return [
        load(n, unit(im), device) for n, im in zip(("previous", "following"), images, strict=False)
    ]


def damaged():
    image = torch.from_numpy(unit(SIM.damaged))
    return image, image > 0


def test_contrast_is_brought_back():
    dull = prepared((STACK[0] * 0.5 + 60).astype(np.uint8))[0]
    image, known = damaged()
    fixed = with_contrast_of(dull, image, known)
    assert fixed.gain == pytest.approx(2, rel=0.15)
    assert float(fixed.image.mean()) == pytest.approx(float(image[known].mean()), abs=0.01)
