"""Stacks with folds of a known law, and the command line in this process."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from sff_napari.commands import main
from sff_napari.simulation import neuropil, random_realistic, simulate
from sff_napari.simulation.appearance import paint_realistic
from sff_napari.simulation.plan import RealisticRanges

DRAWN_FROM = RealisticRanges(
    half_width=(4.0, 8.0), gap=(15.0, 40.0), decay=(0.05, 0.12), inside_end=0.0
)


@pytest.fixture(scope="session")
def known():
    """Return a stack, its folds, and the plans they were made from, by slice.

    Neighbours are one slice and its drifted, noisy copies: matching is then not
    the difficulty.
    """
    rng = np.random.default_rng(0)
    tissue = neuropil((1, 448, 448), seed=1)[0].astype(np.float64)
    slices = []
    for _ in range(9):
        drift = [ndimage.gaussian_filter(rng.normal(size=tissue.shape), 60) for _ in range(2)]
        y, x = (
            axis + 1.0 * field / field.std()
            for axis, field in zip(np.indices(tissue.shape), drift, strict=True)
        )
        moved = ndimage.map_coordinates(tissue, [y, x], order=1, mode="reflect")
        slices.append(np.clip(moved + rng.normal(0, 8, moved.shape), 0, 255).astype(np.uint8))
    stack = np.stack(slices)
    folds, plans = {}, {}
    for z in (1, 3, 5, 7):
        own = np.random.default_rng(z)
        plans[z] = random_realistic((448, 448), own, DRAWN_FROM)
        made = simulate(
            stack[z], [plans[z]], lambda im, a, w, own=own: paint_realistic(im, a, w, own)
        )
        stack[z], folds[z] = made.damaged, made.folds
    return SimpleNamespace(stack=stack, folds=folds, plans=plans)


@pytest.fixture
def command(capsys):
    """Run ``sff-napari`` in this process."""

    def call(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return SimpleNamespace(
            code=ended.value.code or 0,
            out=printed.out,
            err=printed.err,
            json=lambda: json.loads(printed.out),
        )

    return call
