"""Read and write which folds lie on which slices, as JSON or JSON Lines (docs/folds-file.md)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import sff_napari
from sff_napari.errors import FoldError, StackError
from sff_napari.folds import Fold
from sff_napari.io_atomic import atomic_file, explain, write_json
from sff_napari.stacks.fingerprint import changed_slices

FORMAT = "sff-napari-folds"
VERSION = 1
MAX_BYTES = 256 * 2**20
"""Larger than the folds of any stack: such a file is broken or hostile."""
MAX_LINES_BYTES = 4 * 2**30
MAX_LINE = 4 * 2**20
"""Longer than the record of any fold, in bytes."""
MAX_FOLDS = 1_000_000
LINES_SUFFIX = ".jsonl"
"""What the name of a JSON Lines file ends in: a head, then one record a line."""


@dataclass(frozen=True)
class FoldsFile:
    """The folds of a stack.

    Parameters
    ----------
    folds : mapping of int to tuple of Fold
        The folds of each slice that has some, by slice.
    stack : mapping, optional
        What stack they belong to: ``name``, ``shape`` (Z, Y, X), ``dtype``.
    detection : mapping, optional
        How they were found: ``parameters``, and ``slices`` that were searched,
        e.g. ``"0-99"``.
    """

    folds: Mapping[int, tuple[Fold, ...]]
    stack: Mapping[str, Any] = field(default_factory=dict)
    detection: Mapping[str, Any] = field(default_factory=dict)

    @property
    def slices(self) -> list[int]:
        """The slices that have folds, in order."""
        return sorted(self.folds)

    def __len__(self) -> int:
        return sum(len(folds) for folds in self.folds.values())

    def check(self, shape: tuple[int, int, int]) -> None:
        """Check that the folds can be used on a stack of this shape (Z, Y, X).

        Raises
        ------
        StackError
            If a slice does not exist in the stack or a fold lies outside of it;
            the sentence names the record.
        """
        named = self.stack.get("shape")
        if isinstance(named, list) and tuple(named) != tuple(shape):
            raise StackError(
                f"The folds were found on a stack of shape {tuple(named)}, "
                f"but this stack has {tuple(shape)}: give the stack that they belong to."
            )
        for z, folds in sorted(self.folds.items()):
            if z >= shape[0]:
                raise StackError(
                    f"The folds file names slice {z}, but the stack has {shape[0]} slices, "
                    f"numbered 0 to {shape[0] - 1}."
                )
            for number, fold in enumerate(folds):
                try:
                    fold.check_inside(shape[1:])
                except FoldError as error:
                    raise StackError(f"Fold {number} of slice {z}: {error}") from error


def other_pixels(file: FoldsFile, stack: Any) -> str:
    """Return a sentence if folds were found on other pixels than a stack holds; else nothing.

    Parameters
    ----------
    file : FoldsFile
        The folds; files of earlier versions do not say what they were found on.
    stack : Stack
        The stack that they are to be used on.
    """
    stored = file.stack.get("fingerprint")
    changed = None if stored is None else changed_slices(stack, stored, file.slices)
    if not changed:
        return ""
    return (
        f"The folds were found on other pixels than {stack.name} holds (slice {changed[0]}): "
        "detect them again unless the one was made from the other without moving anything."
    )


def stack_identity(stack: Any) -> dict[str, Any]:
    """Return how a folds file names a stack: name, shape (Z, Y, X) and dtype.

    See Also
    --------
    sff_napari.stacks.write_folds : Keeps it.

    Examples
    --------
    >>> from sff_napari.stacks import open_stack, stack_identity
    >>> stack_identity(open_stack("cells.zarr"))["shape"]
    [14, 320, 320]
    """
    path = getattr(stack, "path", None)
    return {
        "name": path.name if path is not None else getattr(stack, "name", "stack"),
        "shape": [int(n) for n in stack.shape],
        "dtype": str(stack.dtype),
    }


def write_folds(
    path: str | os.PathLike[str],
    folds: Mapping[int, Iterable[Fold]],
    stack: Mapping[str, Any] | None = None,
    detection: Mapping[str, Any] | None = None,
) -> None:
    """Write a folds file, atomically: JSON Lines if its name ends in ``.jsonl``, else JSON.

    Parameters
    ----------
    path : path-like
        The file; replaced if it exists.
    folds : mapping of int to iterable of Fold
        The folds of each slice.
    stack : mapping, optional
        What `stack_identity` returns for their stack.
    detection : mapping, optional
        See `FoldsFile`.

    Raises
    ------
    StackError
        If it cannot be written.

    See Also
    --------
    sff_napari.stacks.read_folds : Reads it.
    sff_napari.stacks.stack_identity : Names the stack.

    Examples
    --------
    >>> from sff_napari import Fold
    >>> from sff_napari.stacks import open_stack, read_folds, stack_identity, write_folds
    >>> with open_stack("cells.zarr") as stack:
    ...     write_folds("drawn.json", {2: [Fold([(0, 150), (319, 170)], 6)]}, stack_identity(stack))
    >>> read_folds("drawn.json").folds[2][0].half_width
    6.0
    """
    target = Path(path).expanduser()
    if target.suffix.lower() != LINES_SUFFIX:
        write_json(target, as_document(folds, stack, detection))
        return
    with atomic_file(target) as file:
        file.write(as_line(head(stack, detection)))
        for z in sorted(folds):
            for fold in folds[z]:
                file.write(as_line(as_record(z, fold)))


def as_document(
    folds: Mapping[int, Iterable[Fold]],
    stack: Mapping[str, Any] | None = None,
    detection: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the content of a folds file, plain JSON types; parameters as in `write_folds`."""
    records = [as_record(z, fold) for z in sorted(folds) for fold in folds[z]]
    return {**head(stack, detection), "folds": records}


