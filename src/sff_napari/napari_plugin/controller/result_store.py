"""Results of restoring slices, in memory until they are on disk."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.evaluation.local_agreement import LocalAgreement
from sff_napari.evaluation.without_truth import NeighbourScores
from sff_napari.sessions.records import FoldRecord, Index, SliceRecord
from sff_napari.sessions.sidecar import ARRAYS

Kept = Callable[[str, str], NDArray[Any] | None]
BUDGET = 2 * 1024**3
"""Bytes of intermediate results that are held in memory."""


@dataclass(frozen=True)
class SliceResult:
    """One restored slice.

    Parameters
    ----------
    record : SliceRecord
        State, lines, parameters, neighbours, scores and time.
    arrays : dict
        ``restored``, ``reference``, ``unfolded``, ``synthesised`` (Y, X) and ``flow``
        (2, Y, X); those that were let go are missing.
    scores : NeighbourScores, optional
        Scores that need no ground truth.
    lines : frozenset
        Geometry of the lines that were used, to see whether the result is stale.
    stale : bool
        Whether the lines have changed since.
    truth : tuple of float, optional
        PSNR in dB of the damaged and the restored slice, where the clean one is known.
    load : callable, optional
        Reads an array that is not in memory, for results that were made elsewhere.
    """

    record: SliceRecord
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    scores: NeighbourScores | None = None
    lines: frozenset[Any] = frozenset()
    stale: bool = False
    truth: tuple[float, float] | None = None
    load: Callable[[str], NDArray[Any] | None] | None = None

    @property
    def index(self) -> Index:
        """The slice."""
        return self.record.index

    @property
    def state(self) -> str:
        """What became of the slice: ``"restored"``, ``"stale"``, ``"accepted"``, ``"rejected"``."""
        old = self.stale or self.record.outdated
        return "stale" if old and self.record.state != "rejected" else self.record.state

    @property
    def has_lines(self) -> bool:
        """Whether it was made from lines, so that it can become stale."""
        return bool(self.lines) or self.record.folder is not None or bool(self.arrays)

    @property
    def local(self) -> LocalAgreement | None:
        """Agreement with the neighbours place by place, if it was found."""
        return LocalAgreement.from_dict(self.record.scores.get("local"))

    @property
    def notes(self) -> list[str]:
        """What the restoration has to say, such as that a neighbour was moved."""
        notes = dict(self.record.versions.get("report") or {}).get("notes") or []
        return [notes] if isinstance(notes, str) else [str(note) for note in notes]

    def with_record(self, **changes: Any) -> SliceResult:
        """Return a copy whose record has some fields changed."""
        return replace(self, record=self.record.with_changes(**changes))


def geometry_of(records: Iterable[FoldRecord]) -> frozenset[Any]:
    """Return what a restoration depends on, whatever the order of the lines."""
    return frozenset(record.geometry for record in records)


class ResultStore:
    """All results of one stack, by slice.

    Parameters
    ----------
    kept : callable, optional
        Reads an array from disk by the name of the slice's folder in the session.
    budget : int
        Bytes of arrays that stay in memory though they are on disk or can be made again.
    """

    def __init__(self, kept: Kept | None = None, budget: int = BUDGET) -> None:
        self.kept: Kept = kept or (lambda folder, key: None)
        self.budget = budget
        self.stored: set[str] = set()
        """Folders of results that are on disk."""
        self._results: dict[Index, SliceResult] = {}
        self._recent: OrderedDict[tuple[Index, str], NDArray[Any]] = OrderedDict()

    def __contains__(self, index: object) -> bool:
        return index in self._results

    def __len__(self) -> int:
        return len(self._results)

    def get(self, index: Index) -> SliceResult | None:
        """Return the result of a slice, or None."""
        return self._results.get(index)

    def all(self) -> list[SliceResult]:
        """Return all results in the order of their slices."""
        return [self._results[index] for index in sorted(self._results)]

    def put(self, result: SliceResult) -> None:
        """Store or replace a result."""
        self._results[result.index] = result
        for key in [key for key in self._recent if key[0] == result.index]:
            del self._recent[key]
        self._trim(result.index)

    def drop(self, index: Index) -> None:
        """Forget the result of a slice."""
        self._results.pop(index, None)
        for key in [key for key in self._recent if key[0] == index]:
            del self._recent[key]

    def array(self, index: Index, key: str) -> NDArray[Any] | None:
        """Return an array of a slice from memory or disk, or None."""
        result = self._results.get(index)
        if result is None:
            return None
        if key in result.arrays:
            return result.arrays[key]
        if (index, key) in self._recent:
            self._recent.move_to_end((index, key))
            return self._recent[index, key]
        if result.record.folder is not None:
            array = self.kept(result.record.folder, key)
        elif result.load is not None:
            array = result.load(key)
        else:
            return None
        if array is not None:
            self._recent[index, key] = array
            while len(self._recent) > 12:
                self._recent.popitem(last=False)
        return array

    def shown(self, index: Index) -> NDArray[Any] | None:
        """Return the restored slice if it is to be shown; a rejected one is not."""
        result = self._results.get(index)
        if result is None or result.state == "rejected":
            return None
        return self.array(index, "restored")

    def let_go(self, folder: str) -> None:
        """Take note that the arrays of a result are on disk, in the folder of this name."""
        self.stored.add(folder)
        self._trim(None)

    def _trim(self, newest: Index | None) -> None:
        """Let arrays of older slices go when they exceed the budget."""
        held = sum(self._spare(result) for result in self._results.values())
        for index in list(self._results):
            if held <= self.budget:
                return
            if index == newest:
                continue
            result = self._results[index]
            held -= self._spare(result)
            lean = {k: a for k, a in result.arrays.items() if k in self._needed(result)}
            self._results[index] = replace(result, arrays=lean)

    def _needed(self, result: SliceResult) -> tuple[str, ...]:
        """Return which arrays exist nowhere else."""
        return () if result.record.folder in self.stored else ARRAYS

    def _spare(self, result: SliceResult) -> int:
        """Return the bytes of arrays that can be let go."""
        needed = self._needed(result)
        return sum(np.asarray(a).nbytes for key, a in result.arrays.items() if key not in needed)
