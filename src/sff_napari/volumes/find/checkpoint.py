"""Keep the record of a detection that is under way: every slice searched, line by line.

A line is on the disk before the next slice counts.  A kill at any moment costs
the slice that was being written, never one before it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sff_napari.errors import StackError
from sff_napari.folds import Fold
from sff_napari.io_atomic import explain
from sff_napari.stacks.folds_file import as_line, as_record, from_head, from_record, head, read_line

Searched = dict[int, tuple[Fold, ...]]
"""The folds of each slice that was searched; none is an empty tuple."""


def progress_path(out: Path) -> Path:
    """Return where the progress of a detection into `out` is kept."""
    return out.with_name(f"{out.name}.progress")


def same_stack(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Tell whether two stacks have the same name, shape and dtype; their pixels may differ."""
    plain = [{k: v for k, v in one.items() if k != "fingerprint"} for one in (first, second)]
    return plain[0] == plain[1]


@contextmanager
def progress_file(
    path: Path,
    stack: Mapping[str, Any],
    detection: Mapping[str, Any],
    unchanged: Callable[[Mapping[str, Any], Searched], Searched] | None = None,
) -> Iterator[tuple[Searched, Progress]]:
    """Open the progress of a detection, that of an earlier run if it was the same.

    Parameters
    ----------
    path : Path
        See `progress_path`.
    stack : mapping
        What `stack_identity` returns.
    detection : mapping
        The parameters of the search.
    unchanged : callable, optional
        ``unchanged(stack, searched)`` returns what still holds of what an
        earlier run found; it had the other ``stack``.

    Yields
    ------
    searched : dict
        What the earlier run found.
    progress : Progress
        Takes what this run finds.

    Raises
    ------
    StackError
        If the file cannot be read or written.
    """
    searched: Searched = {}
    end = 0
    try:
        if path.exists():
            with path.open("rb") as file:
                before, searched, end = _read(file, stack, detection)
            if unchanged is not None:
                found = len(searched)
                searched = unchanged(before, searched)
                if len(searched) < found:
                    end = 0
        with path.open("r+b" if end else "wb") as file:
            # What was half written when the earlier run ended is written again.
            file.truncate(end)
            file.seek(end)
            progress = Progress(file)
            if not end:
                progress.write([head(stack, detection)])
                for z, folds in searched.items():
                    progress.add(z, folds)
            yield searched, progress
    except OSError as error:
        raise explain(error, path) from error


class Progress:
    """Takes the folds of one slice after another.

    Parameters
    ----------
    file : binary file
        Open for writing, at its end.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def add(self, z: int, folds: Sequence[Fold]) -> None:
        """Write that slice `z` was searched and has these folds; it is on the disk then.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        self.write([*(as_record(z, fold) for fold in folds), {"searched": int(z)}])

    def write(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write records, a line each; they are on the disk then.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        self._file.write(b"".join(as_line(record) for record in records))
        self._file.flush()
        os.fsync(self._file.fileno())


def _read(
    file: IO[bytes], stack: Mapping[str, Any], detection: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Searched, int]:
    """Return the stack, what was found, and where the last complete slice ends.

    Nothing was found and the end is 0 if the file cannot be used.
    """
    searched: Searched = {}
    waiting: dict[int, list[Fold]] = {}
    end = 0
    before: dict[str, Any] = {}
    name = "the progress file"
    try:
        before, search = from_head(read_line(file, name), name)
        if search != dict(detection) or not same_stack(before, stack):
            return {}, {}, 0  # of another stack, or of another search
        end = file.tell()
        while (record := read_line(file, name)) is not None:
            if isinstance(record, dict) and "searched" in record:
                z = int(record["searched"])
                searched[z] = tuple(waiting.pop(z, ()))
                end = file.tell()
            else:
                z, fold = from_record(record, 0, name)
                waiting.setdefault(z, []).append(fold)
    except (StackError, TypeError, ValueError):
        pass  # a torn line: all before it counts
    return before, searched, end
