"""Keep a person's work through crashes, in a folder beside the stack.

Layout: ``session.json`` and one folder for each restored slice, decided or
not.  A slice's folder is complete before ``session.json`` names it, both are
put in place by one rename, and what is no longer named is deleted last.  So a
kill at any moment leaves the state before or after a step, never something in
between.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from sff_napari.errors import StackError
from sff_napari.io_atomic import atomic_folder, explain, write_json
from sff_napari.sessions.records import FoldRecord, Index, SliceRecord

FORMAT = "sff-napari-session"
VERSION = 1
SUFFIX = ".sff-session"
ARRAYS = ("restored", "synthesised", "flow")
"""What is kept of a restored slice."""


@dataclass(frozen=True)
class Identity:
    """What tells one stack from another.

    Parameters
    ----------
    shape : tuple of int
        Shape of the whole stack.
    dtype : str
        Its data type.
    digest : str
        Hash of a thinned first slice.
    """

    shape: tuple[int, ...]
    dtype: str
    digest: str


def identify(shape: Iterable[int], dtype: Any, first_slice: NDArray[Any]) -> Identity:
    """Return the identity of a stack from its shape, dtype and first slice (Y, X)."""
    step = max(1, max(first_slice.shape) // 128)
    thinned = np.ascontiguousarray(first_slice[::step, ::step])
    digest = hashlib.sha256(thinned.tobytes()).hexdigest()[:32]
    return Identity(tuple(int(n) for n in shape), str(np.dtype(dtype)), digest)


def user_folder() -> Path:
    """Return the folder for sessions of stacks that have no place on disk of their own."""
    return Path(platformdirs.user_data_dir("sff-napari", appauthor=False)) / "sessions"


def session_places(
    name: str,
    identity: Identity,
    source: str | None = None,
    chosen: str | Path | None = None,
    purpose: str = "",
) -> list[Path]:
    """Return where the session of a stack may lie, the preferred place first.

    Parameters
    ----------
    name : str
        The stack's name.
    identity : Identity
        Keeps apart stacks of the same name in a shared folder.
    source : str, optional
        Path of the stack's file or folder.
    chosen : path, optional
        Folder the user wants sessions in.
    purpose : str
        What is done to the stack, where it is not the repair of folds: sessions of
        different purposes lie side by side.
    """
    suffix = f"-{purpose}{SUFFIX}" if purpose else SUFFIX
    clean = "".join(c if c.isalnum() or c in "-_." else "_" for c in name).strip("._") or "stack"
    shared = f"{clean}-{identity.digest[:8]}{suffix}"
    places: list[Path] = []
    if chosen:
        places.append(Path(chosen).expanduser() / shared)
    elif source and "://" not in source and Path(source).exists():
        path = Path(source).absolute()
        places.append(path.with_name(path.name + suffix))
    places.append(user_folder() / shared)
    return places


@dataclass
class Sidecar:
    """One session on disk.

    Parameters
    ----------
    path : Path
        The session's folder; made on the first save.
    identity : Identity
        The stack it belongs to.
    folds : list of FoldRecord
        All lines.
    slices : dict
        Records of slices that were restored, accepted or rejected.
    searched : set
        Slices in which folds were looked for.
    settings : dict
        State of the form.
    """

    path: Path
    identity: Identity
    folds: list[FoldRecord] = field(default_factory=list)
    slices: dict[Index, SliceRecord] = field(default_factory=dict)
    searched: set[Index] = field(default_factory=set)
    settings: dict[str, Any] = field(default_factory=dict)
    saved: str = ""

    @property
    def file(self) -> Path:
        """Path of ``session.json``."""
        return self.path / "session.json"

    def to_dict(self) -> dict[str, Any]:
        """Return the session as plain JSON types."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "stack": asdict(self.identity),
            "saved": datetime.now(UTC).isoformat(timespec="seconds"),
            "folds": [fold.to_dict() for fold in self.folds],
            "slices": [record.to_dict() for record in self.slices.values()],
            "searched": sorted(list(index) for index in self.searched),
            "settings": self.settings,
        }

    def save(self, keep: Collection[str] = ()) -> None:
        """Write ``session.json``, then delete slice folders that it no longer names.

        Parameters
        ----------
        keep : collection of str
            Further folders that stay, such as those an undo would need.

        Raises
        ------
        StackError
            If it cannot be written.
        """
        self._make_folder()
        write_json(self.file, self.to_dict())
        named = {record.folder for record in self.slices.values()} | set(keep)
        for folder in self.path.glob("slice-*"):
            if folder.name not in named:
                shutil.rmtree(folder, ignore_errors=True)

    def _make_folder(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StackError(f"The session folder {self.path} cannot be made: {error}.") from error

    def keep(self, record: SliceRecord, arrays: Mapping[str, NDArray[Any]]) -> SliceRecord:
        """Store a restored slice and save the session.

        Parameters
        ----------
        record : SliceRecord
            Its folder is chosen here if it names none.
        arrays : mapping
            ``restored`` (Y, X), ``synthesised`` (Y, X) in [0, 1] and ``flow`` (2, Y, X).

        Returns
        -------
        SliceRecord
            The record with its folder.

        Raises
        ------
        StackError
            If it cannot be written.
        """
        record = self.store(record, arrays)
        self.slices[record.index] = record
        self.save()
        return record

    def store(self, record: SliceRecord, arrays: Mapping[str, NDArray[Any]]) -> SliceRecord:
        """Write the folder of a restored slice, complete or not at all; see `keep`.

        ``session.json`` does not name it yet.

        Raises
        ------
        StackError
            If it cannot be written.
        """
        import tifffile

        self._make_folder()
        name = record.folder or folder_name(record.index)
        record = record.with_changes(folder=name)
        with atomic_folder(self.path / name) as folder:
            for key in ARRAYS:
                if key not in arrays:
                    continue
                array = _packed(key, np.asarray(arrays[key]))
                tifffile.imwrite(
                    folder / f"{key}.tif",
                    array,
                    compression="zlib",
                    compressionargs={"level": 1},
                    photometric="minisblack",
                )
            (folder / "record.json").write_text(json.dumps(record.to_dict(), indent=1))
        return record

    def holds(self, folder: str | None) -> bool:
        """Tell whether the folder of a restored slice is on disk."""
        return folder is not None and (self.path / folder / "record.json").exists()

    def read(self, index: Index, key: str) -> NDArray[Any] | None:
        """Return one array of a restored slice, or None if it was not kept.

        Raises
        ------
        StackError
            If the file is damaged.
        """
        record = self.slices.get(index)
        return None if record is None else self.read_folder(record.folder, key)

    def read_folder(self, folder: str | None, key: str) -> NDArray[Any] | None:
        """Return one array of a restored slice by the name of its folder; see `read`.

        Raises
        ------
        StackError
            If the file is damaged.
        """
        import tifffile

        if folder is None:
            return None
        path = self.path / folder / f"{key}.tif"
        if not path.exists():
            return None
        try:
            return _unpacked(key, tifffile.imread(path))
        except (OSError, ValueError, tifffile.TiffFileError) as error:
            raise StackError(f"The kept slice {path} cannot be read: {error}.") from error

    @classmethod
    def load(cls, path: str | Path) -> Sidecar:
        """Return the session stored in a folder.

        Raises
        ------
        StackError
            If there is none, or it is damaged or from a newer version.
        """
        path = Path(path)
        try:
            raw = json.loads((path / "session.json").read_text(encoding="utf-8"))
            if raw.get("format") != FORMAT:
                raise ValueError("it is not a session file")
            if int(raw.get("version", 0)) > VERSION:
                raise ValueError("it was written by a newer version: update sff-napari")
            stack = raw["stack"]
            identity = Identity(tuple(stack["shape"]), stack["dtype"], stack["digest"])
            slices = [SliceRecord.from_dict(record) for record in raw.get("slices", [])]
            return cls(
                path,
                identity,
                [FoldRecord.from_dict(record) for record in raw.get("folds", [])],
                {record.index: record for record in slices},
                {tuple(int(i) for i in index) for index in raw.get("searched", [])},
                dict(raw.get("settings", {})),
                str(raw.get("saved", "")),
            )
        except StackError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StackError(f"The saved session {path} cannot be read: {error}.") from error

    def copied_to(self, path: Path) -> Sidecar:
        """Return a copy of the session in another folder, saved; this one stays as it is.

        Files are never changed in place, so both can share them on the disk.

        Raises
        ------
        StackError
            If it cannot be written.
        """
        slices = dict(self.slices)
        for index, record in self.slices.items():
            if record.folder is None:
                continue
            try:
                path.mkdir(parents=True, exist_ok=True)
                shutil.copytree(
                    self.path / record.folder, path / record.folder, copy_function=_linked
                )
            except OSError as error:
                if (self.path / record.folder).exists():
                    raise explain(error, path) from error
                del slices[index]  # its owner has just let it go
        copy = Sidecar(
            path,
            self.identity,
            list(self.folds),
            slices,
            set(self.searched),
            dict(self.settings),
            self.saved,
        )
        copy.save()
        return copy

    def set_aside(self) -> Path | None:
        """Rename the session's folder so that a new one can start; nothing is deleted."""
        if not self.path.exists():
            return None
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        target = self.path.with_name(f"{self.path.name}.old-{stamp}-{uuid.uuid4().hex[:4]}")
        with suppress(OSError):
            self.path.rename(target)
            return target
        raise StackError(f"The old session {self.path} cannot be set aside: rename it by hand.")


def folder_name(index: Index) -> str:
    """Return a new name for the folder of a restored slice within its session."""
    return "slice-" + "-".join(f"{i:04d}" for i in index) + f"-{uuid.uuid4().hex[:6]}"


def _linked(source: str, target: str) -> None:
    """Give a file a second name, or copy it where that is not possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _packed(key: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return an array as it is stored: masks in 8 bits, flow in float32."""
    if key == "synthesised":
        return np.rint(np.clip(np.nan_to_num(array), 0, 1) * 255).astype(np.uint8)
    if key == "flow":
        return array.astype(np.float32)
    return array


def _unpacked(key: str, array: NDArray[Any]) -> NDArray[Any]:
    if key == "synthesised":
        return array.astype(np.float32) / np.float32(255)
    return array
