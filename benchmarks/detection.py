"""How many folds are found and how many false lines: simulated folds on real slices, clean slices.

Run ``python benchmarks/detection.py``.  The folder with the real stacks is
named in SFF_NAPARI_DATA, or is ``shared/data`` beside the repository.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
import torch

from sff_napari.detection import detect_folds, match
from sff_napari.simulation import Simulation, neuropil, simulate_realistic, simulate_straight

ROOT = Path(__file__).resolve().parent.parent
STACKS = {
    "vnc_stack1": "vnc_stack1.tif",
    "vnc_stack2": "vnc_stack2_z00_09.tif",
    "isbi2012_train": "isbi2012_train.tif",
    "isbi2012_test": "isbi2012_test.tif",
    "snemi3d": "snemi3d_z34_73.tif",
}
KINDS: dict[str, Callable[..., Simulation]] = {
    "straight": simulate_straight,
    "realistic": simulate_realistic,
}


def data_folder() -> Path:
    folder = Path(os.environ.get("SFF_NAPARI_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        sys.exit(
            f"There is no folder {folder}: name the folder of the real stacks in SFF_NAPARI_DATA."
        )
    return folder


def simulated(
    stack: np.ndarray, slices: list[int], kind: str, count: int, seed: int
) -> Iterator[Simulation]:
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        yield KINDS[kind](stack[slices[number % len(slices)]], rng)


def try_folds(name: str, stack: np.ndarray, slices: list[int], count: int, seed: int) -> None:
    for kind in KINDS:
        found = folds = false = 0
        distances: list[float] = []
        for trial in simulated(stack, slices, kind, count, seed):
            lines = detect_folds(trial.damaged)
            shape = (trial.damaged.shape[0], trial.damaged.shape[1])
            result = match(lines, trial.folds, shape)
            found += len(result.pairs)
            folds += result.true
            false += result.false
            distances += [result.distances[i] for i in range(len(result.pairs))]
        mean = np.mean(distances) if distances else float("nan")
        print(
            f"{name:15s} {kind:10s} {found:3d} of {folds:3d} found ({found / folds:6.1%}), "
            f"{false} other lines, mean distance {mean:.2f} px",
            flush=True,
        )


def try_clean(stacks: dict[str, np.ndarray]) -> None:
    total = false = 0
    for name, stack in stacks.items():
        here = sum(len(detect_folds(image)) for image in stack)
        print(f"{name:15s} clean      {here} lines in {len(stack)} slices", flush=True)
        total += len(stack)
        false += here
    print(
        f"{'all':15s} clean      {false} lines in {total} slices = {30 * false / total:.2f} per 30"
    )


def try_variants(stack: np.ndarray, slices: list[int], count: int, seed: int) -> None:
    """Print how detection does on slices changed as users' slices may be."""
    rng = np.random.default_rng(seed)

    def clipped(image: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)

    variants: dict[str, Callable[[np.ndarray], Any]] = {
        "20 % brighter": lambda a: clipped(a * 1.2),
        "half as bright": lambda a: clipped(a * 0.5),
        "low contrast": lambda a: clipped(a * 0.3 + 90.0),
        "blur 2 px": lambda a: cv2.GaussianBlur(a, (0, 0), 2),
        "noise of 20": lambda a: clipped(a + rng.normal(0, 20, a.shape)),
        "uint16": lambda a: a.astype(np.uint16) * 4 + 1000,
        "float [0, 1]": lambda a: a.astype(np.float32) / 255,
        "float, negative": lambda a: a.astype(np.float64) * 3.7 - 300,
        "brightness seam": lambda a: clipped(
            np.where(np.arange(a.shape[1]) > 0.55 * a.shape[1], a * 0.6, a)
        ),
        "NaN at the side": lambda a: np.where(np.arange(a.shape[1]) < 12, np.nan, a / 255),
    }
    trials = [trial for kind in KINDS for trial in simulated(stack, slices, kind, count, seed + 1)]
    for name, change in variants.items():
        found = folds = false = 0
        for trial in trials:
            shape = (trial.damaged.shape[0], trial.damaged.shape[1])
            result = match(detect_folds(change(trial.damaged)), trial.folds, shape)
            found, folds = found + len(result.pairs), folds + result.true
            false += result.false
        wrong = sum(len(detect_folds(change(stack[z]))) for z in slices)
        print(
            f"{name:26s} {found:3d} of {folds:3d} found, {false} other lines, "
            f"{wrong} lines in {len(slices)} clean slices",
            flush=True,
        )


def try_real(folder: Path) -> None:
    for path in sorted((folder / "real_folds").glob("*.png")):
        if path.stem.endswith("_m"):
            continue
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        lines = detect_folds(image)
        told = ", ".join(
            f"{line.length:.0f} px long and {2 * line.half_width:.0f} wide (score {line.score:.2f})"
            for line in lines
        )
        print(f"{path.name:32s} {told or 'no line'}", flush=True)


def time_it(stack: np.ndarray) -> None:
    for side in (1024, 2048, 4096, 8192):
        repeats = side // 1024
        clean = np.tile(stack[17], (repeats, repeats))
        damaged = simulate_straight(clean, np.random.default_rng(3)).damaged
        for name, image in (("clean", clean), ("one fold", damaged)):
            detect_folds(image)
            times = []
            for _ in range(3 if side < 4096 else 1):
                start = time.perf_counter()
                detect_folds(image)
                times.append(time.perf_counter() - start)
            print(f"{side} x {side}, {name:9s} {min(times):.2f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folds", type=int, default=30, help="folds of each kind (default 30)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["folds", "clean", "variants", "real", "time"])
    options = parser.parse_args()
    folder = data_folder()
    stacks = {name: tifffile.imread(folder / file) for name, file in STACKS.items()}
    wanted = {options.only} if options.only else {"folds", "clean", "variants", "real", "time"}
    print(f"{torch.get_num_threads()} threads, seed {options.seed}")
    held_out = [17, 18, 19]
    if "folds" in wanted:
        try_folds("vnc_stack1", stacks["vnc_stack1"], held_out, options.folds, options.seed)
        for name in list(stacks)[1:]:
            every = list(range(len(stacks[name])))
            try_folds(name, stacks[name], every, options.folds // 3, options.seed)
    if "clean" in wanted:
        synthetic = np.concatenate([neuropil((2, 512, 512), seed=s) for s in range(3)])
        try_clean({**stacks, "synthetic": synthetic})
    if "variants" in wanted:
        try_variants(stacks["vnc_stack1"], held_out, max(1, options.folds // 6), options.seed)
    if "real" in wanted:
        try_real(folder)
    if "time" in wanted:
        time_it(stacks["vnc_stack1"])


if __name__ == "__main__":
    main()
