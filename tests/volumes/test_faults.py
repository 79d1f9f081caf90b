"""What goes wrong with one slice or chunk stays there; what ends a run can be gone on with."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from tests.volumes.conftest import Folds, run, tree, write_ome

from sff_napari.errors import Cancelled, StackError
from sff_napari.stacks import open_stack, write_stack
from sff_napari.volumes.run import folder
from sff_napari.volumes.run.executors import Cluster, Threads
from sff_napari.volumes.verify.verify_volume import verify_volume


def chunk(source: Path, z: int) -> Path:
    """Return the file of a chunk of slice `z`; here a chunk holds one slice."""
    return source / "s0" / "c" / str(z) / "1" / "1"


@pytest.fixture
def thin(tmp_path: Path, damaged: Any) -> Path:
    """Return a source with chunks one slice deep."""
    return write_ome(tmp_path / "thin.zarr", damaged[0], chunks=(1, 64, 64))


def test_a_corrupt_chunk_fails_its_slice_alone(thin: Path, folds: Folds, tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    good = chunk(thin, 3).read_bytes()
    chunk(thin, 3).write_bytes(b"no chunk")
    chunk(thin, 4).write_bytes(b"nor this")
    summary = run(thin, {1: folds[1], 3: folds[3]}, out)
    assert not summary.complete
    assert summary.outcome.restored == [1]
    assert list(summary.outcome.failed) == [3]
    before, after = tree(thin), tree(out)
    kept = [name for name in before if name.startswith(("s0/c/3/", "s0/c/4/", "s1/c/3/"))]
    assert kept
    assert all(after[name] == before[name] for name in kept)
    verdict = verify_volume(out)
    assert not verdict.good
    assert (verdict.restored, verdict.failed) == ([1], [3])
    assert not verdict.wrong
    # Again without a change: the same; once the source is whole, the rest is done.
    assert list(run(thin, folds, out).outcome.failed) == [3]
    assert tree(out) == after
    chunk(thin, 3).write_bytes(good)
    chunk(thin, 4).write_bytes(before["s0/c/2/1/1"])
    assert run(thin, folds, out).outcome.restored == [3]
    assert run(thin, folds, out).complete
    assert not np.array_equal(open_stack(out)[3], open_stack(thin)[3])


def test_a_slice_of_nan_fails_alone(damaged: Any, folds: Folds, tmp_path: Path) -> None:
    volume = damaged[0].astype(np.float32) / 255
    volume[1] = np.nan
    source = write_ome(tmp_path / "in.zarr", volume)
    summary = run(source, folds, tmp_path / "out.zarr")
    assert summary.outcome.restored == [3]
    assert "NaN" in summary.outcome.failed[1]
    assert np.isnan(open_stack(tmp_path / "out.zarr")[1]).all()


def test_a_slice_without_neighbours_fails_alone(source: Path, folds: Folds, tmp_path: Path) -> None:
    # Slices 0 to 3 are damaged: slice 0 has nobody within reach, slice 3 has slice 4.
    lines = dict.fromkeys(range(4), folds[1])
    summary = run(source, lines, tmp_path / "out.zarr")
    assert "no undamaged slice" in summary.outcome.failed[0]
    assert summary.outcome.restored == [1, 2, 3]
    assert np.array_equal(open_stack(tmp_path / "out.zarr")[0], open_stack(source)[0])


@pytest.mark.parametrize("number", [1, 9, 30, 60])
def test_a_full_disk_ends_the_run_and_it_goes_on_later(
    thin: Path, folds: Folds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    run(thin, folds, tmp_path / "calm.zarr")
    out, count = tmp_path / "out.zarr", 0
    replace = folder.replace

    def full(partial: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(partial))
        replace(partial, target)

    with monkeypatch.context() as patched:
        patched.setattr(folder, "replace", full)
        with pytest.raises(StackError, match="the disk is full"):
            run(thin, folds, out)
    assert not out.exists()
    assert run(thin, folds, out).complete
    assert tree(out) == tree(tmp_path / "calm.zarr")


def test_a_chunk_that_cannot_be_copied_is_named_and_copied_later(
    thin: Path, folds: Folds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, bad = tmp_path / "out.zarr", chunk(thin, 4)
    copy = folder.Folder.copy

    def failing(self: folder.Folder, key: str, source: Path) -> None:
        if source == bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(source))
        copy(self, key, source)

    with monkeypatch.context() as patched:
        patched.setattr(folder.Folder, "copy", failing)
        summary = run(thin, folds, out)
        assert summary.outcome.restored == [1, 3]
        (lost,) = summary.outcome.lost.items()
        assert lost[0] == "s0/c/4/1/1"
        assert "Input/output error" in lost[1]
        assert not verify_volume(out).good
        assert list(run(thin, folds, out).outcome.lost) == ["s0/c/4/1/1"]
    assert run(thin, folds, out).complete
    assert verify_volume(out).good
    assert np.array_equal(open_stack(out)[4], open_stack(thin)[4])


def test_a_corrupt_coarse_chunk_stays_as_it_was(thin: Path, folds: Folds, tmp_path: Path) -> None:
    run(thin, folds, tmp_path / "calm.zarr")
    bad = thin / "s1" / "c" / "3" / "0" / "0"
    good = bad.read_bytes()
    bad.write_bytes(b"no chunk")
    summary = run(thin, folds, tmp_path / "out.zarr")
    assert summary.outcome.restored == [1, 3]
    assert list(summary.outcome.unmade) == ["s1/c/3/0/0"] or "s1/c/3/0/0" in summary.outcome.unmade
    assert (tmp_path / "out.zarr/s1/c/3/0/0").read_bytes() == b"no chunk"
    bad.write_bytes(good)
    assert run(thin, folds, tmp_path / "out.zarr").complete
    assert open_stack(tmp_path / "out.zarr").levels[0].stack[3].any()
    a, b = (
        np.asarray(zarr.open_array(tmp_path / name, path="s1", mode="r"))
        for name in ("calm.zarr", "out.zarr")
    )
    assert np.array_equal(a[:, 16:, 16:], b[:, 16:, 16:])


def test_cancelling_keeps_what_was_done(source: Path, folds: Folds, tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    run(source, folds, tmp_path / "calm.zarr")
    seen: list[str] = []

    with pytest.raises(Cancelled):
        run(
            source,
            folds,
            out,
            progress=lambda _, text: seen.append(text),
            cancelled=lambda: any(text.startswith("writing chunks: 1 ") for text in seen),
        )
    assert not out.exists()
    assert list((tmp_path / "out.zarr.part" / "sff_napari" / "work" / "patches").iterdir())
    assert run(source, folds, out).complete
    assert tree(out) == tree(tmp_path / "calm.zarr")


def test_another_unfinished_run_is_not_mixed_in(
    source: Path, folds: Folds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(source, {1: folds[1]}, tmp_path / "calm.zarr")
    out = tmp_path / "out.zarr"
    from sff_napari.volumes import pipeline

    def broken(*_: Any) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(pipeline.Pipeline, "_copy", broken)
        with pytest.raises(RuntimeError):
            run(source, folds, out)
    # Slice 3 was written already, but is not asked for now.
    run(source, {1: folds[1]}, out)
    assert tree(out) == tree(tmp_path / "calm.zarr")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Return two worker processes of dask.distributed."""
    pool = Cluster(2)
    yield pool
    pool.close()


