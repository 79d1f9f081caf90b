"""Small stacks and quick settings for the training's tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from sff_napari.simulation import neuropil
from sff_napari.training import DataSpec, TrainingSettings


@pytest.fixture(scope="session")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a TIFF of 8 and a zarr of 6 slices of synthetic neuropil."""
    folder = tmp_path_factory.mktemp("stacks")
    tifffile.imwrite(folder / "a.tif", neuropil((8, 120, 130), seed=1))
    array = zarr.create_array(
        folder / "b.zarr", shape=(6, 110, 100), chunks=(1, 64, 64), dtype="u1"
    )
    array[:] = neuropil((6, 110, 100), seed=2)
    return folder


@pytest.fixture(scope="session")
def quick(stacks: Path) -> dict[str, Any]:
    """Return keywords for settings that train in a second."""
    return {
        "data": (DataSpec(str(stacks / "a.tif"), ((0, 4),)), DataSpec(str(stacks / "b.zarr"))),
        "validate": (DataSpec(str(stacks / "a.tif"), ((6, 7),)),),
        "width": 0.05,
        "iterations": 4,
        "batch": 2,
        "crop": 64,
        "margin": 36,
        "validate_every": 2,
        "save_every": 1,
        "val_samples": 3,
        "threads": 1,
        "device": "cpu",
    }


@pytest.fixture
def settings(quick: dict[str, Any]) -> TrainingSettings:
    """Return settings that train in a second."""
    return TrainingSettings(**quick)


@pytest.fixture(scope="session")
def textured() -> np.ndarray:
    """Return one slice of synthetic neuropil."""
    return neuropil((3, 160, 160), seed=3)
