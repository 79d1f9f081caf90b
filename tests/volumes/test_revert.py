"""Checking a result against its record, and taking folds back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from tests.volumes.conftest import Folds, run, tree, write_ome

from sff_napari.errors import InputError, SffError, StackError
from sff_napari.stacks import open_stack
from sff_napari.volumes.plan.settings import VolumeSettings
from sff_napari.volumes.revert import revert_folds
from sff_napari.volumes.run.executors import Threads
from sff_napari.volumes.verify.verify_volume import verify_volume

ALL = ("z1-0", "z3-0", "z3-1")


def revert(out: Path, *folds: str, **options: Any) -> None:
    assert not revert_folds(out, folds, pool=Threads(1), **options).failed


def images(root: Path) -> dict[str, bytes]:
    """Return every file of the arrays of the image, and of what came with it, if anything."""
    return {
        name: data
        for name, data in tree(root).items()
        if not name.startswith("sff_napari/") and not name.endswith((".json", ".zgroup", ".zattrs"))
        and not name.endswith(".zarray")
    }  # fmt: skip


@pytest.mark.parametrize("overlay", [False, True])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_reverting_all_gives_the_original_bytes(
    damaged: Any, folds: Folds, tmp_path: Path, zarr_format: int, overlay: bool
) -> None:
    volume = damaged[0].copy()
    volume[:, :64, :64] = 0
    source = write_ome(
        tmp_path / "in.zarr", volume, chunks=(2, 64, 64), zarr_format=zarr_format, fill_value=0
    )
    missing = len(images(source))
    out = tmp_path / "out.zarr"
    run(source, folds, out, overlay=overlay)
    assert images(out) != images(source)
    assert verify_volume(out).good
    revert(out, *ALL)
    assert images(out) == ({} if overlay else images(source))
    assert missing == len(images(source))
    verdict = verify_volume(out)
    assert verdict.good, verdict.wrong
    assert verdict.reverted == [1, 3]
    before = tree(out, without=())
    revert(out, "z1-0")
    assert tree(out, without=()) == before
    # A run with the same folds leaves what was taken back as it is.
    assert run(source, folds, out, overlay=overlay).outcome.restored == []
    assert tree(out, without=()) == before


@pytest.mark.parametrize("overlay", [False, True])
def test_reverting_some_leaves_what_the_others_make(
    source: Path, folds: Folds, tmp_path: Path, overlay: bool
) -> None:
    out, other = tmp_path / "out.zarr", tmp_path / "other.zarr"
    run(source, folds, out, overlay=overlay)
    revert(out, "z3-1")
    run(source, {**folds, 3: folds[3][:1]}, other, overlay=overlay)
    assert images(out) == images(other)
    assert verify_volume(out).good
    record = json.loads((out / "sff_napari/slices/000003.json").read_text())
    assert [fold["id"] for fold in record["folds"]] == ["z3-0"]
    assert [fold["id"] for fold in record["reverted"]] == ["z3-1"]
    revert(out, "z3-0")
    assert np.array_equal(open_stack(out)[3], open_stack(source)[3])
    assert not np.array_equal(open_stack(out)[1], open_stack(source)[1])


def test_confidence_is_taken_back_too(
    source: Path, folds: Folds, tmp_path: Path, sure: VolumeSettings
) -> None:
    out, other = tmp_path / "out.zarr", tmp_path / "other.zarr"
    run(source, folds, out, settings=sure)
    path = next(path for path in (out / "confidence" / "c" / "1").rglob("*") if path.is_file())
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert list(verify_volume(out).wrong) == [path.relative_to(out).as_posix()]
    path.write_bytes(whole)
    revert(out, "z3-1")
    run(source, {**folds, 3: folds[3][:1]}, other, settings=sure)
    assert images(out) == images(other)
    revert(out, "z1-0", "z3-0")
    assert images(out) == images(source)
    assert verify_volume(out).good


def test_reverting_works_without_the_source(source: Path, folds: Folds, tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    run(source, folds, out)
    original = images(source)
    source.rename(tmp_path / "gone.zarr")
    revert(out, "z3-0")
    revert(out, "z1-0", "z3-1")
    assert images(out) == original


def test_an_interrupted_revert_is_finished(
    source: Path, folds: Folds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.zarr"
    run(source, folds, out)
    from sff_napari.volumes import pipeline

    with monkeypatch.context() as patched:
        patched.setattr(
            pipeline.Pipeline, "_coarser", lambda *_: (_ for _ in ()).throw(RuntimeError)
        )
        with pytest.raises(RuntimeError):
            revert(out, "z1-0")
    assert not verify_volume(out).good
    with pytest.raises(InputError, match="not finished"):
        run(source, folds, out)
    revert(out, "z3-0", "z3-1")
    assert images(out) == images(source)
    assert verify_volume(out).good


def test_verify_finds_a_flipped_byte(source: Path, folds: Folds, tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    run(source, folds, out)
    rows = [json.loads(line) for line in (out / "sff_napari/chunks.jsonl").open()]
    key = next(row["key"] for row in rows if row["key"].startswith("s0/"))
    for path, words in (
        (out / key, "not what was written"),
        (out / "sff_napari/originals" / key, "lost or damaged"),
    ):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        verdict = verify_volume(out)
        assert list(verdict.wrong) == [key]
        assert words in verdict.wrong[key]
        path.unlink()
        assert not verify_volume(out).good
        path.write_bytes(whole)
    assert verify_volume(out).good


def test_unknown_folds_and_volumes(source: Path, folds: Folds, tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    run(source, folds, out)
    before = tree(out, without=())
    with pytest.raises(InputError, match="no fold 'z9-0'"):
        revert_folds(out, ["z9-0"])
    assert tree(out, without=()) == before
    for work in (verify_volume, lambda place: revert_folds(place, ["z1-0"])):
        with pytest.raises(StackError, match="no volume that"):
            work(source)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("chunks.jsonl", '{"key": "../../secret", "before": null, "after": null}\n'),
        ("chunks.jsonl", '{"key": "/etc/passwd", "before": null, "after": null}\n'),
        ("chunks.jsonl", '{"key": "s0/c/0", "before": 1, "after": null}\n'),
        ("chunks.jsonl", "{" * 5000),
        ("slices/000003.json", "[" * 200_000),
        ("slices/000003.json", '{"slice": 1, "status": "restored", "folds": []}'),
        ("slices/000003.json", '{"slice": 3, "status": "restored", "folds": [{"id": "a"}]}'),
        (
            "slices/000003.json",
            '{"slice": 3, "status": "restored", "folds": [], "clean_pair": [4, 2]}',
        ),
        ("plan.json", '{"format": "sff-napari-volume", "version": 99}'),
        ("plan.json", "[]"),
        ("plan.json", "null"),
    ],
)
def test_damaged_or_hostile_records_are_refused(
    source: Path, folds: Folds, tmp_path: Path, name: str, text: str
) -> None:
    out = tmp_path / "out.zarr"
    run(source, folds, out, slices=[3])
    (out / "sff_napari" / name).write_text(text)
    with pytest.raises(SffError):
        verify_volume(out)


def test_a_hostile_plan_cannot_lead_out_of_the_volume(
    source: Path, folds: Folds, tmp_path: Path
) -> None:
    out = tmp_path / "out.zarr"
    run(source, folds, out, slices=[3])
    path = out / "sff_napari/plan.json"
    plan = json.loads(path.read_text())
    for key, value in (
        ("arrays", ["../../in.zarr/s0"]),
        ("labels", ["/tmp/x"]),
        ("displacement", ".."),
        ("group", "a/../.."),
    ):
        path.write_text(json.dumps({**plan, key: value}))
        with pytest.raises(StackError):
            revert_folds(out, ["z3-0"], pool=Threads(1))
    assert zarr.open_array(source, path="s0", mode="r").shape[0] == 5
