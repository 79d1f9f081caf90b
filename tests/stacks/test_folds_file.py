"""The folds file: round trip, and one sentence for each bad record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sff_napari.errors import StackError
from sff_napari.folds import Fold
from sff_napari.stacks import Stack, read_folds, stack_identity, write_folds
from sff_napari.stacks.folds_file import as_document, from_document

STRAIGHT = Fold([(0, 10.5), (99, 80.25)], 9.5, score=0.75, source="detected")
CURVED = Fold([(0, 10), (50, 20), (99, 10)], 6, half_widths=[5, 6, 7])


def document(*records: Any, **changes: Any) -> dict[str, Any]:
    return {"format": "sff-napari-folds", "version": 1, "stack": {}, "folds": [*records], **changes}


def record(**changes: Any) -> dict[str, Any]:
    return {"slice": 7, "vertices": [[0, 10], [99, 80]], "half_width": 9.5, **changes}


def test_round_trip(tmp_path: Path) -> None:
    stack = Stack.from_array(np.zeros((9, 100, 100), np.uint8), name="cells")
    write_folds(tmp_path / "f.json", {7: [STRAIGHT], 3: [CURVED, STRAIGHT]}, stack_identity(stack))
    back = read_folds(tmp_path / "f.json")
    assert back.folds == {3: (CURVED, STRAIGHT), 7: (STRAIGHT,)}
    assert back.slices == [3, 7]
    assert len(back) == 3
    assert back.stack == {"name": "cells", "shape": [9, 100, 100], "dtype": "uint8"}
    back.check((9, 100, 100))
    raw = json.loads((tmp_path / "f.json").read_text())
    assert raw["version"] == 1
    assert raw["folds"][0]["vertices"][1] == [50, 20]


@given(
    st.dictionaries(
        st.integers(0, 10_000),
        st.lists(
            st.builds(
                lambda y, x, w: Fold([(y, x), (y + 50, x + 3)], w),
                st.floats(-1e3, 1e3),
                st.floats(-1e3, 1e3),
                st.floats(0.5, 50),
            ),
            min_size=1,
            max_size=3,
        ),
        max_size=5,
    )
)
def test_any_folds_survive(folds: dict[int, list[Fold]]) -> None:
    text = json.dumps(as_document(folds))
    assert from_document(json.loads(text)).folds == {z: tuple(f) for z, f in folds.items()}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (record(slice=-1), "slice -1: it must be a whole number"),
        (record(slice=1.5), "slice 1.5"),
        (record(slice=True), "slice True"),
        (record(half_width=0), "larger than 0"),
        (record(half_width=None), "half width is None"),
        (record(half_width="9.5 px"), "half width is '9.5 px'"),
        (record(half_width=1e400), "finite"),
        (record(vertices=[[0, 10]]), "at least two"),
        (record(vertices=[[0, 10], [0, 10]]), "equal vertices|no length"),
        (record(vertices=[[0, 10, 3], [5, 5, 5]]), "pair"),
        (record(vertices=[[0, 0], [50, 50], [0, 50], [50, 0]]), "crosses itself"),
        (record(vertices="line"), "vert"),
        (record(half_widths=[1]), "half widths"),
        (record(score=3), "score"),
        (record(score="high"), "score|cannot be used"),
        (record(source="guessed"), "source"),
        ({"slice": 7}, "lacks"),
        ([1, 2], "not an object"),
    ],
)
def test_a_bad_record_is_named(tmp_path: Path, bad: Any, words: str) -> None:
    path = tmp_path / "f.json"
    path.write_text(json.dumps(document(record(), bad)))
    with pytest.raises(StackError, match=f"Record 1 of .*({words})") as caught:
        read_folds(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "lacks"),
        ("{}", "lacks"),
        (json.dumps(document(version=2)), "version 2, but this program knows 1: update"),
        (json.dumps(document(version="1")), "no usable version"),
        (json.dumps(document(folds={})), "no list"),
        (json.dumps(document(stack=[1])), "not an object"),
        ("\x00\xff", "not JSON"),
    ],
)
def test_files_that_are_no_folds_file(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "f.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(StackError, match=words):
        read_folds(path)


def test_missing_and_hostile_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StackError, match="There is no folds file"):
        read_folds(tmp_path / "f.json")
    with pytest.raises(StackError, match="could not be read"):
        read_folds(tmp_path)
    monkeypatch.setattr("sff_napari.stacks.folds_file.MAX_BYTES", 100)
    monkeypatch.setattr("sff_napari.stacks.folds_file.MAX_FOLDS", 1)
    (tmp_path / "f.json").write_text(json.dumps(document(record(), record())))
    with pytest.raises(StackError, match="no folds file"):
        read_folds(tmp_path / "f.json")
    with pytest.raises(StackError, match="at most 1 are allowed"):
        from_document(document(record(), record()))


def test_folds_of_another_stack() -> None:
    found = from_document(document(record()))
    found.check((8, 100, 100))
    with pytest.raises(StackError, match="names slice 7, but the stack has 7 slices"):
        found.check((7, 100, 100))
    outside = from_document(document(record(vertices=[[500, 500], [600, 600]])))
    with pytest.raises(StackError, match="Fold 0 of slice 7"):
        outside.check((8, 100, 100))
    named = from_document(document(record(), stack={"shape": [9, 50, 50]}))
    with pytest.raises(StackError, match="give the stack that they belong to"):
        named.check((8, 100, 100))


def test_json_lines_say_the_same_as_json(tmp_path: Path) -> None:
    folds = {3: [Fold([(0, 10), (50, 20)], 4, score=0.5)], 1: [Fold([(5, 5), (9, 80)], 2)] * 2}
    stack, about = {"shape": [9, 90, 90]}, {"slices": "0-8"}
    for name in ("f.json", "f.jsonl"):
        write_folds(tmp_path / name, folds, stack, about)
    one, two = read_folds(tmp_path / "f.json"), read_folds(tmp_path / "f.jsonl")
    assert one == two
    assert two.detection == about
    lines = (tmp_path / "f.jsonl").read_text().splitlines()
    assert len(lines) == 4
    assert [json.loads(line)["slice"] for line in lines[1:]] == [1, 1, 3]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lacks"),
        ("[]", "lacks"),
        ('{"format": "sff-napari-folds", "version": 9}', "version 9"),
        ('{"format": "sff-napari-folds", "version": 1}\n{"slice": 1', "a line is not JSON"),
        ('{"format": "sff-napari-folds", "version": 1}\n{"slice": -1}', "Record 0 of .*slice -1"),
        (
            '{"format": "sff-napari-folds", "version": 1}\n' + " " * (5 * 2**20),
            "line of more than 4 MiB",
        ),
        ('{"format": "sff-napari-folds", "version": 1, "detection": [1]}', "not an object"),
    ],
)
def test_json_lines_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "f.jsonl").write_text(text)
    with pytest.raises(StackError, match=words) as caught:
        read_folds(tmp_path / "f.jsonl")
    assert "\n" not in str(caught.value)


def test_too_many_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folds(tmp_path / "f.jsonl", {0: [Fold([(0, 10), (50, 20)], 4)] * 3})
    monkeypatch.setattr("sff_napari.stacks.folds_file.MAX_FOLDS", 2)
    with pytest.raises(StackError, match="more than 2 folds"):
        read_folds(tmp_path / "f.jsonl")
