"""The file of ranges."""

from __future__ import annotations

import json

import pytest

from sff_napari.errors import InputError, StackError
from sff_napari.simulation import (
    RealisticRanges,
    ranges_from_dict,
    ranges_to_dict,
    read_ranges,
    write_ranges,
)


def test_what_is_written_is_read(tmp_path):
    ranges = RealisticRanges(half_width=(3.0, 4.5), gap=(10.0, 20.0), bow=0.0)
    write_ranges(tmp_path / "r.json", ranges, {"folds": 3})
    assert read_ranges(tmp_path / "r.json") == ranges
    assert json.loads((tmp_path / "r.json").read_text())["measured"] == {"folds": 3}
    assert ranges_from_dict(ranges_to_dict(ranges)) == ranges
    # What is not said is as usual.
    assert ranges_from_dict({"bow": 0.1}).gap == RealisticRanges().gap


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ([], "JSON object"),
        ({"size": 3}, "'size'"),
        ({"gap": 3}, "two numbers"),
        ({"gap": [9, 3]}, "smaller number comes first"),
        ({"gap": [1, "x"]}, "two numbers"),
        ({"gap": [1, float("nan")]}, "two numbers"),
        ({"decay": [0.1, 2]}, "between 0 and 0.9"),
        ({"bow": True}, "a number"),
        ({"knot_spacing": 0}, "between 10"),
    ],
)
def test_nonsense_is_refused(record, says):
    with pytest.raises(InputError, match=says):
        ranges_from_dict(record)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", "lacks"),
        ('{"format": "sff-napari-folds", "version": 1}', "lacks"),
        ('{"format": "sff-napari-ranges", "version": 9, "ranges": {}}', "version 9"),
        ('{"format": "sff-napari-ranges", "version": 1}', "JSON object"),
    ],
)
def test_other_files_are_refused(tmp_path, text, says):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises((StackError, InputError), match=says):
        read_ranges(path)
    with pytest.raises(StackError, match="no file of ranges"):
        read_ranges(tmp_path / "none.json")
