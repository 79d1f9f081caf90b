"""Draw clean triples of consecutive slices from any mix of stacks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from sff_napari.alignment.drift_fields import DriftField
from sff_napari.arrays import GreyScale
from sff_napari.errors import InputError
from sff_napari.folds.curve import grid_points
from sff_napari.restoration.interpolation.weighted import mutual_drift
from sff_napari.restoration.neighbours.neighbour import Neighbour
from sff_napari.simulation import neuropil
from sff_napari.stacks import open_stack
from sff_napari.training.settings import DataSpec, TrainingSettings
from sff_napari.warp import sample as read_at

_CACHE_BYTES = 1 << 30
"""Memory for slices that have been read, a stack; training comes back to them at random."""
_NEUROPIL_SIDE = 640
_MOVED = 24
"""Pixels around a crop that are read where neighbours are moved along their drift."""


class Slices(Protocol):
    """What a stack has to offer here."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X)."""
        ...

    def __getitem__(self, z: int) -> NDArray[Any]:
        """Return slice z, (Y, X)."""
        ...


class Source(Protocol):
    """Where crops of consecutive slices come from."""

    name: str
    centres: tuple[int, ...]
    shape: tuple[int, int]

    def crop(self, z: int, top: int, left: int, size: int) -> NDArray[np.float32]:
        """Return a square of a few images, (N, size, size), in [0, 1]."""
        ...

    def close(self) -> None:
        """Let go of open files."""
        ...


