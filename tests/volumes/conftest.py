"""Small damaged volumes on disk, and runs over them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

import sff_napari
from sff_napari.folds import Fold
from sff_napari.restoration import Restoration
from sff_napari.simulation import neuropil, simulate_fold
from sff_napari.stacks import open_stack
from sff_napari.stacks.ome import halved
from sff_napari.volumes.plan.request import VolumeRequest
from sff_napari.volumes.plan.settings import VolumeSettings
from sff_napari.volumes.restore_volume import Summary, restore_volume
from sff_napari.volumes.run.executors import Threads

QUICK = VolumeSettings(interpolation="mean", unfolding="none", fusion="stitch")
"""Methods that take no time, where how well a slice is restored does not matter."""
SURE = VolumeSettings(interpolation="mean", unfolding="law", fusion="stitch")
"""The same with a confidence, where `sure_but_quick` stands in for the fit."""
SIZE = (5, 160, 192)

Folds = dict[int, list[Fold]]


def damaged_volume(shape: tuple[int, int, int] = SIZE) -> tuple[NDArray[np.uint8], Folds]:
    """Return a volume (Z, Y, X) with a fold on slice 1 and two on slice 3."""
    volume = neuropil(shape, seed=5)
    height, width = shape[1:]
    folds = {
        1: [Fold([(0, width * 0.3), (height - 1, width * 0.4)], 3, source="simulated")],
        3: [
            Fold([(height * 0.2, 0), (height * 0.25, width - 1)], 3, source="simulated"),
            Fold([(height * 0.8, 0), (height * 0.75, width - 1)], 4, source="simulated"),
        ],
    }
    for z, lines in folds.items():
        for fold in lines:
            volume[z] = simulate_fold(volume[z], fold, hidden_half_width=8, decay=0.05).damaged
    return volume, folds


def write_ome(
    path: Path,
    volume: NDArray[Any],
    *,
    zarr_format: int = 3,
    chunks: tuple[int, ...] = (1, 64, 64),
    levels: int = 3,
    **options: Any,
) -> Path:
    """Write an OME-Zarr with axes z, y, x; its levels are means."""
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    datasets = []
    planes = list(volume)
    for level in range(levels):
        array = group.create_array(
            f"s{level}",
            shape=(len(planes), *planes[0].shape),
            dtype=volume.dtype,
            chunks=chunks,
            attributes={"level": level},
            **options,
        )
        array[:] = np.stack(planes)
        scale = [40.0, 4.0 * 2**level, 4.0 * 2**level]
        datasets.append(
            {
                "path": f"s{level}",
                "coordinateTransformations": [{"type": "scale", "scale": scale}],
            }
        )
        planes = [halved(plane) for plane in planes]
    axes = [{"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"]
    image = {"name": "cells", "axes": axes, "datasets": datasets}
    if zarr_format == 2:
        group.attrs["multiscales"] = [{"version": "0.4", **image}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    group.attrs["kept"] = {"by": "another program"}
    return path


def run(source: Path, folds: Folds, out: Path, **options: Any) -> Summary:
    """Restore a volume with one thread and quick methods."""
    options.setdefault("settings", QUICK)
    how = {name: options.pop(name, None) for name in ("pool", "progress", "cancelled")}
    with open_stack(source) as stack:
        request = VolumeRequest(source, stack, folds, out, **options)
        return restore_volume(request, **{**how, "pool": how["pool"] or Threads(1)})


def tree(root: Path, *, without: tuple[str, ...] = ("sff_napari/run.json",)) -> dict[str, bytes]:
    """Return every file below a folder; the time of the run is left out."""
    files = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    return {name: data for name, data in sorted(files.items()) if name not in without}


def sure_but_quick(*slices: Any, **options: Any) -> Restoration:
    """Restore without a fit, and say of made-up pixels that they are half sure."""
    made = sff_napari.restore(*slices, **{**options, "unfolding": "none"})
    sure = (1 - 0.5 * (made.synthesised > 0)).astype(np.float16)
    return replace(made, confidence=sure)


@pytest.fixture
def sure(monkeypatch: pytest.MonkeyPatch) -> VolumeSettings:
    """Return settings of runs that store a confidence and take no time."""
    from sff_napari.volumes.restore import block

    monkeypatch.setattr(block, "restore", sure_but_quick)
    return SURE


@pytest.fixture(scope="session")
def damaged() -> tuple[NDArray[np.uint8], Folds]:
    """Return a volume and its folds."""
    return damaged_volume()


@pytest.fixture
def source(tmp_path: Path, damaged: tuple[NDArray[np.uint8], Folds]) -> Path:
    """Return an OME-Zarr 0.5 with three levels and chunks two slices deep."""
    return write_ome(tmp_path / "in.zarr", damaged[0], chunks=(2, 64, 64))


@pytest.fixture
def folds(damaged: tuple[NDArray[np.uint8], Folds]) -> Folds:
    """Return the folds of the volume."""
    return damaged[1]


Runner = Callable[..., Summary]