def test_threads_and_worker_processes_give_the_same_bytes(
    source: Path, folds: Folds, tmp_path: Path, cluster: Cluster
) -> None:
    from sff_napari.volumes.plan.settings import VolumeSettings

    whole = VolumeSettings()
    folds = {1: folds[1], 3: folds[3][:1]}
    run(source, folds, tmp_path / "a.zarr", settings=whole, pool=Threads(2))
    run(source, folds, tmp_path / "b.zarr", settings=whole, pool=cluster)
    assert cluster.size == 2
    assert tree(tmp_path / "a.zarr") == tree(tmp_path / "b.zarr")


def test_worker_processes_lay_the_same_over_a_tiff(
    folds: Folds, damaged: Any, tmp_path: Path, cluster: Cluster
) -> None:
    source = write_stack(tmp_path / "in.tif", damaged[0])
    run(source, folds, tmp_path / "a.zarr", overlay=True)
    run(source, folds, tmp_path / "b.zarr", overlay=True, pool=cluster)
    assert tree(tmp_path / "a.zarr") == tree(tmp_path / "b.zarr")


def test_a_lost_worker_is_survived(
    source: Path, folds: Folds, tmp_path: Path, cluster: Cluster
) -> None:
    run(source, folds, tmp_path / "calm.zarr")
    workers = set(cluster.processes())
    assert len(workers) == 2
    killed: list[int] = []

    def kill_one(share: float, text: str) -> None:
        if text.startswith("writing chunks:") and not killed:
            killed.append(min(workers))
            os.kill(killed[0], 9)

    summary = run(source, folds, tmp_path / "out.zarr", pool=cluster, progress=kill_one)
    assert killed
    assert summary.complete, summary.outcome
    assert tree(tmp_path / "out.zarr") == tree(tmp_path / "calm.zarr")


def test_workers_that_are_slow_to_end_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Cluster(1)
    (worker,) = pool.processes()
    closing = pool._cluster.close

    def late() -> None:
        closing()
        raise TimeoutError

    with monkeypatch.context() as patched:
        patched.setattr(pool._cluster, "close", late)
        pool.close()
    assert not Path(f"/proc/{worker}/cmdline").exists()


def test_a_cluster_that_is_there_already(
    source: Path, folds: Folds, tmp_path: Path, cluster: Cluster
) -> None:
    joined = Cluster(scheduler=cluster.address)
    try:
        run(source, folds, tmp_path / "a.zarr", pool=joined)
    finally:
        joined.close()
    run(source, folds, tmp_path / "b.zarr")
    assert tree(tmp_path / "a.zarr") == tree(tmp_path / "b.zarr")
    # It is only left, not ended.
    assert len(cluster.processes()) == 2
