"""What runs in worker threads: arrays and plain values in, arrays and plain values out."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import Cancelled, FoldError, InputError, SffError
from sff_napari.evaluation.local_agreement import LocalAgreement, local_agreement
from sff_napari.evaluation.without_truth import NeighbourScores, score_without_truth
from sff_napari.napari_plugin.layers.line_darkness import LineCheck, check_line, shows_dark_line
from sff_napari.napari_plugin.layers.native_arrays import as_stored, dtype_of
from sff_napari.sessions.neighbours import Neighbours
from sff_napari.sessions.records import FoldRecord, Index

if TYPE_CHECKING:
    from sff_napari.folds import Fold
    from sff_napari.napari_plugin.workers.job import Channel
    from sff_napari.restoration import Restoration

P = ParamSpec("P")
R = TypeVar("R")
Read = Callable[[Index], NDArray[Any]]
_rehearsed: list[bool] = []
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """What this computer offers: names of the devices, and how the best one is called."""

    devices: tuple[str, ...]
    description: str
    methods: dict[str, tuple[str, ...]] = field(default_factory=dict)


def with_spare_core(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function leave one processor core to the viewer while PyTorch computes in it."""

    @wraps(function)
    def sparing(*args: P.args, **kwargs: P.kwargs) -> R:
        import torch

        count = torch.get_num_threads()
        torch.set_num_threads(max(1, min(count, (os.cpu_count() or 2) - 1)))
        try:
            return function(*args, **kwargs)
        finally:
            torch.set_num_threads(count)

    return sparing


def _load_library_of_torch() -> None:
    """Load PyTorch's library without Python's global lock, which its import would hold.

    The viewer would stand still for as long, some tenths of a second.
    """
    import ctypes
    from importlib.util import find_spec

    spec = None if "torch" in sys.modules else find_spec("torch")
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    for library in (Path(folder, "lib", "libtorch_cpu.so") for folder in folders):
        if library.exists():
            with suppress(OSError):  # the import itself says what is wrong
                ctypes.CDLL(str(library))


def warm_up(channel: Channel) -> Machine:
    """Import what the first job needs, so that it does not stall the viewer later."""
    channel.progress(0.0, "Loading PyTorch")
    _load_library_of_torch()
    from sff_napari.devices import available_devices, choose_device, describe_device

    names = tuple(available_devices())
    text = describe_device(choose_device("auto"))
    from sff_napari.restoration import FUSIONS, INTERPOLATIONS, UNFOLDINGS

    with_spare_core(_rehearse)(channel)
    methods = {"interpolation": INTERPOLATIONS, "unfolding": UNFOLDINGS, "fusion": FUSIONS}
    channel.progress(1.0, "Ready")
    return Machine(names, text, methods)


def _rehearse(channel: Channel) -> None:
    """Restore a few pixels once: what PyTorch loads at its first steps would stall the viewer."""
    if _rehearsed:
        return
    _rehearsed.append(True)
    from sff_napari import Fold, restore

    channel.progress(0.6, "Getting ready")
    noise = np.random.default_rng(0).integers(0, 255, (3, 128, 128)).astype(np.uint8)
    noise[1, :, 60:68] = 0
    fold = Fold([(0.0, 64.0), (127.0, 64.0)], 4.0, source="detected")
    try:
        restore(noise[0], noise[1], noise[2], fold, device="cpu", cancelled=channel.cancelled)
    except Cancelled:
        raise
    except Exception:  # nobody asked for this restoration: it must not trouble the person
        log.debug("The rehearsal failed.", exc_info=True)


@with_spare_core
def detect_slice(
    read: Read, index: Index, arguments: dict[str, Any], channel: Channel
) -> list[Fold]:
    """Return the folds found on one slice, best first."""
    from sff_napari import detect_folds

    channel.progress(0.02, "Reading the slice")
    image = read(index)
    channel.check()
    return detect_folds(image, progress=channel.progress, cancelled=channel.cancelled, **arguments)


