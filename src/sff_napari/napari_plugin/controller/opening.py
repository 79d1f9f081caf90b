"""Open fold lines and restored volumes that were made outside the viewer, for review."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from qtpy.QtWidgets import QFileDialog

from sff_napari.errors import InputError
from sff_napari.napari_plugin import compat
from sff_napari.napari_plugin.controller.result_store import SliceResult
from sff_napari.sessions import FoldRecord, Index, SliceRecord

if TYPE_CHECKING:
    from sff_napari.folds import Fold
    from sff_napari.napari_plugin.controller.controller import Controller
    from sff_napari.napari_plugin.workers.job import Channel


@dataclass(frozen=True)
class Opened:
    """What was read.

    Parameters
    ----------
    folds : dict
        The fold lines by slice number.
    restored : dict
        For each restored slice how it was made, plain JSON types.
    read : callable, optional
        ``read(z, key)`` returns ``"restored"``, ``"synthesised"`` (Y, X) or ``"flow"``
        (2, Y, X) of a restored slice, or None.
    """

    folds: dict[int, list[Fold]]
    restored: dict[int, dict[str, Any]]
    read: Callable[[int, str], NDArray[Any] | None] | None = None


def read_lines(path: Path, shape: tuple[int, int, int]) -> Opened:
    """Return the lines of a folds file that belongs to a stack of this shape (Z, Y, X).

    Raises
    ------
    StackError
        If it cannot be read or belongs to another stack.
    """
    from sff_napari.stacks.folds_file import read_folds

    file = read_folds(path)
    file.check(shape)
    return Opened({int(z): list(file.folds[z]) for z in file.slices}, {})


def read_result(path: Path, shape: tuple[int, int, int]) -> Opened:
    """Return lines and restored slices of a volume that `sff-napari restore` wrote.

    Raises
    ------
    StackError
        If it cannot be read.
    InputError
        If it is no such volume, or one of another shape.
    """
    import numpy as np
    import zarr

    from sff_napari.folds import Fold
    from sff_napari.stacks import open_stack
    from sff_napari.volumes.run.folder import Folder
    from sff_napari.volumes.verify.records import read_slices

    slices = read_slices(Folder(path))
    if not slices:
        raise InputError(f"{path} holds no record of a restored volume: choose another folder.")
    stack = open_stack(path)
    if tuple(stack.shape) != shape:
        raise InputError(
            f"{path} has the shape {tuple(stack.shape)} but this stack {shape}: "
            "open the stack that it was made from."
        )
    folds = {z: [Fold.from_dict(one) for one in record["folds"]] for z, record in slices.items()}
    made = {z: r for z, r in slices.items() if r["status"] in ("restored", "interpolated")}
    names = {"flow": "displacement", "synthesised": "labels/synthesised/0"}

    def read(z: int, key: str) -> NDArray[Any] | None:
        if key == "restored":
            return stack[z]
        if key not in names or not (path / names[key]).is_dir():
            return None
        array: Any = zarr.open_array(path / names[key], mode="r")
        return np.asarray(array[z], dtype=np.float32)

    return Opened(folds, made, read)


def open_path(
    controller: Controller, path: Path, read: Callable[[Path, tuple[int, int, int]], Opened]
) -> None:
    """Read in a worker; lines and results then join the review list."""
    source = controller.source
    if source is None or not controller.ready():
        return
    if source.ndim < 3:
        controller.fail("A single image has no slices to review: open a stack.")
        return
    places = source.every_index(controller.index)
    shape = (source.count, *source.plane)

    def work(channel: Channel) -> Opened:
        channel.progress(0.1, "Reading fold lines")
        return read(path, shape)

    def done(opened: Opened) -> None:
        added = take(controller, opened, places, path)
        controller.status.emit(
            f"Opened {added} fold line{'s' * (added != 1)} and {len(opened.restored)} restored "
            f"slice{'s' * (len(opened.restored) != 1)} from {path.name}."
        )

    controller._run(work).returned.connect(done)


def take(controller: Controller, opened: Opened, places: list[Index], path: Path) -> int:
    """Put what was read into the session; what a person has decided stays.

    Returns
    -------
    int
        How many lines are new.
    """
    lines = controller.lines
    if lines is None or controller.layers is None:
        return 0
    there = {(r.index, r.vertices) for r in lines.records.values()}
    new = [
        record
        for z, folds in opened.folds.items()
        for record in (FoldRecord.of(fold, places[z]) for fold in folds)
        if (record.index, record.vertices) not in there
    ]
    lines.put(new, "opening fold lines")
    results: dict[Index, SliceResult | None] = {}
    for z, how in opened.restored.items():
        index = places[z]
        if index in controller.store or opened.read is None:
            continue
        used = lines.used_on(index)
        record = SliceRecord(
            index,
            "restored",
            lines=[r.to_dict() for r in used],
            versions={"result": str(path), "status": str(how["status"])},
        )
        geometry = frozenset(r.geometry for r in used)
        results[index] = SliceResult(record, lines=geometry, load=partial(opened.read, z))
    controller.change_results(results, "opening a result")
    controller.lines_changed.emit()
    return len(new)


def ask_for_lines(controller: Controller) -> None:
    """Ask for a folds file and open it."""
    window = compat.qt_window(controller.viewer)
    name, _ = QFileDialog.getOpenFileName(
        window, "Open fold lines", str(Path.home()), "Fold lines (*.json *.jsonl)"
    )
    if name:
        open_path(controller, Path(name), read_lines)


def ask_for_result(controller: Controller) -> None:
    """Ask for the folder of a restored volume and open it."""
    window = compat.qt_window(controller.viewer)
    name = QFileDialog.getExistingDirectory(window, "Open a restored volume", str(Path.home()))
    if name:
        open_path(controller, Path(name), read_result)
