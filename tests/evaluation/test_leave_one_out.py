"""Judging a stack without ground truth, slice by slice."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sff_napari.errors import InputError
from sff_napari.evaluation import leave_one_out
from sff_napari.evaluation.left_out_slices import SliceScores, unusual_slices


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
    rng = np.random.default_rng(0)
    usual = {"brightness": 120, "contrast": 40, "detail": 15, "likeness": 0.4, "between": 0.3}
    usual |= {"before": 0.4, "after": 0.4}
    found = [
        SliceScores(z, {k: v * (1 + rng.normal(0, 0.01)) for k, v in usual.items()}, {}, {}, 0.0)
        for z in range(12)
    ]
    assert unusual_slices(found) == {}
    found[3].about["detail"] = 9
    found[6].about["brightness"] -= 25
    found[8].about["likeness"] = 0.1
    found[10].about["likeness"] = 0.9  # a slice photographed twice would be no harm
    found[4].about["after"] = found[5].about["before"] = 0.1
    assert unusual_slices(found) == {
        4: "jump after it",
        5: "jump before it",
        3: "more blurred",
        6: "darker",
        8: "less like its neighbours",
    }
    assert unusual_slices(found[:4]) == {}
