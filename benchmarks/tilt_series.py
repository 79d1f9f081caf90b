"""Tilt-series reconstruction beside peers, quality and seconds in one run.

    python benchmarks/tilt_series.py [--seeds 1,2,3] [--needle FOLDER]

Random volumes of 48 x 80 x 80 voxels, 41 bright-field tilts, projections of 15.7 dB.
Peers where they are installed: scikit-image's iradon_sart, astra-toolbox's SIRT, and BM3D (whose
licence is for non-commercial use) on the images before SIRT.  What a peer leaves open is chosen
against the truth.  ``--needle`` names a folder with HAADF.ali and HAADF.rawtlt of the etspy
package: tilts kept out are foretold at 128 pixels.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sff_napari.commands.base import table
from sff_napari.devices import steady_torch
from sff_napari.progress import Reporter
from sff_napari.tilt_series import make_phantom, reconstruct, simulate_tilts
from sff_napari.tilt_series.direct import sirt
from sff_napari.tilt_series.evaluation import best_linear, calibrated_psnr
from sff_napari.tilt_series.fitting import GRID_STEPS
from sff_napari.tilt_series.grid import fit_grid
from sff_napari.tilt_series.held_out import HeldOutTest, foretold_psnr
from sff_napari.tilt_series.image_model import ImageModel, find_levels
from sff_napari.tilt_series.problem import set_up, with_noise
from sff_napari.tilt_series.projector import Projector
from sff_napari.tilt_series.reading import read_series
from sff_napari.tilt_series.series import check_series
from sff_napari.tilt_series.simulation import SimulatedSeries
from sff_napari.tilt_series.thickness import binned

Row = tuple[str, float, float]


def attenuation(images: np.ndarray) -> np.ndarray:
    return -np.log(np.clip(images, 0.05, 1.0))


def best_of(truth: np.ndarray, volumes: Iterator[np.ndarray]) -> float:
    return max(calibrated_psnr(volume, truth) for volume in volumes)


def timed(name: str, work: Callable[[], float]) -> Row:
    began = time.monotonic()
    psnr = work()
    return name, psnr, time.monotonic() - began


def by_iradon_sart(made: SimulatedSeries) -> float:
    from skimage.transform import iradon_sart

    sums = attenuation(made.noisy).astype(np.float64)
    depth, width, columns = made.volume.shape
    first = (width - depth) // 2
    volumes: list[np.ndarray] = []
    found: list[Any] = [None] * columns
    for _ in range(2):
        volume = np.empty((depth, width, columns), np.float32)
        for x in range(columns):
            # Its axes are turned: rows run along y, angles count the other way.
            found[x] = iradon_sart(sums[:, :, x].T, made.tilts, image=found[x], relaxation=0.05)
            volume[:, :, x] = found[x][first : first + depth]
        volumes.append(volume)
    flipped = [volume[::-1] for volume in volumes]
    return best_of(made.volume, iter(volumes + flipped))


def by_astra(made: SimulatedSeries) -> float:
    import astra

    depth, width, columns = made.volume.shape
    geometry = astra.create_vol_geom(depth, width)
    sums = attenuation(made.noisy)
    best = -np.inf
    for sign in (1, -1):
        rays = astra.create_proj_geom("parallel", 1.0, width, sign * np.radians(made.tilts))
        projector = astra.create_projector("linear", rays, geometry)
        for steps in (10, 20, 30):
            volume = np.empty((depth, width, columns), np.float32)
            for x in range(columns):
                data = astra.data2d.create("-sino", rays, sums[:, :, x])
                result = astra.data2d.create("-vol", geometry)
                config = astra.astra_dict("SIRT")
                config |= {"ProjectorId": projector, "ProjectionDataId": data}
                config |= {"ReconstructionDataId": result, "option": {"MinConstraint": 0.0}}
                task = astra.algorithm.create(config)
                astra.algorithm.run(task, steps)
                volume[:, :, x] = astra.data2d.get(result)
                astra.algorithm.delete(task)
                astra.data2d.delete([data, result])
            best = max(best, calibrated_psnr(volume, made.volume))
        astra.projector.delete(projector)
    return best


def by_bm3d(made: SimulatedSeries) -> float:
    import bm3d

    noise = 10 ** (-15.7 / 20)
    clean = np.stack([bm3d.bm3d(image.astype(float), noise) for image in made.noisy])
    levels = find_levels(made.noisy, "bright")
    sums = ImageModel("bright", levels).sums(torch.from_numpy(clean.astype(np.float32)))
    depth, width, _ = made.volume.shape
    projector = Projector(made.tilts, width, depth)
    scores: list[float] = []

    def watch(step: int, volume: torch.Tensor) -> bool:
        scores.append(calibrated_psnr(volume.numpy(), made.volume))
        return False

    sirt(projector, sums, 60, watch)
    return max(scores)


PEERS = {
    "iradon_sart, best": by_iradon_sart,
    "astra SIRT, best": by_astra,
    "BM3D + SIRT, best": by_bm3d,
}


def phantom_rows(seed: int) -> list[Row]:
    made = simulate_tilts(make_phantom(seed=seed), seed=seed)
    rows = [(s.method, s.volume_psnr, s.seconds) for s in best_linear(made, seed)]

    def default() -> float:
        found = reconstruct(made.noisy, made.tilts, thickness=made.volume.shape[0])
        return calibrated_psnr(found.volume, made.volume)

    rows.append(timed("sff.reconstruct", default))
    for name, peer in PEERS.items():
        try:
            rows.append(timed(name, lambda peer=peer: peer(made)))
        except ImportError:
            print(f"{name}: not installed")
    return rows


def needle_rows(folder: Path) -> list[Row]:
    """Return the PSNR of every tenth tilt, foretold from all others and from a third of them."""
    stored = read_series(folder / "HAADF.ali")
    series = binned(check_series(stored.images, stored.tilts, "x"), 2)
    count = len(series.tilts)
    kept = np.arange(5, count, 10)
    whole = set_up(series, "dark", 60, None, torch.device("cpu"))
    other = whole.grid(kept)
    rows = []
    for step, name in ((1, "all others"), (3, "every third of them")):
        used = np.setdiff1d(np.arange(count), kept)[::step]
        problem = set_up(series.some(used), "dark", 60, None, torch.device("cpu"))
        model = replace(problem.model, levels=whole.levels)
        problem = replace(problem, levels=whole.levels, model=model)

        def score(volume: torch.Tensor) -> float:
            predicted = other.projector.project(volume)
            return foretold_psnr(predicted.numpy(), other.images.numpy())

        def by_sirt(problem: Any = problem) -> float:
            grid, scores = problem.grid(), []
            sirt(grid.projector, grid.images, 60, lambda _, v: bool(scores.append(score(v))))
            return max(scores)

        def by_grid(problem: Any = problem) -> float:
            problem, rough = with_noise(problem, Reporter())
            choice = HeldOutTest(problem.band()).smoothness(rough, Reporter()).choice
            weight = choice * problem.band().grid().natural_weight(rough)
            return score(fit_grid(problem.grid(), weight, GRID_STEPS))

        rows.append(timed(f"needle, {name}: SIRT, best", by_sirt))
        rows.append(timed(f"needle, {name}: grid", by_grid))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--needle", type=Path)
    chosen = parser.parse_args()
    rows = []
    if chosen.needle is not None:
        with steady_torch():
            rows += [(f"{name}", psnr, took) for name, psnr, took in needle_rows(chosen.needle)]
    for seed in [int(word) for word in chosen.seeds.split(",") if word]:
        rows += [(f"seed {seed}: {name}", psnr, took) for name, psnr, took in phantom_rows(seed)]
    print(table(["", "dB", "seconds"], [[n, f"{p:.2f}", f"{s:.1f}"] for n, p, s in rows]))


if __name__ == "__main__":
    main()