@with_spare_core
def detect_slices(
    read: Read, indices: Sequence[Index], arguments: dict[str, Any], channel: Channel
) -> int:
    """Search slice after slice; each one's folds are delivered as ``(index, folds)``."""
    from sff_napari import detect_folds

    for done, index in enumerate(indices):
        channel.check()
        channel.progress(done / len(indices), f"Slice {done + 1} of {len(indices)}")
        try:
            folds = detect_folds(read(index), cancelled=channel.cancelled, **arguments)
        except InputError:
            folds = []  # an empty or constant slice holds no fold
        channel.deliver((index, folds))
    channel.progress(1.0, "Searched")
    return len(indices)


@with_spare_core
def snap_lines(
    read: Read, index: Index, records: Sequence[FoldRecord], channel: Channel
) -> list[FoldRecord]:
    """Return the records after their lines were moved onto the dark ridge."""
    from sff_napari.detection import snap_fold

    image = read(index)
    snapped = []
    for record in records:
        channel.check()
        fold = record.fold()
        try:
            fold = snap_fold(image, fold, reach=max(16.0, 2.5 * fold.widest))
        except FoldError as error:
            raise FoldError(
                "The line does not follow one dark line closely enough to be snapped: "
                "move it nearer and try again."
            ) from error
        moved = FoldRecord.of(fold, index, record.uid)
        snapped.append(
            moved.with_changes(source=record.source, score=record.score, state=record.state)
        )
    return snapped


def check_lines(
    read: Read, index: Index, records: Sequence[FoldRecord], channel: Channel
) -> dict[FoldRecord, LineCheck]:
    """Return what the picture shows along lines of one slice."""
    image = read(index)
    checks = {}
    for record in records:
        channel.check()
        try:
            checks[record] = check_line(image, record)
        except SffError:
            checks[record] = LineCheck(0.0, is_dark=False)
    return checks


@dataclass(frozen=True)
class RestoreRequest:
    """One slice to restore, and everything the worker needs for it."""

    read: Read
    """Reads a slice as the core takes it."""
    read_stored: Read
    """Reads it as it is stored."""
    index: Index
    records: tuple[FoldRecord, ...]
    neighbours: Neighbours
    pairs: tuple[tuple[Index, Index], ...]
    arguments: dict[str, Any]
    truth: NDArray[Any] | None = None


@dataclass(frozen=True)
class Restored:
    """What comes back: arrays, scores and how it was made."""

    request: RestoreRequest
    arrays: dict[str, NDArray[Any]]
    scores: NeighbourScores | None
    report: dict[str, Any]
    seconds: float
    truth: tuple[float, float] | None = None
    warning: str = ""
    local: LocalAgreement | None = None


@with_spare_core
def restore_slice(request: RestoreRequest, channel: Channel) -> Restored:
    """Restore one slice and score it."""
    from sff_napari import restore

    begun = time.perf_counter()
    channel.progress(0.01, "Reading slices")
    damaged = request.read(request.index)
    beside = {
        name: None if index is None else request.read(index)
        for name, index in (
            ("previous", request.neighbours.previous),
            ("following", request.neighbours.following),
        )
    }
    channel.check()
    neighbours = {name: image for name, image in beside.items() if image is not None}
    neighbours, notes = _aligned(request, damaged, neighbours)
    channel.check()
    folds = [record.fold() for record in request.records]

    def report_share(share: float, text: str = "") -> None:
        channel.progress(0.05 + 0.85 * share, text)

    result = restore(
        neighbours.get("previous"),
        damaged,
        neighbours.get("following"),
        folds,
        progress=report_share,
        cancelled=channel.cancelled,
        **request.arguments,
    )
    seconds = time.perf_counter() - begun
    channel.progress(0.92, "Comparing with the neighbours")
    channel.check()
    scores, local = _scored(request, damaged, list(neighbours.values()), result)
    arrays = {
        name: getattr(result, name)
        for name in ("restored", "reference", "unfolded", "flow", "synthesised", "confidence")
        if getattr(result, name) is not None
    }
    stored = request.read_stored(request.index)
    for name in ("restored", "reference"):
        if name in arrays:
            arrays[name] = as_stored(arrays[name], dtype_of(stored))
    if damaged.dtype.kind == "f" and np.isnan(damaged).any():
        # Pixels without data stay as they are stored.
        arrays["restored"] = np.where(np.isnan(damaged), stored, arrays["restored"])
    report = _plain({**result.report, "notes": [*notes, *result.report["notes"]]})
    channel.progress(1.0, "Done")
    truth = None
    if request.truth is not None:
        truth = psnr_of(stored, request.truth), psnr_of(arrays["restored"], request.truth)
    faint = sum(not shows_dark_line(damaged, record) for record in request.records)
    lines = "a line" if faint == 1 else f"{faint} lines"
    warning = f"The picture shows nothing dark along {lines} on this slice: is there a fold?"
    return Restored(
        request, arrays, scores, report, seconds, truth, warning if faint else "", local
    )