def head(
    stack: Mapping[str, Any] | None = None, detection: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what stands before the records; parameters as in `write_folds`."""
    about = {
        "format": FORMAT,
        "version": VERSION,
        "written_by": f"sff-napari {sff_napari.__version__}",
        "stack": dict(stack or {}),
    }
    return {**about, "detection": dict(detection)} if detection else about


def as_record(z: int, fold: Fold) -> dict[str, Any]:
    """Return the record of a fold on slice `z`, plain JSON types."""
    return {"slice": int(z), **fold.to_dict()}


def as_line(record: Mapping[str, Any]) -> bytes:
    """Return a record as one line of a JSON Lines file."""
    return json.dumps(record, allow_nan=False).encode("utf-8") + b"\n"


def read_folds(path: str | os.PathLike[str]) -> FoldsFile:
    """Read a folds file.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    FoldsFile
        Every record checked.

    Raises
    ------
    StackError
        If there is no such file, or it is none of this format, from a newer
        version, or a record cannot be used; the sentence names the record.

    See Also
    --------
    sff_napari.stacks.write_folds : Writes one.

    Examples
    --------
    >>> from sff_napari.stacks import read_folds
    >>> file = read_folds("folds.json")
    >>> sorted(file.folds)
    [2, 7, 12]
    """
    place = Path(path).expanduser()
    lines = place.suffix.lower() == LINES_SUFFIX
    most = MAX_LINES_BYTES if lines else MAX_BYTES
    try:
        if place.stat().st_size > most:
            raise StackError(f"{place} has more than {most >> 20} MiB: it is no folds file.")
        if lines:
            with place.open("rb") as file:
                return _from_lines(file, str(place))
        document = json.loads(place.read_text(encoding="utf-8"))
    except StackError:
        raise
    except OSError as error:
        if not place.exists():
            raise StackError(f"There is no folds file at {place}: check the path.") from error
        raise explain(error, place, "read") from error
    except (ValueError, RecursionError) as error:
        raise StackError(f"{place} is not a folds file: it is not JSON ({error}).") from error
    return from_document(document, str(place))


def _from_lines(file: IO[bytes], name: str) -> FoldsFile:
    """Return the folds in a JSON Lines file: its head, then one record a line."""
    first = read_line(file, name)
    stack, detection = from_head({} if first is None else first, name)
    found: dict[int, list[Fold]] = {}
    for number in range(MAX_FOLDS + 1):
        record = read_line(file, name)
        if record is None:
            return FoldsFile({z: tuple(folds) for z, folds in found.items()}, stack, detection)
        z, fold = from_record(record, number, name)
        found.setdefault(z, []).append(fold)
    raise StackError(f"{name} has more than {MAX_FOLDS} folds: it is no folds file.")


def read_line(file: IO[bytes], name: str) -> Any:
    """Return what the next line of a JSON Lines file holds, None at its end.

    Raises
    ------
    StackError
        If the line is too long or not JSON.
    """
    line = file.readline(MAX_LINE + 1)
    if not line:
        return None
    if len(line) > MAX_LINE:
        raise StackError(
            f"{name} has a line of more than {MAX_LINE >> 20} MiB: it is no folds file."
        )
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise StackError(f"{name} is not a folds file: a line is not JSON ({error}).") from error


def from_document(document: Any, name: str = "the folds file") -> FoldsFile:
    """Return the folds in the content of a folds file.

    Parameters
    ----------
    document : any
        Parsed JSON.
    name : str
        What error messages call the file.

    Raises
    ------
    StackError
        As `read_folds`.
    """
    stack, detection = from_head(document, name)
    records = document.get("folds")
    if not isinstance(records, list):
        raise StackError(f'{name} has no list of "folds".')
    if len(records) > MAX_FOLDS:
        raise StackError(f"{name} has {len(records)} folds; at most {MAX_FOLDS} are allowed.")
    found: dict[int, list[Fold]] = {}
    for number, record in enumerate(records):
        z, fold = from_record(record, number, name)
        found.setdefault(z, []).append(fold)
    return FoldsFile({z: tuple(folds) for z, folds in found.items()}, stack, detection)


def from_head(document: Any, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a folds file says of its stack and of how the folds were found.

    Parameters
    ----------
    document : any
        Parsed JSON: the whole file, or the first of its lines.
    name : str
        What error messages call the file.

    Raises
    ------
    StackError
        If it is none of this format or from a newer version.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise StackError(f'{name} is not a folds file: it lacks "format": "{FORMAT}".')
    version = document.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise StackError(f"{name} has no usable version: {version!r}.")
    if version > VERSION:
        raise StackError(
            f"{name} has version {version}, but this program knows {VERSION}: update sff-napari."
        )
    found = []
    for key in ("stack", "detection"):
        part = document.get(key) or {}
        if not isinstance(part, dict):
            raise StackError(f'{name} has a "{key}" that is not an object.')
        found.append(part)
    return found[0], found[1]


def from_record(record: Any, number: int, name: str) -> tuple[int, Fold]:
    """Return the slice and the fold of a record.

    Parameters
    ----------
    record : any
        Parsed JSON.
    number : int
        Of the record in its file, for error messages.
    name : str
        What error messages call the file.

    Raises
    ------
    StackError
        If it cannot be used.
    """
    where = f"Record {number} of {name}"
    if not isinstance(record, dict):
        raise StackError(f"{where} is not an object.")
    z = record.get("slice")
    if not isinstance(z, int) or isinstance(z, bool) or z < 0:
        raise StackError(f"{where} has the slice {z!r}: it must be a whole number from 0.")
    try:
        return z, Fold.from_dict(record)
    except FoldError as error:
        raise StackError(f"{where} (slice {z}): {error}") from error
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise StackError(f"{where} (slice {z}) cannot be used: {error}.") from error
