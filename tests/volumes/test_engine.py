"""What a run over a volume writes, and what it leaves alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.volumes.conftest import QUICK, Folds, run, tree, write_ome

import sff_napari
from sff_napari.errors import InputError
from sff_napari.evaluation.without_truth import correlation, smooth
from sff_napari.folds import Fold
from sff_napari.simulation import neuropil
from sff_napari.stacks import open_stack, write_stack
from sff_napari.stacks.ome import halved
from sff_napari.volumes.plan.settings import VolumeSettings
from sff_napari.volumes.restore import block
from sff_napari.volumes.verify.verify_volume import verify_volume


def test_the_result_is_that_of_single_slices(source: Path, folds: Folds, tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    # The method of the default takes its time: one slice is enough.
    folds = {1: folds[1]}
    summary = run(source, folds, out, settings=VolumeSettings())
    assert summary.complete
    assert summary.outcome.restored == [1]
    before, after = open_stack(source), open_stack(out)
    for z in range(len(before)):
        if z not in folds:
            assert np.array_equal(before[z], after[z])
            continue
        expected = sff_napari.restore(before[z - 1], before[z], before[z + 1], folds[z])
        assert np.array_equal(after[z], expected.restored)
        group = zarr.open_group(out, mode="r")
        flow = np.asarray(group["displacement"][z])
        assert np.allclose(flow, expected.flow, rtol=0, atol=1 / 256, equal_nan=True)
        label = np.asarray(group["labels/synthesised/0"][z])
        assert np.array_equal(label, expected.synthesised > 0)
        assert expected.confidence is not None
        sure = np.asarray(group["confidence"][z]) / 255
        assert np.abs(sure - expected.confidence).max() < 0.011
        assert sure.min() < 0.8


def test_untouched_chunks_and_metadata_keep_their_bytes(
    source: Path, folds: Folds, tmp_path: Path
) -> None:
    out = tmp_path / "out.zarr"
    run(source, folds, out)
    before, after = tree(source), tree(out)
    assert set(before) <= set(after)
    changed = {name for name in before if before[name] != after[name]}
    assert changed
    lines = (out / "sff_napari" / "chunks.jsonl").read_text().splitlines()
    recorded = {json.loads(line)["key"] for line in lines}
    assert changed <= recorded
    # Slice 4 has a chunk of its own; slices 0 to 3 share theirs with folded ones.
    assert not any(name.startswith("s0/c/2/") for name in changed)
    a, b = zarr.open_array(source, path="s0"), zarr.open_array(out, path="s0")
    assert a.metadata == b.metadata
    assert not list(tmp_path.glob("*.part"))


def test_confidence_is_stored_where_folds_changed_something(
    source: Path, folds: Folds, tmp_path: Path, sure: VolumeSettings
) -> None:
    run(source, folds, tmp_path / "out.zarr", settings=sure)
    group = zarr.open_group(tmp_path / "out.zarr", mode="r")
    found, label = group["confidence"], np.asarray(group["labels/synthesised/0"])
    assert found.fill_value == 255
    assert dict(found.attrs)["scale"] == 1 / 255
    assert np.array_equal(np.asarray(found), np.where(label == 1, 130, 255))
    stored = {path.name for path in (tmp_path / "out.zarr/confidence/c").iterdir()}
    assert stored == {"1", "3"}
    # Methods that cannot tell store nothing.
    run(source, folds, tmp_path / "without.zarr")
    assert not (tmp_path / "without.zarr/confidence").exists()


def test_a_restored_volume_can_be_restored_again(
    source: Path, folds: Folds, tmp_path: Path, sure: VolumeSettings
) -> None:
    once, twice = tmp_path / "once.zarr", tmp_path / "twice.zarr"
    run(source, folds, once, settings=sure)
    again = {1: [Fold([(0, 150), (159, 170)], 2, source="detected")]}
    assert run(once, again, twice, settings=sure).complete
    assert verify_volume(twice).good
    for name in ("labels/synthesised/0", "confidence"):
        before, after = (
            np.asarray(zarr.open_array(root, path=name, mode="r")) for root in (once, twice)
        )
        assert np.array_equal(after[3], before[3])
        # What was made by this run alone.
        assert not np.array_equal(after[1], before[1])
        rows, columns = np.nonzero(after[1] != after[1, 0, 0])
        assert columns.min() > 140
        assert len(rows) > 100


def test_coarse_levels_follow_the_fine_one(source: Path, folds: Folds, tmp_path: Path) -> None:
    run(source, folds, tmp_path / "out.zarr")
    group = zarr.open_group(tmp_path / "out.zarr", mode="r")
    for level in (1, 2):
        fine, coarse = np.asarray(group[f"s{level - 1}"]), np.asarray(group[f"s{level}"])
        assert np.array_equal(coarse, np.stack([halved(plane) for plane in fine]))
        label = np.asarray(group[f"labels/synthesised/{level}"])
        below = np.asarray(group[f"labels/synthesised/{level - 1}"])
        assert label.shape == coarse.shape
        assert below.any()
        assert np.array_equal(label, below.reshape(len(below), *_halves(below)).max(axis=(2, 4)))


def _halves(array: Any) -> tuple[int, ...]:
    return (array.shape[1] // 2, 2, array.shape[2] // 2, 2)


def test_a_second_run_changes_nothing(source: Path, folds: Folds, tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    run(source, folds, out)
    before = tree(out, without=())
    times = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    summary = run(source, folds, out)
    assert summary.complete
    assert (summary.outcome.restored, summary.present) == ([], [1, 3])
    assert tree(out, without=()) == before
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == times


def test_later_runs_add_slices(source: Path, folds: Folds, tmp_path: Path) -> None:
    run(source, folds, tmp_path / "once.zarr")
    for z in (3, 1):
        run(source, folds, tmp_path / "twice.zarr", slices=[z])
    assert tree(tmp_path / "once.zarr") == tree(tmp_path / "twice.zarr")


def test_other_folds_or_settings_are_refused(source: Path, folds: Folds, tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    run(source, folds, out)
    with pytest.raises(InputError, match="other settings"):
        run(source, folds, out, settings=VolumeSettings(unfolding="none"))
    with pytest.raises(InputError, match="other folds"):
        run(source, {**folds, 3: folds[3][:1]}, out)
    run(source, {3: folds[3][:1]}, out, overwrite=True)
    assert np.array_equal(open_stack(out)[1], open_stack(source)[1])
    (tmp_path / "not.zarr").mkdir()
    with pytest.raises(InputError, match="not made by this command"):
        run(source, folds, tmp_path / "not.zarr")


def test_a_tiff_becomes_an_ome_zarr(folds: Folds, damaged: Any, tmp_path: Path) -> None:
    tiff = write_stack(tmp_path / "in.tif", damaged[0], voxel_size=(50, 4, 4))
    run(tiff, folds, tmp_path / "out.zarr")
    source = write_stack(tmp_path / "in.zarr", damaged[0], voxel_size=(50, 4, 4))
    run(source, folds, tmp_path / "same.zarr")
    out, same = open_stack(tmp_path / "out.zarr"), open_stack(tmp_path / "same.zarr")
    assert out.voxel_size == (50, 4, 4)
    assert all(np.array_equal(a, b) for a, b in zip(out, same, strict=True))


def test_the_record_says_how_each_fold_was_restored(
    source: Path, folds: Folds, tmp_path: Path
) -> None:
    run(source, folds, tmp_path / "out.zarr")
    record = json.loads((tmp_path / "out.zarr/sff_napari/slices/000003.json").read_text())
    assert [fold["id"] for fold in record["folds"]] == ["z3-0", "z3-1"]
    assert Fold.from_dict(record["folds"][0]) == folds[3][0]
    assert (record["previous"], record["following"]) == (2, 4)
    assert record["parameters"]["unfolding"] == "none"
    assert record["software"]["sff-napari"] == sff_napari.__version__
    (piece,) = record["pieces"]
    assert set(piece["scores"]) >= {"near_before", "near_after"}
    # Slices 1 and 3 are damaged, and there is no pair of others.
    assert (record["clean_pair"], piece["scores"]["clean"]) == (None, None)
    assert [one["name"] for one in piece["report"]["neighbours"]] == ["previous", "following"]
    assert all("shift" in one for one in piece["report"]["neighbours"])


def test_the_record_says_how_much_clean_slices_resemble_each_other(
    source: Path, folds: Folds, tmp_path: Path
) -> None:
    out = tmp_path / "out.zarr"
    run(source, {1: folds[1]}, out)
    record = json.loads((out / "sff_napari/slices/000001.json").read_text())
    assert record["clean_pair"] == [2, 3]
    stack = open_stack(source)
    expected = correlation(smooth(stack[2]), smooth(stack[3]))
    assert record["pieces"][0]["scores"]["clean"] == pytest.approx(expected, abs=1e-3)
    # A pair that cannot be read takes nothing from the slice.
    single = {0: [Fold([(0, 100), (159, 120)], 2, source="detected")]}
    fine = neuropil((5, 160, 192), seed=5)
    thin = write_ome(tmp_path / "thin.zarr", fine, chunks=(1, 64, 64), levels=1)
    (thin / "s0/c/2/0/0").write_bytes(b"no chunk")
    assert run(thin, single, tmp_path / "other.zarr").complete
    record = json.loads((tmp_path / "other.zarr/sff_napari/slices/000000.json").read_text())
    assert record["clean_pair"] == [1, 2]
    assert record["pieces"][0]["scores"]["clean"] is None


@st.composite
def stored(draw: Any) -> dict[str, Any]:
    """Draw how a volume is stored."""
    zarr_format = draw(st.sampled_from([2, 3]))
    axes = draw(st.sampled_from(["zyx", "xyz", "zyx", "tczyx", "czyx", "yxz"]))
    sizes = {"z": draw(st.integers(3, 5)), "y": draw(st.integers(40, 90)), "t": 1, "c": 2}
    sizes["x"] = draw(st.integers(40, 90))
    chunk = {"z": draw(st.integers(1, 3)), "t": 1, "c": draw(st.integers(1, 2))}
    chunk["y"], chunk["x"] = draw(st.integers(16, 64)), draw(st.integers(16, 64))
    shape, chunks = tuple(sizes[a] for a in axes), tuple(chunk[a] for a in axes)
    options: dict[str, Any] = {"chunks": chunks, "shape": shape, "zarr_format": zarr_format}
    options["fill_value"] = draw(st.sampled_from([0, 7]))
    if zarr_format == 2:
        import numcodecs

        options["compressors"] = draw(
            st.sampled_from([None, numcodecs.Zlib(1), numcodecs.Blosc("lz4", 3)])
        )
        options["filters"] = draw(st.sampled_from([None, [numcodecs.Delta("u1")]]))
        options["order"] = draw(st.sampled_from(["C", "F"]))
        separator = draw(st.sampled_from([".", "/"]))
        options["chunk_key_encoding"] = {"name": "v2", "separator": separator}
        options["dtype"] = draw(st.sampled_from(["u1", "<u2", ">u2", "<f4", "<f2"]))
        if options["filters"] and options["dtype"] != "u1":
            options["filters"] = None
    else:
        if draw(st.booleans()):
            options["shards"] = tuple(n * draw(st.integers(1, 2)) for n in chunks)
        options["compressors"] = draw(
            st.sampled_from([None, zarr.codecs.GzipCodec(level=1), zarr.codecs.ZstdCodec()])
        )
        options["dimension_names"] = list(axes)
        options["dtype"] = draw(st.sampled_from(["uint8", "uint16", "float32", "float64"]))
    return {"axes": axes, "sizes": sizes, "options": options, "hole": draw(st.booleans())}


@given(stored())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_storage_round_trips(
    tmp_path_factory: pytest.TempPathFactory, how: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("stored")
    axes, sizes, options = how["axes"], how["sizes"], how["options"]
    dtype = np.dtype(options["dtype"])
    volume = neuropil((sizes["z"], sizes["y"], sizes["x"]), seed=2).astype(dtype)
    if dtype.kind == "f":
        volume = volume / 255
    values = np.full(options["shape"], options["fill_value"], dtype=dtype)
    moved = np.moveaxis(values, [axes.index(a) for a in "zyx"], [-3, -2, -1])
    moved[...] = volume
    if how["hole"]:
        moved[..., -1, :20, :20] = options["fill_value"]
    source = folder / "in.zarr"
    if options["zarr_format"] == 2 and axes != "tczyx"[-len(axes) :]:
        # Plain arrays of format 2 name no axes: OME-Zarr does.
        options = {**options, "name": "0"}
        root = zarr.open_group(source, mode="w", zarr_format=2)
        root.attrs["multiscales"] = [
            {
                "version": "0.4",
                "axes": [{"name": a, "type": "space"} for a in axes],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [1.0] * len(axes)}
                        ],
                    }
                ],
            }
        ]
    array = zarr.create_array(source, attributes={"a": 1}, **options)
    array[...] = values
    fold = Fold([(0, sizes["x"] / 3), (sizes["y"] - 1, sizes["x"] / 2)], 2, source="detected")
    summary = run(source, {1: [fold]}, folder / "out.zarr")
    assert summary.complete, summary.outcome
    before, after = tree(source), tree(folder / "out.zarr")
    assert {name for name in before if "zarr" in name} <= set(after)
    old, new = open_stack(source), open_stack(folder / "out.zarr")
    assert (old.shape, old.dtype, old.axes) == (new.shape, new.dtype, new.axes)
    expected = sff_napari.restore(
        old[0], old[1], old[2], fold, interpolation="mean", unfolding="none", fusion="stitch"
    )
    for z in range(len(old)):
        wanted = expected.restored.astype(old.dtype) if z == 1 else old[z]
        assert np.array_equal(new[z], wanted)
    # What other channels hold, and what was missing, stays.
    name = options.get("name")
    whole = np.asarray(zarr.open_array(folder / "out.zarr", path=name, mode="r")[...])
    rest = np.moveaxis(whole, [axes.index(a) for a in "zyx"], [-3, -2, -1]).copy()
    rest[(0,) * (rest.ndim - 3)] = moved[(0,) * (rest.ndim - 3)]
    assert np.array_equal(rest, moved)
    touched = {
        json.loads(line)["key"]
        for line in (folder / "out.zarr/sff_napari/chunks.jsonl").read_text().splitlines()
    }
    assert all(after.get(name) == data for name, data in before.items() if name not in touched)
    assert all(
        name in before or name in touched or "sff_napari" in name or "labels" in name
        or "displacement" in name
        for name in after
    )  # fmt: skip


def test_down_sampling_of_others_is_recognised(damaged: Any, folds: Folds, tmp_path: Path) -> None:
    source = write_ome(tmp_path / "in.zarr", damaged[0], levels=2, zarr_format=2)
    fine = np.asarray(zarr.open_array(source, path="s0", mode="r"))
    zarr.open_array(source, path="s1", mode="r+")[...] = fine[:, ::2, ::2]
    run(source, folds, tmp_path / "out.zarr", settings=QUICK)
    group = zarr.open_group(tmp_path / "out.zarr", mode="r")
    assert np.array_equal(np.asarray(group["s1"]), np.asarray(group["s0"])[:, ::2, ::2])
    assert "first pixel" in (tmp_path / "out.zarr/sff_napari/plan.json").read_text()


def test_what_the_fit_warns_of_is_told(
    source: Path, folds: Folds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warning(*slices: Any, **options: Any) -> Any:
        made = sff_napari.restore(*slices, **{**options, "unfolding": "none"})
        return replace(made, report={**made.report, "notes": ["This side was not found."]})

    monkeypatch.setattr(block, "restore", warning)
    summary = run(source, folds, tmp_path / "out.zarr")
    assert summary.outcome.notes == [f"Slice {z}: This side was not found." for z in (1, 3)]
    assert summary.complete
