"""Overlays: only what changed is stored, the rest is read from the source."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.volumes.conftest import Folds, run, tree, write_ome

from sff_napari.errors import StackError
from sff_napari.stacks import open_stack
from sff_napari.stacks.overlay import VARIABLE


def size(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def test_an_overlay_reads_as_the_full_copy(source: Path, folds: Folds, tmp_path: Path) -> None:
    run(source, folds, tmp_path / "full.zarr")
    run(source, folds, tmp_path / "thin.zarr", overlay=True)
    full, thin = open_stack(tmp_path / "full.zarr"), open_stack(tmp_path / "thin.zarr")
    assert (full.shape, full.dtype, full.kind) == (thin.shape, thin.dtype, thin.kind)
    assert all(np.array_equal(a, b) for a, b in zip(full, thin, strict=True))
    for a, b in zip(full.levels, thin.levels, strict=True):
        assert np.array_equal(a.stack[3], b.stack[3])
    part = thin.read(3, slice(10, 90), slice(70, 120))
    assert np.array_equal(part, full[3][10:90, 70:120])
    copied = tree(tmp_path / "full.zarr")
    stored = tree(tmp_path / "thin.zarr")
    chunks = {name for name in stored if name.startswith("s") and "/c/" in name}
    assert chunks
    assert all(stored[name] == copied[name] for name in chunks)
    assert all(tree(source).get(name) != stored[name] for name in chunks - {"sff_napari"})


def test_an_overlay_is_small(tmp_path: Path, damaged: Any, folds: Folds) -> None:
    volume = np.tile(damaged[0], (8, 1, 1))
    source = write_ome(tmp_path / "in.zarr", volume, chunks=(1, 32, 32))
    run(source, {1: folds[1]}, tmp_path / "thin.zarr", overlay=True)
    assert size(tmp_path / "thin.zarr") < 0.25 * size(source)


def test_both_can_be_moved_together(source: Path, folds: Folds, tmp_path: Path) -> None:
    home, away = tmp_path / "home", tmp_path / "away"
    home.mkdir()
    source.rename(home / "in.zarr")
    run(home / "in.zarr", folds, home / "out.zarr", overlay=True)
    expected = open_stack(home / "out.zarr")[3]
    home.rename(away)
    assert np.array_equal(open_stack(away / "out.zarr")[3], expected)
    (away / "in.zarr").rename(away / "other.zarr")
    with pytest.raises(StackError, match="there is nothing"):
        open_stack(away / "out.zarr")


@pytest.mark.parametrize(
    "named",
    ["/tmp/in.zarr", "../in.zarr", "a/../../in.zarr", "https://example.org/a", "file:///x",
     "~/in.zarr", "..\\in.zarr", "c:/in.zarr", "", "s3://bucket/a"],
)  # fmt: skip
def test_a_manifest_is_not_followed_elsewhere(
    source: Path, folds: Folds, tmp_path: Path, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.zarr"
    run(source, folds, out, overlay=True)
    expected = open_stack(out)[3]
    path = out / "sff_napari/plan.json"
    plan = json.loads(path.read_text())
    path.write_text(json.dumps({**plan, "overlay_of": named}))
    with pytest.raises(StackError, match="lies elsewhere"):
        open_stack(out)
    # Unless the user says where.
    monkeypatch.setenv(VARIABLE, os.fspath(source))
    assert np.array_equal(open_stack(out)[3], expected)


def test_a_source_elsewhere_is_named_in_full(source: Path, folds: Folds, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    out = tmp_path / "there" / "out.zarr"
    run(source, folds, out, overlay=True)
    plan = json.loads((out / "sff_napari/plan.json").read_text())
    assert plan["overlay_of"] == str(source.resolve())
    with pytest.raises(StackError, match="--source"):
        open_stack(out)


def test_an_overlay_that_names_itself_ends(source: Path, folds: Folds, tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    run(source, folds, out, overlay=True)
    path = out / "sff_napari/plan.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "overlay_of": "out.zarr"}))
    with pytest.raises(StackError, match="no end"):
        open_stack(out)


def test_an_overlay_can_be_restored_further(source: Path, folds: Folds, tmp_path: Path) -> None:
    run(source, folds, tmp_path / "once.zarr")
    run(source, folds, tmp_path / "a.zarr", slices=[1], overlay=True)
    run(source, folds, tmp_path / "a.zarr", slices=[3], overlay=True)
    first = [open_stack(tmp_path / name)[z] for name in ("a.zarr", "once.zarr") for z in (1, 3)]
    assert np.array_equal(first[0], first[2])
    assert np.array_equal(first[1], first[3])
    # An overlay as the source of a copy.
    run(source, folds, tmp_path / "b.zarr", slices=[1], overlay=True)
    run(tmp_path / "b.zarr", {3: folds[3]}, tmp_path / "c.zarr")
    copied = open_stack(tmp_path / "c.zarr")
    assert all(
        np.array_equal(a, b) for a, b in zip(copied, open_stack(tmp_path / "a.zarr"), strict=True)
    )
