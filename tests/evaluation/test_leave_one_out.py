"""Judging a stack without ground truth, slice by slice."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from sff_napari.errors import InputError
from sff_napari.evaluation import leave_one_out
from sff_napari.evaluation.leave_one_out import SliceScores, unusual_slices
from sff_napari.simulation import neuropil


def test_each_slice_in_turn(stack):
    found = leave_one_out(stack, kind="straight", interpolations=["copy", "mean", "motion"])
    assert [one.z for one in found.slices] == [1, 2]
    assert found.skipped == (0, 3)
    mean = {name: found.mean("psnr", name)[0] for name in found.rows}
    assert mean["restored"] > mean["damaged"] + 2
    assert mean["mean"] > mean["copy"] + 1
    assert mean["motion"] > mean["copy"]
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["slices"][0]["slice"] == 1
    assert "Not judged" in found.table()


def test_the_slice_itself_does_not_help_to_make_it_up(stack):
    spoilt = stack.copy()
    spoilt[1] = np.roll(stack[1], 100, axis=1)  # the same grey values in other places
    one, two = (
        leave_one_out(images, slices=[1], kind="straight", interpolations=["copy", "mean"])
        for images in (stack, spoilt)
    )
    assert two.slices[0].psnr["mean"] < one.slices[0].psnr["mean"] - 1


def test_damaged_slices_are_left_out(stack):
    six = np.concatenate([stack, stack[:2]])
    found = leave_one_out(six, damaged=[0], interpolations=["mean"], slices=[0, 1, 2])
    assert [one.z for one in found.slices] == [2]
    assert found.skipped == (1,)
    with pytest.raises(InputError, match="clean neighbour on both sides"):
        leave_one_out(stack, damaged=[1])
    with pytest.raises(InputError, match="no interpolation"):
        leave_one_out(stack, interpolations=["magic"])
    with pytest.raises(InputError, match="no slice 9"):
        leave_one_out(stack, slices=[9])


def test_slices_that_stand_out():
    images = neuropil((9, 128, 128), seed=1).astype(np.float64)
    images = np.stack([120 + 35 * (one - one.mean()) / one.std() for one in images])
    images[3] = ndimage.gaussian_filter(images[3], 1.5)
    images[6] -= 25
    found = []
    for z in range(9):
        grey = images[z]
        detail = (grey - ndimage.gaussian_filter(grey, 2)).std()
        about = {
            "brightness": grey.mean(),
            "contrast": grey.std(),
            "detail": detail,
            "likeness": 0.4 if z != 8 else 0.1,
            "between": 0.3,
        }
        found.append(SliceScores(z, about, {}, {}, 0.0))
    unusual = unusual_slices(found)
    assert "more blurred" in unusual[3]
    assert unusual[6] == "darker"
    assert unusual[8] == "less like its neighbours"
    assert set(unusual) == {3, 6, 8}
    assert unusual_slices(found[:4]) == {}
