"""Results of restoring slices, in memory as long as needed and on disk once accepted."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.evaluation.without_truth import NeighbourScores
from sff_napari.sessions.records import Index, SliceRecord

Kept = Callable[[Index, str], NDArray[Any] | None]
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
        return "stale" if self.stale and self.record.state != "rejected" else self.record.state

    def with_record(self, **changes: Any) -> SliceResult:
        """Return a copy whose record has some fields changed."""
        return replace(self, record=self.record.with_changes(**changes))


class ResultStore:
    """All results of one stack, by slice.

    Parameters
    ----------
    kept : callable, optional
        Reads an array of an accepted slice from disk.
    budget : int
        Bytes of arrays, other than ``restored`` slices not yet on disk, that stay in memory.
    """

    def __init__(self, kept: Kept | None = None, budget: int = BUDGET) -> None:
        self.kept: Kept = kept or (lambda index, key: None)
        self.budget = budget
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
            array = self.kept(index, key)
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

    def _trim(self, newest: Index) -> None:
        """Let intermediate arrays of older slices go when they exceed the budget."""
        held = sum(_bytes(result, accepted_too=False) for result in self._results.values())
        for index in list(self._results):
            if held <= self.budget:
                return
            if index == newest:
                continue
            result = self._results[index]
            stays = () if result.record.folder else ("restored", "synthesised")
            lean = {key: array for key, array in result.arrays.items() if key in stays}
            self._results[index] = replace(result, arrays=lean)
            held -= _bytes(result, accepted_too=False) - _bytes(
                self._results[index], accepted_too=False
            )


def _bytes(result: SliceResult, *, accepted_too: bool) -> int:
    return sum(
        np.asarray(array).nbytes
        for key, array in result.arrays.items()
        if accepted_too or key != "restored" or result.record.folder
    )
