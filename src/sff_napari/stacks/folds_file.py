"""The folds file: which folds lie on which slices, as JSON (docs/folds-file.md)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sff_napari
from sff_napari.errors import FoldError, StackError
from sff_napari.folds import Fold
from sff_napari.io_atomic import explain, write_json

FORMAT = "sff-napari-folds"
VERSION = 1
MAX_BYTES = 256 * 2**20
"""Larger than the folds of any stack: such a file is broken or hostile."""
MAX_FOLDS = 1_000_000


@dataclass(frozen=True)
class FoldsFile:
    """The folds of a stack.

    Parameters
    ----------
    folds : mapping of int to tuple of Fold
        The folds of each slice that has some, by slice.
    stack : mapping, optional
        What stack they belong to: ``name``, ``shape`` (Z, Y, X), ``dtype``.
    """

    folds: Mapping[int, tuple[Fold, ...]]
    stack: Mapping[str, Any] = field(default_factory=dict)

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


def stack_identity(stack: Any) -> dict[str, Any]:
    """Return how a folds file names a stack: name, shape (Z, Y, X) and dtype."""
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
) -> None:
    """Write a folds file, atomically.

    Parameters
    ----------
    path : path-like
        The file; replaced if it exists.
    folds : mapping of int to iterable of Fold
        The folds of each slice.
    stack : mapping, optional
        What `stack_identity` returns for their stack.

    Raises
    ------
    StackError
        If it cannot be written.
    """
    write_json(Path(path).expanduser(), as_document(folds, stack))


def as_document(
    folds: Mapping[int, Iterable[Fold]], stack: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the content of a folds file, plain JSON types; parameters as in `write_folds`."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "written_by": f"sff-napari {sff_napari.__version__}",
        "stack": dict(stack or {}),
        "folds": [{"slice": int(z), **fold.to_dict()} for z in sorted(folds) for fold in folds[z]],
    }


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
    """
    place = Path(path).expanduser()
    try:
        if place.stat().st_size > MAX_BYTES:
            raise StackError(f"{place} has more than {MAX_BYTES >> 20} MiB: it is no folds file.")
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
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise StackError(f'{name} is not a folds file: it lacks "format": "{FORMAT}".')
    version = document.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise StackError(f"{name} has no usable version: {version!r}.")
    if version > VERSION:
        raise StackError(
            f"{name} has version {version}, but this program knows {VERSION}: update sff-napari."
        )
    records = document.get("folds")
    if not isinstance(records, list):
        raise StackError(f'{name} has no list of "folds".')
    if len(records) > MAX_FOLDS:
        raise StackError(f"{name} has {len(records)} folds; at most {MAX_FOLDS} are allowed.")
    stack = document.get("stack") or {}
    if not isinstance(stack, dict):
        raise StackError(f'{name} has a "stack" that is not an object.')
    found: dict[int, list[Fold]] = {}
    for number, record in enumerate(records):
        z, fold = _fold_of(record, number, name)
        found.setdefault(z, []).append(fold)
    return FoldsFile({z: tuple(folds) for z, folds in found.items()}, stack)


def _fold_of(record: Any, number: int, name: str) -> tuple[int, Fold]:
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
