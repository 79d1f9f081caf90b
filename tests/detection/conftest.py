"""Slices for the tests of detection."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sff_napari.folds import Fold
from sff_napari.simulation import Simulation, neuropil, simulate_fold, simulate_realistic


@pytest.fixture(scope="session")
def tissue() -> NDArray[np.uint8]:
    """Return a clean synthetic slice, (384, 448) uint8."""
    return neuropil((1, 384, 448), seed=5)[0]


@pytest.fixture(scope="session")
def straight(tissue: NDArray[np.uint8]) -> Simulation:
    """Return the slice with one straight fold."""
    return simulate_fold(tissue, Fold([(60.0, 0.0), (300.0, 447.0)], 7.0), 30.0, 0.02)


@pytest.fixture(scope="session")
def realistic(tissue: NDArray[np.uint8]) -> Simulation:
    """Return the slice with one bent fold that is dark, not black."""
    return simulate_realistic(tissue, np.random.default_rng(7))
