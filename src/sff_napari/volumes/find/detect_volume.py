"""Find the folds of a whole volume: slice by slice, in any number of workers, resumable."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from sff_napari.errors import InputError, SffError, StackError
from sff_napari.folds import Fold
from sff_napari.progress import CancelledCallback, ProgressCallback, Reporter
from sff_napari.stacks import (
    Stack,
    open_stack,
    parse_slices,
    read_folds,
    stack_identity,
    write_folds,
)
from sff_napari.stacks.fingerprint import changed_slices, fingerprint
from sff_napari.stacks.slice_numbers import slice_ranges
from sff_napari.volumes.find.checkpoint import (
    Progress,
    Searched,
    progress_file,
    progress_path,
    same_stack,
)
from sff_napari.volumes.find.search import Search, search_slices, slabs
from sff_napari.volumes.run.errors import sentence
from sff_napari.volumes.run.task import Pool, SearchSlices


@dataclass
class Detection:
    """What was found in a volume.

    Parameters
    ----------
    folds : mapping of int to tuple of Fold
        The folds of each slice that has some.
    searched : list of int
        The slices that were searched, now or by earlier runs.
    before : list of int
        Those of them that earlier runs had searched.
    empty : mapping of int to str
        Slices that cannot hold a fold, e.g. because they are NaN, and why.
    failed : mapping of int to str
        Slices that could not be searched, and why.
    absent : mapping of int to int
        How many parts of each slice are not stored, where some are not: they
        count as no data.
    about : mapping
        What a folds file keeps under ``detection``.
    identity : mapping
        What a folds file keeps under ``stack``.
    notes : list of str
        Why slices were searched again.
    """

    folds: dict[int, tuple[Fold, ...]] = field(default_factory=dict)
    searched: list[int] = field(default_factory=list)
    before: list[int] = field(default_factory=list)
    empty: dict[int, str] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    absent: dict[int, int] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def detect_volume(
    stack: Stack,
    slices: Sequence[int] | None = None,
    search: Search | None = None,
    *,
    out: Path | None = None,
    again: bool = False,
    pool: Pool | None = None,
    progress: ProgressCallback | None = None,
    cancelled: CancelledCallback | None = None,
) -> Detection:
    """Find the folds of a volume.

    With `out`, what was found in a slice is on the disk before the next one
    counts; a run that ended early is taken up where it was, and slices that
    `out` says were searched in the same way are not searched again, unless
    their pixels have changed since.

    Parameters
    ----------
    stack : Stack
        The volume.
    slices : sequence of int, optional
        Which to search; all where not given.
    search : Search, optional
        How.
    out : Path, optional
        Folds file to write; JSON Lines if its name ends in ``.jsonl``.
    again : bool
        Whether to search everything anew.
    pool : Pool, optional
        Searches the slices, in other processes perhaps; one after another in
        this one where not given.
    progress, cancelled : callable, optional
        See `sff_napari.progress`.

    Returns
    -------
    Detection
        Slices that could not be read are named in it; the others were searched.

    Raises
    ------
    StackError
        If `out` cannot be written.
    Cancelled
        If it was cancelled; a further run goes on from there.

    See Also
    --------
    sff_napari.volumes.restore_volume.restore_volume : Restores the slices.
    sff_napari.detect_folds : Finds the folds of one slice.

    Examples
    --------
    >>> from sff_napari.stacks import open_stack
    >>> from sff_napari.volumes.find.detect_volume import detect_volume
    >>> with open_stack("cells.zarr") as stack:
    ...     found = detect_volume(stack, slices=[1, 2])
    >>> found.searched, sorted(found.folds)
    ([1, 2], [2])
    """
    how = search or Search()
    chosen = sorted(set(range(len(stack)) if slices is None else slices))
    identity = stack_identity(stack)
    if out is not None:
        identity["fingerprint"] = fingerprint(stack)
    parameters = how.parameters(stack.shape)
    result = Detection(identity=identity)
    known: Searched = {}
    if out is not None and not again:
        known = _earlier(stack, out, identity, parameters, result.notes)
    with _kept(stack, out, identity, {"parameters": parameters}, again, result.notes) as (
        resumed,
        kept,
    ):
        known |= resumed
        # Also what other runs found on other slices: the file is one for the whole volume.
        _take(result, known)
        result.before = [z for z in chosen if z in known]
        left = [z for z in chosen if z not in known]
        report = Reporter(progress, cancelled)
        count = len(result.before)

        def done(task: SearchSlices, said: Mapping[str, Any]) -> None:
            nonlocal count
            for z in task.slices:
                count += 1
                about = said if "failed" in said else said["slices"][str(z)]
                if "failed" in about:
                    result.failed[z] = str(about["failed"])
                    continue
                folds = tuple(Fold.from_dict(record) for record in about["folds"])
                if about.get("absent"):
                    result.absent[z] = int(about["absent"])
                if "empty" in about:
                    result.empty[z] = str(about["empty"])
                if kept is not None:
                    kept.add(z, folds)
                _take(result, {z: folds})
            report(count / max(1, len(chosen)), f"{count} of {len(chosen)} slices")

        report(count / max(1, len(chosen)), "searching")
        with _shared(stack):
            tasks = (
                SearchSlices(tuple(part), stack.location, stack.select, how.to_dict())
                for part in slabs(stack, left)
            )
            if pool is not None:
                pool.run("", {}, tasks, done)
            else:
                for task in tasks:
                    done(task, search_task(task))
        result.searched.sort()
        result.about = {"parameters": parameters, "slices": slice_ranges(result.searched)}
        if out is not None:
            write_folds(out, result.folds, identity, result.about)
    if out is not None:
        progress_path(out).unlink(missing_ok=True)
    return result


def search_task(task: SearchSlices) -> dict[str, Any]:
    """Search slices that lie in the same chunks, wherever this runs.

    Parameters
    ----------
    task : SearchSlices
        What to do.

    Returns
    -------
    dict
        ``slices``: for each, by its number as text, ``folds``, plain JSON
        types, with ``empty`` and a sentence if it holds no image; or
        ``failed`` with a sentence.
    """
    slices = list(task.slices)
    search = Search.from_dict(task.search)
    if len(slices) > 1:
        try:
            stack = _opened(task.place, task.select)
            found = search_slices(stack, slices, search)
            return {"slices": {str(z): _searched(stack, z, found[z]) for z in slices}}
        except Exception:  # which of them it was is found out one by one
            pass
    return {"slices": {str(z): _search_one(task.place, task.select, z, search) for z in slices}}


def _search_one(
    place: str | None, select: Mapping[str, int], z: int, search: Search
) -> dict[str, Any]:
    try:
        stack = _opened(place, select)
        return _searched(stack, z, search_slices(stack, [z], search)[z])
    except InputError as error:
        return {"folds": [], "empty": str(error)}
    except MemoryError:
        return {"failed": f"Slice {z}: there was not enough memory."}
    except SffError as error:
        return {"failed": str(error)}
    except Exception as error:  # one bad slice must not end the run, whatever it raises
        return {"failed": f"Slice {z}: {sentence(error)}"}


def _searched(stack: Stack, z: int, folds: Sequence[Fold]) -> dict[str, Any]:
    return {"folds": _plain(folds), "absent": len(stack.absent_parts(z))}


def _plain(folds: Sequence[Fold]) -> list[dict[str, Any]]:
    return [fold.to_dict() for fold in folds]


def _take(result: Detection, found: Searched) -> None:
    for z, folds in found.items():
        result.searched.append(z)
        if folds:
            result.folds[z] = folds


def _earlier(
    stack: Stack,
    out: Path,
    identity: Mapping[str, Any],
    parameters: Mapping[str, Any],
    notes: list[str],
) -> Searched:
    """Return what the folds file `out` says was searched in the same way and is as it was."""
    if not out.expanduser().exists():
        return {}
    try:
        file = read_folds(out)
    except StackError:
        return {}  # not ours, or damaged: it is replaced
    if not same_stack(file.stack, identity) or file.detection.get("parameters") != parameters:
        return {}
    text = file.detection.get("slices")
    if not isinstance(text, str) or not text:
        return {}
    try:
        searched = parse_slices(text, int(identity["shape"][0]))
    except InputError:
        return {}
    return _unchanged(
        stack, file.stack, {z: tuple(file.folds.get(z, ())) for z in searched}, str(out), notes
    )


def _unchanged(
    stack: Stack, before: Mapping[str, Any], searched: Searched, name: str, notes: list[str]
) -> Searched:
    """Return the slices that still hold what they held when they were searched."""
    if not searched:
        return searched
    stored = before.get("fingerprint")
    changed = changed_slices(stack, stored)
    if changed is None:
        notes.append(
            f"{name} does not say which pixels were searched: its slices are searched again."
        )
        return {}
    if not changed:
        return searched
    looked = {int(z) for z in stored["slices"]} if stored is not None else set()
    # Of slices that were not looked at nothing is known once others have changed.
    left = {z: folds for z, folds in searched.items() if z in looked and z not in changed}
    count = len(searched) - len(left)
    if count:
        notes.append(
            f"{stack.name} has changed since {name} was written: "
            f"{count} slice{'s are' if count > 1 else ' is'} searched again."
        )
    return left


@contextmanager
def _kept(
    stack: Stack,
    out: Path | None,
    identity: Mapping[str, Any],
    detection: Mapping[str, Any],
    again: bool,
    notes: list[str],
) -> Iterator[tuple[Searched, Progress | None]]:
    if out is None:
        yield {}, None
        return
    path = progress_path(out)
    if again:
        path.unlink(missing_ok=True)

    def unchanged(before: Mapping[str, Any], searched: Searched) -> Searched:
        return _unchanged(stack, before, searched, str(path), notes)

    with progress_file(path, identity, detection, unchanged) as (searched, kept):
        yield searched, kept


_local = threading.Lock()
_open: dict[str | None, Stack] = {}


@contextmanager
def _shared(stack: Stack) -> Iterator[None]:
    """Let tasks that run in this process use the stack that is open already."""
    with _local:
        before = _open.get(stack.location)
        _open[stack.location] = stack
    try:
        yield
    finally:
        with _local:
            if before is None:
                _open.pop(stack.location, None)
            else:
                _open[stack.location] = before


def _opened(place: str | None, select: Mapping[str, int]) -> Stack:
    with _local:
        found = _open.get(place)
        if found is not None and found.select != dict(select):
            found = None
    if found is not None:
        return found
    if place is None:
        raise StackError("The stack lies in memory: it cannot be searched by other processes.")
    return _opened_here(place, tuple(sorted(select.items())))


@lru_cache(maxsize=2)
def _opened_here(place: str, select: tuple[tuple[str, int], ...]) -> Stack:
    return open_stack(place, dict(select))
