"""The confidence of large slices is that which the fit of a whole slice would give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sff_napari.arrays import GreyScale
from sff_napari.folds import Fold
from sff_napari.folds.curve import grid_points
from sff_napari.progress import Reporter
from sff_napari.restoration.cascade import Cascade
from sff_napari.restoration.confidence import FlowConfidence
from sff_napari.restoration.methods import Methods
from sff_napari.restoration.unfolding.fitted_fold import LawUnfolding
from sff_napari.restoration.unfolding.side_motion import SideMotion
from sff_napari.simulation import neuropil, simulate_fold
from sff_napari.volumes.plan.blocks import Block
from sff_napari.volumes.restore import block_confidence, law_stitching, window_fit
from sff_napari.volumes.restore.block_confidence import BEYOND
from sff_napari.volumes.restore.patches import stored

SHAPE = (288, 320)


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    """Return a slice with a bent fold whose law was found."""
    volume = neuropil((3, *SHAPE), seed=6)
    fold = Fold([(0, 140), (150, 175), (287, 150)], 4, source="simulated")
    damaged = simulate_fold(volume[1], fold, hidden_half_width=18, decay=0.04).damaged
    return Cascade(
        damaged,
        GreyScale.of(damaged),
        {"previous": volume[0], "following": volume[2]},
        [fold],
        Methods.checked("motion", "law", "stitch", None, 2.0, None),
        torch.device("cpu"),
        512,
        Reporter(None, None),
    )


def test_what_a_window_tells_makes_the_same_map(cascade: Cascade) -> None:
    assert isinstance(cascade.unfolding, LawUnfolding)
    (one,) = cascade.unfolding.fitted
    whole = Block(0, (0, SHAPE[0]), (0, SHAPE[1]), (0, SHAPE[0]), (0, SHAPE[1]))
    line = {"number": 0, **window_fit._samples(one, whole)}
    line |= block_confidence.line_errors(one, len(line["points"]))
    assert len(line["error"]) == 2 * len(BEYOND)
    window = {"piece": whole.to_dict(), "lines": [line]}
    joined = law_stitching.join(cascade.folds, [window], SHAPE)
    unfolding = law_stitching.unfolding_in(joined, whole, 2.0, None, cascade.device)
    errors = law_stitching.errors_in(joined, whole, unfolding)
    grid = (SHAPE[0] // 8, SHAPE[1] // 8)
    found = block_confidence._sure(unfolding.fitted, errors, grid_points(grid, (3.5, 3.5), 8.0))
    expected = FlowConfidence([one]).on_grid(grid, (3.5, 3.5), 8.0)
    flow, hidden = cascade.unfolding.on_grid(grid, (3.5, 3.5), 8.0)
    # Next to what is hidden a place is on the one side or the other.
    clear = torch.nn.functional.max_pool2d(hidden[None].float(), 3, 1, 1)[0] == 0
    seen = clear & (flow.abs().amax(0) > 0.1)
    assert int(seen.sum()) > 300
    apart = (found - expected).abs()[seen]
    assert float(apart.mean()) < 0.01
    assert float(apart.max()) < 0.08
    assert 0.05 < float(expected[seen].mean()) < 0.99


def test_a_piece_knows_what_was_made_up(cascade: Cascade) -> None:
    assert isinstance(cascade.unfolding, LawUnfolding)
    count = 5
    table = {
        "along": np.linspace(0, 290, count),
        "error": np.full((2 * len(BEYOND), count), 3.0),
        "floor": np.full(count, 0.3),
    }
    flow = np.zeros((2, *SHAPE), np.float32)
    flow[0, :, :100] = 2
    flow[:, 100:140] = np.nan
    synthesised = np.zeros(SHAPE, np.float32)
    synthesised[100:140] = 1
    sure = block_confidence.confidence(cascade, cascade.unfolding, [table], flow, synthesised)
    still = (flow == 0).all(axis=0)
    assert (sure[still] == 1).all()
    moved = np.isfinite(flow[0]) & ~still
    # An error of 3 px: within one px in a quarter of all cases.
    assert np.allclose(sure[moved], 0.26, atol=0.01)
    filled = sure[synthesised == 1]
    assert 0.3 < filled.mean() < 0.95
    assert filled.std() > 0


def test_values_are_stored_in_bytes() -> None:
    given = np.array([0, 0.5, 1, np.nan, 1.2, -1], dtype=np.float16)
    assert stored(given).tolist() == [0, 130, 255, 0, 255, 0]
    fine = np.linspace(0, 1, 1000)
    assert np.abs(stored(fine) / 255 - fine).max() < 0.01


def test_what_a_window_warns_of_names_its_place_and_undoes_nothing_else(cascade: Cascade) -> None:
    assert isinstance(cascade.unfolding, LawUnfolding)
    (one,) = cascade.unfolding.fitted
    assert window_fit._warnings(one) == []
    weak = replace(one, side_scores=(0.02, 0.5))
    (line_errors,) = window_fit._warnings(weak)
    assert "found again" in line_errors
    moved = replace(weak, motions=(SideMotion(0.05, (100.0, 50.0), (40.0, 3.0), 0.4), None))
    first, second = window_fit._warnings(moved)
    assert first == line_errors
    assert "not undone" in second
