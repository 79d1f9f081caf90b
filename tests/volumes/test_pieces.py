"""Large slices: cut into pieces along their folds, and joined without a seam."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given
from hypothesis import strategies as st
from tests.volumes.conftest import run, write_ome

from sff_napari.alignment.drift_model import SliceDrift
from sff_napari.folds import Curve, Fold, FoldLaw
from sff_napari.folds.law import interpolate
from sff_napari.restoration.unfolding.fitted_fold import FittedFold, LawUnfolding
from sff_napari.simulation import neuropil, simulate_fold
from sff_napari.stacks import open_stack
from sff_napari.volumes.plan import blocks, slice_plan
from sff_napari.volumes.plan.blocks import BAND, cut, cut_all, windows
from sff_napari.volumes.plan.settings import VolumeSettings
from sff_napari.volumes.restore import law_stitching
from sff_napari.volumes.restore.block_confidence import BEYOND
from sff_napari.volumes.restore.window_fit import _samples


@given(st.integers(64, 3000), st.integers(64, 3000), st.integers(256, 1024))
def test_shares_sum_to_one(height: int, width: int, tile: int) -> None:
    total = np.zeros((height, width), np.float32)
    for block in cut_all((height, width), tile):
        total[slice(*block.rows), slice(*block.columns)] += block.share(block.rows, block.columns)
        assert block.read_rows[0] <= block.rows[0]
        assert block.read_rows[1] >= block.rows[1]
    assert np.allclose(total, 1, atol=1e-5)


def test_a_slice_that_is_no_larger_stays_whole() -> None:
    fold = Fold([(0, 10), (99, 80)], 3)
    ((block, folds),) = cut((100, 120), 120, [fold])
    assert block.alone
    assert (block.rows, block.read_columns) == ((0, 100), (0, 120))
    assert folds == (fold,)


@given(st.floats(0, 9000), st.floats(0, 9000), st.floats(0, 9000), st.floats(0, 9000))
def test_every_part_of_a_line_is_seen_where_it_lies(
    y0: float, x0: float, y1: float, x1: float
) -> None:
    if np.hypot(y1 - y0, x1 - x0) < 300:
        return
    bent = [(y0, x0), ((y0 + y1) / 2 + 40, (x0 + x1) / 2 - 40), (y1, x1)]
    fold = Fold(bent, 4, half_widths=[3, 4, 5])
    seen = windows((9000, 9000), 2000, [fold])
    curve = Curve.of(fold)
    for share in np.linspace(0.01, 0.99, 41):
        point = curve.at(torch.tensor([share * curve.length], dtype=torch.float32))[0][:, 0].numpy()
        found = [
            (block, parts)
            for block, parts in seen
            if block.rows[0] + BAND <= point[0] < block.rows[1] - BAND
            and block.columns[0] + BAND <= point[1] < block.columns[1] - BAND
        ]
        for block, parts in found:
            local = point - (block.read_rows[0], block.read_columns[0])
            nearest = min(_distance(np.array(one.vertices), local) for _, one in parts)
            assert nearest < 0.5


def _distance(line: np.ndarray, point: np.ndarray) -> float:
    step = np.diff(line, axis=0)
    along = np.clip(((point - line[:-1]) * step).sum(1) / (step**2).sum(1), 0, 1)
    return float(np.hypot(*(line[:-1] + along[:, None] * step - point).T).min())


def unsure(count: int) -> dict[str, Any]:
    """Return what a window tells of errors, where they do not matter."""
    return {"error": [[1.0] * count] * (2 * len(BEYOND)), "floor": 0.3}


@pytest.mark.parametrize("tail", [0.0, 0.8])
def test_all_pieces_unfold_by_the_same_law(tail: float) -> None:
    shape, tile = (1300, 1000), 500
    fold = Fold([(-20, 250), (450, 300), (900, 210), (1350, 330)], 5, source="simulated")
    curve = Curve.of(fold).smoothed()
    knots = torch.linspace(0, curve.length, 5)
    gap = torch.tensor([[14.0, 20, 26, 30, 22], [18, 18, 24, 24, 30]])
    law = FoldLaw(knots, torch.full((5,), 7.0), gap, gap / 300, torch.tensor([tail, tail]))
    whole = FittedFold(fold, curve, law, None, SliceDrift.none(shape))  # type: ignore[arg-type]
    flow, hidden = LawUnfolding([whole], 2.0).on_grid(shape)
    told = []
    for block, seen in windows(shape, tile, [fold]):
        origin = torch.tensor([block.read_rows[0], block.read_columns[0]])
        for number, part in seen:
            own = Curve.of(part).smoothed()
            at = torch.linspace(0, own.length, 40)
            along = curve.project(own.at(at)[0] + origin[:, None]).along
            here = FoldLaw(
                at,
                interpolate(knots, law.dark, along),
                torch.stack([interpolate(knots, side, along) for side in law.gap]),
                torch.stack([interpolate(knots, side, along) for side in law.decay]),
                law.tail,
            )
            seen_here = FittedFold(part, own, here, None, whole.drift, False, 1.0)  # type: ignore[arg-type]
            line = {"number": number, **_samples(seen_here, block)}
            line |= unsure(len(line["points"]))
            told.append({"piece": block.to_dict(), "lines": [line]})
    joined = law_stitching.join([fold], told, shape)
    assert 300 < joined[0]["reach"] < 4000
    reached = 0
    for block in cut_all(shape, tile, 200):
        beside = law_stitching.near(joined, block)
        rows, columns = slice(*block.read_rows), slice(*block.read_columns)
        expected = flow[:, rows, columns]
        if not beside:
            assert float(expected.abs().max()) == 0
            continue
        reached += 1
        found, lost = law_stitching.unfolding_in(
            beside, block, 2.0, None, torch.device("cpu")
        ).on_grid(tuple(expected.shape[1:]))
        known = ~(hidden[rows, columns] | lost)
        apart = (found - expected).abs()[:, known]
        assert float(apart.max()) < 0.8
        assert float(apart.mean()) < 0.05
        assert float((lost != hidden[rows, columns]).float().mean()) < 0.01
    assert reached > len(windows(shape, tile, [fold]))


def test_pieces_make_the_same_as_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Less tissue around each piece than usual, so that this takes seconds.
    monkeypatch.setattr(blocks, "REACH", 96)
    monkeypatch.setattr(slice_plan, "around", lambda _: 96)
    monkeypatch.setattr(law_stitching, "_JOIN", 64.0)
    volume = neuropil((3, 640, 560), seed=3)
    fold = Fold([(0, 120), (320, 150), (639, 110)], 4, source="simulated")
    made = simulate_fold(volume[1], fold, hidden_half_width=16, decay=0.03)
    clean, volume[1] = volume[1].copy(), made.damaged
    source = write_ome(tmp_path / "in.zarr", volume, chunks=(1, 128, 128), levels=1)
    found = {}
    for name, tile in (("whole", 640), ("pieces", 280)):
        out = tmp_path / f"{name}.zarr"
        assert run(source, {1: [fold]}, out, settings=VolumeSettings(tile=tile)).complete
        flow = np.asarray(zarr.open_array(out, path="displacement", mode="r")[1])
        sure = np.asarray(zarr.open_array(out, path="confidence", mode="r")[1]) / 255
        found[name] = (open_stack(out)[1].astype(float), flow, sure)
    (whole, flow, sure), (joined, other, joined_sure) = found["whole"], found["pieces"]
    errors = [np.abs(image - clean).mean() for image in (volume[1].astype(float), whole, joined)]
    assert errors[1] < 0.5 * errors[0]
    # Windows as small as here tell less of the law than the whole slice does.
    assert errors[2] < 0.75 * errors[0]
    # The law is the same on both sides of a seam: it moves on smoothly, also where no line is.
    down = np.isfinite(other[0][1:]) & np.isfinite(other[0][:-1])
    right = np.isfinite(other[0][:, 1:]) & np.isfinite(other[0][:, :-1])
    assert np.abs(np.diff(other, axis=1))[:, down].max() < 0.5
    assert np.percentile(np.abs(np.diff(other, axis=2))[:, right], 99.9) < 0.5
    assert (np.isnan(flow[0]) != np.isnan(other[0])).mean() < 0.05
    moved = np.isfinite(other[0]) & (other != 0).any(axis=0)
    steps = np.abs(np.diff(joined_sure, axis=0))[270:370, 170:]
    assert steps[(moved[1:] & moved[:-1])[270:370, 170:]].max() < 0.05
    assert (joined_sure[(other == 0).all(axis=0)] == 1).all()
    # A window as small as here knows less than the whole slice, and says so.
    near = moved[200:440, 80:240] & np.isfinite(flow[0, 200:440, 80:240])
    apart = (joined_sure - sure)[200:440, 80:240][near]
    assert -0.45 < apart.mean() < 0.1
    far = np.abs(other[1][:, 400:])
    assert far[np.isfinite(far)].max() > 0.2, "tissue beyond the pieces with the line moves too"