def _aligned(
    request: RestoreRequest, damaged: NDArray[Any], neighbours: dict[str, NDArray[Any]]
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return the neighbours, moved where they are not aligned, and what is to be said of that."""
    from sff_napari.arrays import as_slice, is_constant
    from sff_napari.restoration.neighbours.aligned import aligned_neighbours

    if is_constant(damaged) or any(is_constant(image) for image in neighbours.values()):
        return neighbours, []  # what is wrong with them is said when they are restored
    names = {
        "previous": f"Slice {_shown(request.neighbours.previous)}",
        "following": f"Slice {_shown(request.neighbours.following)}",
    }
    slices = {name: as_slice(image, f"{name} slice") for name, image in neighbours.items()}
    return aligned_neighbours(
        as_slice(damaged, "damaged slice"), slices, names, f"slice {_shown(request.index)}"
    )


def _shown(index: Index | None) -> str:
    return "" if index is None else ", ".join(map(str, index))


def _scored(
    request: RestoreRequest,
    damaged: NDArray[Any],
    neighbours: list[NDArray[Any]],
    result: Restoration,
) -> tuple[NeighbourScores, LocalAgreement]:
    """Return how well a restored slice agrees with its neighbours, as a whole and by places."""
    pairs = [(request.read(a), request.read(b)) for a, b in request.pairs]
    compared = damaged, result.restored, result.synthesised, result.flow
    return (
        score_without_truth(*compared, neighbours, pairs),
        local_agreement(*compared, neighbours, pairs),
    )


def psnr_of(image: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the peak signal-to-noise ratio in dB of a slice against the clean one."""
    from sff_napari.arrays import GreyScale
    from sff_napari.evaluation.metrics import psnr

    grey = GreyScale.of(truth)
    return float(psnr(grey.to_unit(image) * 255, grey.to_unit(truth) * 255))


def restore_slices(requests: Sequence[RestoreRequest], channel: Channel) -> int:
    """Restore slice after slice; each result is delivered as soon as it is there."""
    for done, request in enumerate(requests):
        channel.check()
        part = _Part(channel, done / len(requests), 1 / len(requests))
        channel.deliver(restore_slice(request, part))  # type: ignore[arg-type]
    return len(requests)


class _Part:
    """A share of a channel's progress."""

    def __init__(self, channel: Channel, start: float, span: float) -> None:
        self._channel, self._start, self._span = channel, start, span
        self.cancelled = channel.cancelled
        self.check = channel.check

    def progress(self, share: float, text: str = "") -> None:
        self._channel.progress(min(0.999, self._start + self._span * share), text)


def _plain(report: Any) -> dict[str, Any]:
    """Return a report as JSON types, dropping what is not one."""
    import dataclasses
    import json

    if dataclasses.is_dataclass(report) and not isinstance(report, type):
        report = dataclasses.asdict(report)
    if not isinstance(report, dict):
        return {} if report is None else {"report": str(report)}
    plain: dict[str, Any] = {}
    for key, value in report.items():
        try:
            plain[str(key)] = json.loads(json.dumps(value, default=str))
        except (TypeError, ValueError):
            plain[str(key)] = str(value)
    return plain
