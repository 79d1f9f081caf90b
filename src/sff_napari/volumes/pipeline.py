"""Make a volume, stage by stage: blocks, chunks, what is copied, coarser levels, records."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from sff_napari.progress import Reporter
from sff_napari.volumes.plan.keys import digest
from sff_napari.volumes.plan.settings import VolumeSettings
from sff_napari.volumes.plan.slice_plan import SlicePlan
from sff_napari.volumes.restore.block import load_record
from sff_napari.volumes.restore.law_stitching import join
from sff_napari.volumes.restore.window_fit import load_fit
from sff_napari.volumes.run.executors import Meter
from sff_napari.volumes.run.restored_volume import PixelSource, RestoredVolume, open_restored_volume
from sff_napari.volumes.run.run_result import RunResult
from sff_napari.volumes.run.task import (
    CopyKeys,
    FillBlock,
    FitWindow,
    ImportChunks,
    Pool,
    RestoreBlock,
    Task,
    WriteChunk,
    WriteCoarseChunk,
    WriteCoarseLabel,
)
from sff_napari.volumes.verify.record_run import record_run
from sff_napari.volumes.write.affected_chunks import (
    affected_places,
    derived_blocks,
    derived_keys,
    derived_tasks,
    label_places,
)
from sff_napari.volumes.write.chunk_grid import ChunkIndex
from sff_napari.volumes.write.copy_chunks import batches, keys_below
from sff_napari.volumes.write.downsample import above
from sff_napari.volumes.write.layout import LayoutLevel

T = TypeVar("T", bound=Task)

_NOTHING = "The slice shows no tissue near its folds: it cannot be restored."


class Pipeline:
    """One run over a result, new or not.

    Parameters
    ----------
    root : Path
        Folder of the result.
    origin : PixelSource
        Where the pixels come from that it does not hold.
    pool : Pool
        What does the tasks.
    settings : Settings
        How slices are restored.
    reporter : Reporter
        Told of progress.
    fresh : bool
        Whether the result is being made for the first time.
    """

    def __init__(
        self,
        root: Path,
        origin: PixelSource,
        pool: Pool,
        settings: VolumeSettings,
        reporter: Reporter,
        *,
        fresh: bool,
    ) -> None:
        self.volume: RestoredVolume = open_restored_volume(root, origin)
        self.folder = self.volume.folder
        self._pool = pool
        self._settings = settings
        self._reporter = reporter
        self._fresh = fresh
        self._rows: dict[str, dict[str, Any]] = {}
        self._start = time.perf_counter()
        self.outcome = RunResult()
        self._side_keys: set[str] = set()
        self._warnings: dict[int, list[str]] = {}

    def run(
        self,
        plans: Iterable[SlicePlan],
        failed: Mapping[int, str],
        old: Mapping[int, Mapping[str, Any]],
        reverted: Mapping[int, list[dict[str, Any]]] | None = None,
    ) -> RunResult:
        """Make the slices and everything that depends on them.

        Parameters
        ----------
        plans : iterable of SlicePlan
            What to do; slices without folds become as they were.
        failed : mapping of int to str
            Slices that cannot be restored, each with a sentence.
        old : mapping of int to dict
            Records of earlier runs.
        reverted : mapping of int to list of dict, optional
            Folds that were taken back, by slice.

        Raises
        ------
        Stop
            If the result cannot be written any more; a later run goes on.
        """
        self.folder.clear_scratch()
        todo = {plan.z: plan for plan in plans}
        self.outcome.failed.update(failed)
        patches = self._restore(todo)
        touched = self._write_finest(todo, patches, old)
        state = digest(sorted((z, keys) for z, keys in patches.items()))
        self._copy(touched)
        self._coarser(touched, state)
        self._coarser_labels(todo, patches, old, state)
        seconds = time.perf_counter() - self._start
        record_run(
            self.volume,
            todo,
            patches,
            reverted or {},
            self._rows,
            self.outcome,
            {"seconds": round(seconds, 1), "tasks_at_a_time": self._pool.size},
            self._warnings,
            old,
        )
        return self.outcome

    def copy_lost(self, keys: list[str]) -> None:
        """Try again to copy what could not be read from the source."""
        tasks = [CopyKeys(tuple(batch)) for batch in batches(keys)]
        if tasks and self.volume.source is not None and not self.volume.overlay:
            self._stage("copying", (0.0, 0.0), tasks, self._lose)

    def _stage(
        self,
        name: str,
        share: tuple[float, float],
        tasks: Iterable[T],
        done: Callable[[T, dict[str, Any]], None],
        count: int | None = None,
    ) -> None:
        part = self._reporter.part(*share)
        meter = Meter()
        total = max(count if count is not None else len(list(tasks)), 1)
        finished = 0

        def on_done(task: T, value: dict[str, Any]) -> None:
            nonlocal finished
            finished += 1
            meter.add(value.get("pixels", 0) or value.get("bytes", 0))
            done(task, value)
            for row in value.get("rows", []):
                self._rows[row["key"]] = row
            what = "MB" if name == "copying" else "Mpx"
            speed = str(meter).replace("Mpx", what)
            part(min(finished / total, 1.0), f"{name}: {finished} of {total}, {speed}")

        part(0.0, name)
        self._pool.run(str(self.volume.root), self.volume.origin.to_dict(), tasks, on_done)

    def _restore(self, todo: Mapping[int, SlicePlan]) -> dict[int, list[str]]:
        """Restore all blocks; return the keys of the patches of each slice that worked."""
        shape = self.volume.layout.finest.axes.shape[1:]
        patches: dict[int, list[str]] = {}
        tasks: list[RestoreBlock | FillBlock] = []
        fitted = self._fit(todo, shape)
        for z, plan in todo.items():
            if plan.makes and z not in self.outcome.failed:
                lines, drifts = fitted.get(z, (None, None))
                made = plan.tasks(shape, self._settings, lines, drifts)
                patches[z] = [task.key for task in made]
                tasks += made
                if plan.note:
                    self.outcome.notes.append(f"Slice {z}: {plan.note}")

        def done(task: RestoreBlock | FillBlock, value: dict[str, Any]) -> None:
            z = task.z
            if "failed" in value:
                self.outcome.failed.setdefault(z, value["failed"])
            else:
                self.outcome.megapixels += value["pixels"] / 1e6

        self._stage("restoring", (0.3 if fitted else 0.0, 0.6), tasks, done)
        for z, keys in patches.items():
            if z in self.outcome.failed:
                continue
            blocks = [load_record(self.volume, key) for key in keys]
            if all(one.get("empty") for one in blocks):
                self.outcome.failed[z] = _NOTHING
            warnings = [
                text
                for one in blocks
                for text in (*one.get("notes", ()), *(one.get("report") or {}).get("notes", ()))
            ]
            self.outcome.notes += [f"Slice {z}: {text}" for text in dict.fromkeys(warnings)]
        return {z: keys for z, keys in patches.items() if z not in self.outcome.failed}

    def _fit(
        self, todo: Mapping[int, SlicePlan], shape: tuple[int, int]
    ) -> dict[int, tuple[list[dict[str, Any]], dict[int, Any]]]:
        """Find what the folds did in large slices; return their lines, and drifts by block."""
        tasks = {z: plan.fits(shape, self._settings) for z, plan in todo.items()}

        def done(task: FitWindow, value: dict[str, Any]) -> None:
            if "failed" in value:
                self.outcome.failed.setdefault(task.z, value["failed"])

        everything = [task for made in tasks.values() for task in made]
        if everything:
            self._stage("fitting", (0.0, 0.3), everything, done)
        found = {}
        for z, made in tasks.items():
            if not made or z in self.outcome.failed:
                continue
            fits = [load_fit(self.volume, task.key) for task in made]
            self._warnings[z] = [text for one in fits for text in one.get("warnings", [])]
            self.outcome.notes += [f"Slice {z}: {text}" for text in self._warnings[z]]
            lines = join(list(todo[z].folds.values()), fits, shape)
            if not lines:
                self.outcome.failed[z] = _NOTHING
                continue
            drifts = {
                one["piece"]["number"]: {**one["drift"], "piece": one["piece"]}
                for one in fits
                if one.get("drift") is not None
            }
            found[z] = (lines, drifts)
        return found

    def _write_finest(
        self,
        todo: Mapping[int, SlicePlan],
        patches: dict[int, list[str]],
        old: Mapping[int, Mapping[str, Any]],
    ) -> set[ChunkIndex]:
        """Write the chunks that patches touch; patches of slices that fail here are dropped."""
        level = self.volume.layout.finest
        while True:
            chunks = affected_places(self.volume, todo, patches, old)
            tasks = [self._cell_task(level, place, todo, found) for place, found in chunks.items()]
            bad: dict[int, str] = {}

            def done(task: WriteChunk, value: dict[str, Any], bad: dict[int, str] = bad) -> None:
                if "failed" in value:
                    for z in task.patches:
                        bad.setdefault(z, value["failed"])

            self._stage("writing chunks", (0.6, 0.72), tasks, done)
            if not bad:
                break
            for z, reason in bad.items():
                patches.pop(z, None)
                self.outcome.failed[z] = reason
        masks = derived_tasks(self.volume, todo, patches, old)
        self._stage("writing masks", (0.72, 0.76), masks, self._lose)
        self._side_keys = derived_keys(self.volume, derived_blocks(self.volume, todo, patches, old))
        return set(chunks)

    def _cell_task(
        self,
        level: LayoutLevel,
        place: ChunkIndex,
        todo: Collection[int],
        found: Mapping[int, list[str]],
    ) -> WriteChunk:
        # A new result holds nothing that an earlier run made and that is not made again.
        held = level.slices_of(place)
        reset = list(held) if self._fresh else sorted(set(held) & set(todo))
        named = {str(z): sorted(keys) for z, keys in sorted(found.items())}
        key = digest([self.volume.plan["key"], "cell", list(place), named, reset])
        patches = {z: tuple(sorted(keys)) for z, keys in sorted(found.items())}
        return WriteChunk(key, place, patches, tuple(reset))

    def _lose(self, task: Task, value: dict[str, Any]) -> None:
        if "failed" in value:
            self.outcome.unmade[str(task)] = value["failed"]
        self.outcome.lost.update(value.get("lost", {}))

    def _copy(self, touched: set[ChunkIndex]) -> None:
        """Copy all that is not written by another task; an overlay copies nothing."""
        if self.volume.overlay or not self._fresh:
            return
        finest = self.volume.layout.finest
        if self.volume.origin.kind == "stack":
            everywhere = tuple(slice(0, n) for n in finest.chunks.shape)
            rest = (p for p in finest.chunks.touching(everywhere) if p not in touched)
            count = -(-math.prod(finest.chunks.grid) // 128)
            tasks: Iterable[Task] = (ImportChunks(tuple(batch)) for batch in batches(rest))
            self._stage("copying", (0.76, 0.9), tasks, self._lose, count)
            return
        own = set(self.volume.plan["documents"])
        places = touched
        for number, level in enumerate(self.volume.layout.levels):
            if number:
                places = above(level, self.volume.level(number - 1), places)
            own |= {level.chunks.key(place) for place in places}
        own |= self._side_keys
        keys = [key for key in keys_below(self.volume) if key not in own]
        tasks = [CopyKeys(tuple(batch)) for batch in batches(keys)]
        self._stage("copying", (0.76, 0.9), tasks, self._lose)

    def _coarser(self, touched: set[ChunkIndex], state: str) -> None:
        places = touched
        levels = self.volume.layout.levels
        imported = self._fresh and self.volume.imported
        for number in range(1, len(levels)):
            level = levels[number]
            places = above(level, levels[number - 1], places)
            if imported:
                everywhere = tuple(slice(0, n) for n in level.chunks.shape)
                places = set(level.chunks.touching(everywhere))
            tasks = [
                WriteCoarseChunk(
                    digest([self.volume.plan["key"], state, number, list(place)]), number, place
                )
                for place in sorted(places)
            ]
            lost: list[str] = []

            def done(
                task: WriteCoarseChunk,
                value: dict[str, Any],
                level: LayoutLevel = level,
                lost: list[str] = lost,
            ) -> None:
                if "failed" in value:
                    key = level.chunks.key(task.place)
                    self.outcome.unmade[key] = value["failed"]
                    lost.append(key)

            self._stage("coarser levels", (0.9, 0.96), tasks, done)
            if lost and self._fresh and self.volume.source is not None and not self.volume.overlay:
                # What cannot be made anew stays as it was.
                self._stage("copying", (0.96, 0.96), [CopyKeys(tuple(lost))], self._lose)

    def _coarser_labels(
        self,
        todo: Iterable[int],
        patches: Mapping[int, list[str]],
        old: Mapping[int, Mapping[str, Any]],
        state: str,
    ) -> None:
        places = label_places(self.volume, derived_blocks(self.volume, todo, patches, old))
        for number in range(1, len(self.volume.labels)):
            level = self.volume.labels[number]
            places = above(level, self.volume.labels[number - 1], places)
            tasks = [
                WriteCoarseLabel(
                    digest([self.volume.plan["key"], state, "label", number, list(place)]),
                    number,
                    place,
                )
                for place in sorted(places)
            ]
            self._stage("writing masks", (0.96, 0.99), tasks, self._lose)