class TripleSource:
    """Triples (z - 1, z, z + 1) of one stack.

    Parameters
    ----------
    name : str
        What messages call the stack.
    reopen : callable
        Opens the stack; its slices are read when they are needed.
    centres : sequence of int
        The middle slices of the triples.
    """

    def __init__(self, name: str, reopen: Callable[[], Slices], centres: Sequence[int]) -> None:
        self.name = name
        self._reopen = reopen
        stack = reopen()
        self.centres = tuple(centres)
        self._stack: Slices | None = stack
        self._grey: GreyScale | None = None
        self._cache: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._drifts: dict[int, DriftField] = {}
        self.shape = (stack.shape[1], stack.shape[2])
        height, width = self.shape
        self._keep = max(3, _CACHE_BYTES // max(1, height * width))

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: open files do not travel."""
        return {**self.__dict__, "_stack": None, "_cache": OrderedDict()}

    def close(self) -> None:
        """Let go of the open file; it is opened again when it is needed."""
        self._stack = None

    def crop(self, z: int, top: int, left: int, size: int) -> NDArray[np.float32]:
        """Return a square of slices z - 1, z and z + 1, (3, size, size), in [0, 1]."""
        rows, columns = slice(top, top + size), slice(left, left + size)
        return np.stack([self._unit(k, rows, columns) for k in (z - 1, z, z + 1)])

    def moved_crop(self, z: int, top: int, left: int, size: int) -> NDArray[np.float32]:
        """Return the same with the neighbours moved half way along their mutual drift."""
        drift = self._drift(z)
        rows = slice(max(0, top - _MOVED), min(top + size + _MOVED, self.shape[0]))
        columns = slice(max(0, left - _MOVED), min(left + size + _MOVED, self.shape[1]))
        field = drift.on_grid((size, size), (float(top), float(left)))
        points = grid_points((size, size), (float(top - rows.start), float(left - columns.start)))
        images = []
        for number, share in ((z - 1, -0.5), (z, 0.0), (z + 1, 0.5)):
            image = self._unit(number, rows, columns)
            if share:
                y, x = points + share * field
                read = torch.from_numpy(image)[None, None]
                moved = read_at(read, y[None], x[None], "bicubic")[0, 0].clamp(0, 1)
                images.append(moved.numpy())
            else:
                down, right = top - rows.start, left - columns.start
                images.append(image[down : down + size, right : right + size])
        return np.stack(images)

    def _unit(self, z: int, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Return part of a slice in [0, 1]."""
        part = self._slice(z)[rows, columns]
        assert self._grey is not None
        return np.clip(np.nan_to_num(self._grey.to_unit(part), nan=0.0), 0, 1)

    def _drift(self, z: int) -> DriftField:
        """Return the mutual drift of the neighbours of a slice."""
        if z not in self._drifts:
            around = []
            for name, number in (("previous", z - 1), ("following", z + 1)):
                image = torch.from_numpy(self._unit(number, slice(None), slice(None)))
                around.append(Neighbour(name, image, torch.ones_like(image, dtype=torch.bool)))
            found = mutual_drift(around)
            assert found is not None
            self._drifts[z] = found
        return self._drifts[z]

    def _slice(self, z: int) -> NDArray[Any]:
        found = self._cache.pop(z, None)
        if found is None:
            if self._stack is None:
                self._stack = self._reopen()
            found = np.asarray(self._stack[z])
            if self._grey is None:
                # One scale for the whole stack, whichever slice is read first.
                middle = self.centres[len(self.centres) // 2]
                self._grey = GreyScale.of(found if z == middle else np.asarray(self._stack[middle]))
        self._cache[z] = found
        while len(self._cache) > self._keep:
            self._cache.popitem(last=False)
        return found


@dataclass(frozen=True)
class TripleSet:
    """Triples of several stacks, drawn with equal chance for equal area.

    Parameters
    ----------
    sources : sequence of TripleSource
        At least one triple in all.
    """

    sources: Sequence[Source]

    def draw(
        self, rng: np.random.Generator, size: int, least: int, moved: bool = False
    ) -> NDArray[np.float32]:
        """Return a random square of a random triple, (3, side, side), in [0, 1].

        Parameters
        ----------
        rng : Generator
            Source of randomness.
        size : int
            The side wanted; where a slice is smaller, its own side.
        least : int
            The smallest side that will do.
        moved : bool
            Whether the neighbours are to be moved half way along their mutual drift.
        """
        areas = np.array([len(s.centres) * s.shape[0] * s.shape[1] for s in self.sources], float)
        source = self.sources[int(rng.choice(len(areas), p=areas / areas.sum()))]
        side = min(size, *source.shape)
        if side < least:
            raise InputError(
                f"The slices of {source.name} are {source.shape[0]} x {source.shape[1]} pixels, "
                f"smaller than the crop of {least}: choose a smaller --crop."
            )
        z = source.centres[int(rng.integers(len(source.centres)))]
        top = int(rng.integers(source.shape[0] - side + 1))
        left = int(rng.integers(source.shape[1] - side + 1))
        if moved:
            assert isinstance(source, TripleSource)
            return source.moved_crop(z, top, left, side)
        return source.crop(z, top, left, side)

    def check(self, least: int) -> None:
        """Check that every slice holds a crop of side `least`.

        Raises
        ------
        InputError
            If one does not.
        """
        for source in self.sources:
            if min(source.shape) < least:
                raise InputError(
                    f"The slices of {source.name} are {source.shape[0]} x {source.shape[1]} "
                    f"pixels, smaller than the crop of {least}: choose a smaller --crop."
                )

    def close(self) -> None:
        """Let go of open files, which processes must not share."""
        for source in self.sources:
            source.close()

    @property
    def count(self) -> int:
        """Number of triples."""
        return sum(len(source.centres) for source in self.sources)


def open_sets(settings: TrainingSettings) -> tuple[TripleSet, TripleSet]:
    """Return the triples to train on and those to validate on.

    Raises
    ------
    InputError
        If a range lies outside its stack or too few slices are left.
    StackError
        If a stack cannot be read.
    """
    held_out = 0 if settings.validate else settings.val_slices
    train: list[TripleSource] = []
    validate: list[TripleSource] = []
    for spec in settings.data:
        reopen = partial(open_stack, spec.path)
        depth = len(reopen())
        numbers = slice_numbers(spec, depth)
        kept, last = numbers[: len(numbers) - held_out], numbers[len(numbers) - held_out :]
        train.append(TripleSource(str(spec), reopen, _inner(kept, spec)))
        if held_out:
            # The slice before a held-out one is only its neighbour, never its target.
            validate.append(TripleSource(str(spec), reopen, _outer(last, depth)))
    for spec in settings.validate:
        reopen = partial(open_stack, spec.path)
        depth = len(reopen())
        centres = _outer(slice_numbers(spec, depth), depth)
        validate.append(TripleSource(str(spec), reopen, centres))
    if settings.neuropil:
        made = partial(_Synthetic, settings.neuropil, settings.seed)
        train.append(TripleSource("neuropil", made, range(1, settings.neuropil - 1)))
        if not settings.data and not settings.validate:
            other = partial(_Synthetic, 5, settings.seed + 1)
            validate.append(TripleSource("neuropil", other, range(1, 4)))
    sets = TripleSet(train), TripleSet(validate)
    for found, what in zip(sets, ("train", "validate"), strict=True):
        if not found.count:
            raise InputError(
                f"There is nothing to {what} on: each needs three slices in a row; "
                "give more slices, or other --val-slices or --validate."
            )
    return sets


class _Synthetic:
    """A synthetic stack, made when it is first needed."""

    def __init__(self, depth: int, seed: int) -> None:
        self.shape = (depth, _NEUROPIL_SIDE, _NEUROPIL_SIDE)
        self._seed = seed
        self._made: NDArray[np.uint8] | None = None

    def __getitem__(self, z: int) -> NDArray[Any]:
        if self._made is None:
            self._made = neuropil(self.shape, seed=self._seed)
        return self._made[z]


def slice_numbers(spec: DataSpec, depth: int) -> list[int]:
    """Return the slice numbers of a record, in order.

    Raises
    ------
    InputError
        If one lies outside of a stack of `depth` slices.
    """
    if spec.slices is None:
        return list(range(depth))
    numbers = sorted({z for first, last in spec.slices for z in range(first, last + 1)})
    if numbers[-1] >= depth:
        raise InputError(
            f"{spec.path} has slices 0 to {depth - 1}, but slice {numbers[-1]} was asked for."
        )
    return numbers


def _inner(numbers: Iterable[int], spec: DataSpec) -> list[int]:
    """Return the slices whose two neighbours are also among `numbers`."""
    known = set(numbers)
    inner = sorted(z for z in known if z - 1 in known and z + 1 in known)
    if not inner:
        raise InputError(
            f"{spec} leaves no three slices in a row to train on: give more slices, "
            "or a smaller --val-slices."
        )
    return inner


def _outer(numbers: Iterable[int], depth: int) -> list[int]:
    """Return the slices that have two neighbours in the stack."""
    return [z for z in numbers if 0 < z < depth - 1]
