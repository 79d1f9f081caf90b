"""Finding the folds of volumes: large slices, interrupted runs, slices that cannot be read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sff_napari.detection.match import compare
from sff_napari.errors import Cancelled, InputError, StackError
from sff_napari.folds import Fold
from sff_napari.simulation import neuropil, simulate_fold, simulate_realistic
from sff_napari.stacks import Stack, open_stack, read_folds, write_stack
from sff_napari.stacks.description import Readers, StackInfo
from sff_napari.stacks.slice_numbers import slice_ranges
from sff_napari.volumes.find import detect_volume as detection_module
from sff_napari.volumes.find import search as search_module
from sff_napari.volumes.find.checkpoint import progress_path
from sff_napari.volumes.find.coarse import CoarseReader, reduced
from sff_napari.volumes.find.detect_volume import detect_volume
from sff_napari.volumes.find.line_merging import Course, joined
from sff_napari.volumes.find.search import Search, search_slices, slabs, windows

SIDE = 384


def search_slice(stack: Stack, z: int, search: Search) -> list[Fold]:
    """Return the folds of one slice."""
    return search_slices(stack, [z], search)[z]


@pytest.fixture(scope="module")
def volume() -> NDArray[np.uint8]:
    """Return a volume with folds on slices 1, 3 and 4, and no image on slice 5."""
    stack = neuropil((6, SIDE, SIDE), 3)
    for z in (1, 3, 4):
        stack[z] = simulate_realistic(stack[z], np.random.default_rng(z)).damaged
    stack[5] = 0
    return stack


@pytest.fixture(scope="module")
def large() -> tuple[NDArray[np.uint8], Fold]:
    """Return a slice with one fold from border to border."""
    fold = Fold([(0, 300), (500, 420), (1099, 800)], 9.0)
    return simulate_fold(neuropil((1, 1100, 1100), 5)[0], fold).damaged, fold


def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "WHOLE", 800)
    monkeypatch.setattr(search_module, "WINDOW", 352)
    monkeypatch.setattr(search_module, "_OVERLAP", 96)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_large_slice_in_windows(
    large: tuple[NDArray[np.uint8], Fold], monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    image, truth = large
    small_windows(monkeypatch)
    data = image.astype(dtype) * (257 if dtype == "uint16" else 1)
    (found,) = search_slice(Stack.from_array(data), 0, Search())
    agreement = compare(found, truth, image.shape)
    assert agreement.is_match
    assert agreement.distance < 1.0
    assert abs(found.half_width - truth.half_width) < 3


def test_levels_and_whole_slices_give_the_same_line(
    tmp_path: Path, large: tuple[NDArray[np.uint8], Fold], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, truth = large
    small_windows(monkeypatch)
    write_stack(tmp_path / "a.zarr", image[None])
    stack = open_stack(tmp_path / "a.zarr")
    assert CoarseReader(stack, 2).from_pyramid
    (one,) = search_slice(stack, 0, Search())
    # A compressed TIFF cannot read parts: the slice is read once.
    whole = Stack(
        Readers(lambda z: image), StackInfo((1, *image.shape), image.dtype, kind="test", name="a")
    )
    assert not whole.reads_parts
    (two,) = search_slice(whole, 0, Search())
    assert compare(one, two, image.shape).distance < 1.0
    assert compare(two, truth, image.shape).is_match


def test_slices_in_the_same_chunks_are_read_together(
    tmp_path: Path, large: tuple[NDArray[np.uint8], Fold], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, truth = large
    small_windows(monkeypatch)
    volume = np.stack([image, np.zeros_like(image), image[::-1], image])
    array = zarr.create_array(tmp_path / "a.zarr", data=volume, chunks=(3, 256, 256))
    stack = open_stack(tmp_path / "a.zarr")
    assert stack.stored_depth == 3
    assert slabs(stack, [0, 1, 2, 3]) == [[0, 1, 2], [3]]
    assert slabs(stack, [0, 2, 3]) == [[0], [2], [3]]
    assert slabs(Stack.from_array(volume), [0, 1]) == [[0], [1]]
    assert np.array_equal(stack.read_block(1, 2, slice(5, 9), slice(0, 8)), volume[1:3, 5:9, :8])
    out = tmp_path / "folds.json"
    together = detect_volume(stack, out=out)
    assert sorted(together.folds) == [0, 2, 3]
    alone = detect_volume(Stack.from_array(volume))
    assert together.folds == alone.folds
    assert compare(together.folds[0][0], truth, image.shape).is_match
    # One chunk that cannot be read costs its slices, and they alone.
    (tmp_path / "a.zarr" / "c" / "0" / "1" / "1").write_bytes(b"no chunk")
    result = detect_volume(open_stack(tmp_path / "a.zarr"), out=out, again=True)
    assert sorted(result.failed) == [0, 1, 2]
    assert sorted(result.folds) == [3]
    assert array.chunks == (3, 256, 256)


def test_clean_slices_have_no_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    small_windows(monkeypatch)
    assert search_slice(Stack.from_array(neuropil((1, 1100, 1100), 8)), 0, Search()) == []


def test_never_more_than_a_window_is_read() -> None:
    rng = np.random.default_rng(0)
    read: list[int] = []

    def region(z: int, rows: slice, columns: slice) -> NDArray[np.uint8]:
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        read.append(shape[0] * shape[1])
        return rng.integers(100, 156, shape, dtype=np.uint8)

    stack = Stack(
        Readers(lambda z: pytest.fail("the whole slice was read"), region=region),
        StackInfo((1, 4500, 9000), np.uint8, kind="test", name="a"),
    )
    assert search_slice(stack, 0, Search()) == []
    assert max(read) <= (2 * search_module.WINDOW) ** 2


@given(st.integers(1, 9000), st.integers(1, 9000))
def test_windows_cover_the_slice(height: int, width: int) -> None:
    rows, columns = ({corner[i] for corner in windows((height, width))} for i in (0, 1))
    for starts, side in ((sorted(rows), height), (sorted(columns), width)):
        assert starts[0] == 0
        assert starts[-1] + search_module.WINDOW >= side
        assert starts[-1] == max(0, side - search_module.WINDOW)
        gaps = np.diff(starts)
        assert (gaps <= search_module.WINDOW - search_module._OVERLAP).all()


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    factor=st.integers(1, 5),
    dtype=st.sampled_from(["uint8", "uint16", "float16", "float32", "float64"]),
    holes=st.booleans(),
)
def test_reduced_is_the_mean(shape: tuple[int, int], factor: int, dtype: str, holes: bool) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, shape).astype(dtype)
    if holes and image.dtype.kind == "f":
        image[rng.random(shape) < 0.3] = np.nan
    found = reduced(image, factor)
    assert found.shape == tuple(-(-n // factor) for n in shape)
    padded = np.pad(image.astype(float), [(0, -n % factor) for n in shape], mode="edge").reshape(
        found.shape[0], factor, found.shape[1], factor
    )
    known = np.isfinite(padded)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, padded, 0).sum((1, 3)) / known.sum((1, 3))
    tolerance = 0.51 if image.dtype.kind == "u" else 0.3
    assert np.array_equal(np.isnan(found), np.isnan(mean))
    assert np.nanmax(np.abs(found - mean), initial=0) <= tolerance


@settings(max_examples=20)
@given(
    bend=st.floats(-0.0008, 0.0008),
    angle=st.floats(0, np.pi),
    width=st.floats(2, 20),
    flips=st.lists(st.booleans(), min_size=9, max_size=9),
)
def test_pieces_of_one_line_are_joined(
    bend: float, angle: float, width: float, flips: list[bool]
) -> None:
    along = np.arange(-1100.0, 1100.0, 4.0)
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = np.stack([along, bend * along**2], axis=1) @ turned.T + 1500
    blocks = []
    for number, first in enumerate(range(0, len(points), 55)):
        part = Course(
            points[first : first + 90], np.full(len(points[first : first + 90]), width), 0.9
        )
        blocks.append(part.reversed() if flips[number % 9] else part)
    (line,) = joined(blocks)
    ends = sorted([tuple(line.points[0]), tuple(line.points[-1])])
    assert ends == sorted([tuple(points[0]), tuple(points[-1])])
    steps = np.linalg.norm(np.diff(line.points, axis=0), axis=1)
    assert steps.max() < 12
    assert line.length == pytest.approx(Course(points, points[:, 0], 1.0).length, rel=0.02)


def test_lines_that_cross_stay_two() -> None:
    along = np.arange(0.0, 800.0, 4.0)
    widths = np.full(len(along), 6.0)
    one = Course(np.stack([along, 400 + 0 * along], axis=1), widths, 0.9)
    two = Course(np.stack([along, along], axis=1), widths, 0.9)
    beside = Course(np.stack([along, 440 + 0 * along], axis=1), widths, 0.9)
    assert len(joined([one, two, beside])) == 3


def found_in(stack: Any, **options: Any) -> dict[int, list[dict[str, Any]]]:
    result = detect_volume(stack, **options)
    return {z: [fold.to_dict() for fold in folds] for z, folds in result.folds.items()}


@pytest.mark.parametrize("name", ["folds.json", "folds.jsonl"])
def test_a_volume(tmp_path: Path, volume: NDArray[np.uint8], name: str) -> None:
    out = tmp_path / name
    shares: list[float] = []
    result = detect_volume(
        Stack.from_array(volume), out=out, progress=lambda share, text: shares.append(share)
    )
    assert sorted(result.folds) == [1, 3, 4]
    assert result.searched == [0, 1, 2, 3, 4, 5]
    assert not result.failed
    file = read_folds(out)
    assert file.folds == result.folds
    assert file.detection["slices"] == "0-5"
    assert file.detection["parameters"]["coarse"] == 1
    file.check(volume.shape)
    assert shares == sorted(shares)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_second_run_searches_only_what_is_missing(
    tmp_path: Path, volume: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, out = Stack.from_array(volume), tmp_path / "folds.json"
    searched: list[int] = []
    plain = detection_module.search_slices

    def counted(stack: Stack, slices: list[int], search: Search) -> dict[int, list[Fold]]:
        searched.extend(slices)
        return plain(stack, slices, search)

    monkeypatch.setattr(detection_module, "search_slices", counted)
    detect_volume(stack, [1, 2], out=out)
    assert searched == [1, 2]
    detect_volume(stack, [2, 3], out=out)
    assert searched == [1, 2, 3]
    # The file is one for the volume: what the first run found is still there.
    assert sorted(read_folds(out).folds) == [1, 3]
    before = out.read_bytes()
    assert detect_volume(stack, [1, 2, 3], out=out).before == [1, 2, 3]
    assert searched == [1, 2, 3]
    assert out.read_bytes() == before
    # Other parameters, or being told to, start anew.
    detect_volume(stack, [1], Search(threshold=0.5), out=out)
    assert searched == [1, 2, 3, 1]
    assert read_folds(out).detection["slices"] == "1"
    detect_volume(stack, [1], Search(threshold=0.5), out=out, again=True)
    assert searched == [1, 2, 3, 1, 1]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_run_ended_anywhere_goes_on(
    tmp_path: Path, volume: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    """The progress file is cut at any byte, as a kill or a full disk leaves it."""
    fold = Fold([(0, 50), (200.5, 60.25), (380, 90)], 7.5, score=0.5, source="detected")

    def search(stack: Stack, slices: list[int], search: Search) -> dict[int, list[Fold]]:
        if stop in slices:
            raise KeyboardInterrupt
        searched.extend(slices)
        return {z: [fold] * (z % 3) for z in slices}

    with monkeypatch.context() as patched:
        patched.setattr(detection_module, "search_slices", search)
        out = tmp_path / "folds.jsonl"
        out.unlink(missing_ok=True)
        progress_path(out).unlink(missing_ok=True)
        searched: list[int] = []
        stop = data.draw(st.integers(0, 5))
        with pytest.raises(KeyboardInterrupt):
            detect_volume(Stack.from_array(volume), out=out)
        kept = progress_path(out).read_bytes()
        progress_path(out).write_bytes(kept[: data.draw(st.integers(0, len(kept)))])
        stop, first = -1, list(searched)
        searched.clear()
        result = detect_volume(Stack.from_array(volume), out=out)
    assert set(first) | set(searched) == set(range(6))
    assert result.searched == list(range(6))
    assert {z: len(folds) for z, folds in result.folds.items()} == {1: 1, 2: 2, 4: 1, 5: 2}
    assert read_folds(out).folds == result.folds
    assert not progress_path(out).exists()


def test_the_progress_of_another_volume_is_not_used(
    tmp_path: Path, volume: NDArray[np.uint8]
) -> None:
    out = tmp_path / "folds.json"
    progress_path(out).write_text('{"format": "sff-napari-folds", "version": 1, "stack": {}}\n')
    assert detect_volume(Stack.from_array(volume), [1], out=out).before == []
    progress_path(out).write_bytes(b"\x00" * 5000)
    assert detect_volume(Stack.from_array(volume), [1, 2], out=out).before == [1]


def test_slices_that_cannot_be_read_are_named_and_made_up_for(
    tmp_path: Path, volume: NDArray[np.uint8]
) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=volume, chunks=(1, SIDE, SIDE))
    chunk = tmp_path / "a.zarr" / "c" / "3" / "0" / "0"
    good = chunk.read_bytes()
    chunk.write_bytes(b"no chunk")
    out = tmp_path / "folds.json"
    result = detect_volume(open_stack(tmp_path / "a.zarr"), out=out)
    assert list(result.failed) == [3]
    assert "Slice 3 of" in result.failed[3]
    assert sorted(result.folds) == [1, 4]
    assert read_folds(out).detection["slices"] == "0-2,4-5"
    chunk.write_bytes(good)
    result = detect_volume(open_stack(tmp_path / "a.zarr"), out=out)
    assert result.before == [0, 1, 2, 4, 5]
    assert not result.failed
    assert sorted(result.folds) == [1, 3, 4]


def test_a_slice_of_nan(volume: NDArray[np.uint8]) -> None:
    data = volume[:4].astype(np.float32)
    data[2] = np.nan
    result = detect_volume(Stack.from_array(data))
    assert list(result.empty) == [2]
    assert sorted(result.folds) == [1, 3]


def test_it_can_be_cancelled_and_goes_on(tmp_path: Path, volume: NDArray[np.uint8]) -> None:
    out = tmp_path / "folds.json"
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(Cancelled):
        detect_volume(Stack.from_array(volume), out=out, cancelled=cancelled)
    assert not out.exists()
    assert progress_path(out).exists()
    result = detect_volume(Stack.from_array(volume), out=out)
    assert len(result.before) == 3
    assert sorted(result.folds) == [1, 3, 4]


def test_a_folder_that_cannot_be_written(tmp_path: Path, volume: NDArray[np.uint8]) -> None:
    with pytest.raises(StackError, match="its folder does not exist"):
        detect_volume(Stack.from_array(volume), out=tmp_path / "missing" / "folds.json")


def test_choices_that_make_no_sense(volume: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match="must lie between 1 and 16"):
        Search(coarse=17)
    with pytest.raises(InputError, match="whole number"):
        CoarseReader(Stack.from_array(volume), 0)


@given(st.sets(st.integers(0, 60)))
def test_ranges_are_read_back(numbers: set[int]) -> None:
    from sff_napari.stacks import parse_slices

    text = slice_ranges(sorted(numbers))
    assert (parse_slices(text, 61) if text else []) == sorted(numbers)


def test_kills_lose_nothing(tmp_path: Path, volume: NDArray[np.uint8]) -> None:
    many = np.concatenate([volume] * 3)
    write_stack(tmp_path / "a.zarr", many)
    undisturbed = tmp_path / "undisturbed.json"
    detect_volume(open_stack(tmp_path / "a.zarr"), out=undisturbed)
    out = tmp_path / "folds.json"
    arguments = [sys.executable, "-m", "sff_napari", "detect", str(tmp_path / "a.zarr")]
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(2):
        process = subprocess.Popen([*arguments, "-o", str(out)], stdout=subprocess.DEVNULL)
        wanted = kept + int(rng.integers(1, 4))
        while process.poll() is None and _lines(progress_path(out)) < wanted:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if out.exists():
            break
        assert _lines(progress_path(out)) >= kept
        kept = _lines(progress_path(out))
    assert kept > 1
    done = subprocess.run([*arguments, "-o", str(out)], capture_output=True, text=True, check=True)
    assert "by an earlier run" in done.stdout
    assert json.loads(out.read_text()) == json.loads(undisturbed.read_text())


def _lines(path: Path) -> int:
    return path.read_bytes().count(b'"searched"') if path.exists() else 0


def test_worker_processes_find_the_same(tmp_path: Path, volume: NDArray[np.uint8]) -> None:
    from sff_napari.volumes.run.executors import Cluster

    write_stack(tmp_path / "a.zarr", volume)
    stack = open_stack(tmp_path / "a.zarr")
    alone = detect_volume(stack)
    cluster = Cluster(2)
    try:
        shared = detect_volume(stack, pool=cluster, out=tmp_path / "folds.json")
    finally:
        cluster.close()
    assert shared.folds == alone.folds
