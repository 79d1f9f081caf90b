"""Slices that can only be read whole are decoded once for all their parts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sff_napari.stacks import Stack, planes
from sff_napari.stacks.description import Readers, StackInfo
from sff_napari.stacks.planes import Planes

VOLUME = np.random.default_rng(3).integers(0, 255, (4, 30, 40), dtype=np.uint8)


def counted(read: list[int]) -> Stack:
    """Return a stack that notes which slices are read and cannot read parts."""

    def plane(z: int) -> np.ndarray:
        read.append(z)
        return VOLUME[z]

    return Stack(Readers(plane), StackInfo(VOLUME.shape, VOLUME.dtype, kind="test", name="test"))


def test_parts_of_a_slice_decode_it_once() -> None:
    read: list[int] = []
    slices = Planes(counted(read))
    places = [(z, slice(y, y + 10), slice(5, 15)) for z in (1, 2) for y in (0, 20) for x in (5,)]
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda place: slices.read(*place), places))
    for part, place in zip(parts, places, strict=True):
        assert np.array_equal(part, VOLUME[place])
    assert sorted(read) == [1, 2]
    # What is handed out is the caller's own.
    parts[0][:] = 0
    assert np.array_equal(slices.read(*places[0]), VOLUME[places[0]])


def test_no_more_than_a_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planes, "KEPT", 2 * VOLUME[0].nbytes)
    read: list[int] = []
    slices = Planes(counted(read))
    everything = slice(None), slice(None)
    for z in (0, 1, 0, 2, 0, 1):
        assert np.array_equal(slices.read(z, *everything), VOLUME[z])
    assert read == [0, 1, 2, 1]
    monkeypatch.setattr(planes, "KEPT", 0)
    assert np.array_equal(slices.read(3, *everything), VOLUME[3])
