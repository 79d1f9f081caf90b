"""A small synthetic stack, its slices reduced, and networks that are not trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sff_napari.networks import weights
from sff_napari.simulation import neuropil

SIDE = 256


@pytest.fixture(scope="session")
def stack() -> NDArray[np.uint8]:
    """Return five slices of synthetic neuropil."""
    return neuropil((5, SIDE, SIDE), seed=4)


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with narrow networks that are not trained."""
    folder = tmp_path_factory.mktemp("weights")
    for kind in ("enlarging", "enlarging_stack"):
        torch.manual_seed(0)
        network = weights.new_network(kind, 0.1)
        weights.save_weights(
            folder / f"{kind}.safetensors", network, weights.WeightsInfo(kind, 0.1)
        )
    return folder
