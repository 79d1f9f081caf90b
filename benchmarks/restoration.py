"""Time and memory of restoring one slice, printed as ratios against a peer in the same run.

``python benchmarks/restoration.py``        default method against the paper's cascade
``python benchmarks/restoration.py memory`` peak memory of an 8192 x 8192 slice

The cascade runs at full width in float32 with untrained weights: what it costs
does not depend on them.  Slices are synthetic neuropil.
"""

from __future__ import annotations

import contextlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

import sff_napari as sff
from sff_napari.networks import FusionNetwork, InterpolationNetwork, UnfoldingNetwork
from sff_napari.networks.weights import WeightsInfo, save_weights
from sff_napari.restoration.fusion import seamless as fusion
from sff_napari.restoration.interpolation import weighted as interpolation
from sff_napari.restoration.unfolding import network as network_unfolding
from sff_napari.simulation import neuropil

SIDES = (1024, 2048)
MEMORY_SIDE = 8192


def triple(side: int) -> tuple[np.ndarray, sff.Simulation]:
    """Return three slices and the middle one folded; large ones are tiled from smaller ones."""
    base = neuropil((3, min(side, 1024), min(side, 1024)), seed=0)
    repeat = -(-side // 1024)
    stack = np.tile(base, (1, repeat, repeat))[:, :side, :side]
    fold = sff.Fold([(0, side * 0.45), (side * 0.5, side * 0.5), (side - 1, side * 0.52)], 9.5)
    return stack, sff.simulate_fold(stack[1], fold, hidden_half_width=45, decay=0.03)


def timed(call: Callable[[], object], repeats: int) -> float:
    """Return the median of the seconds a call takes."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


@contextlib.contextmanager
def float32_only() -> Iterator[None]:
    """Run networks in float32 whatever the machine is fast at."""
    modules = (fusion, interpolation, network_unfolding)
    kept = [module.autocast for module in modules]
    for module in modules:
        module.autocast = lambda device: contextlib.nullcontext()
    try:
        yield
    finally:
        for module, autocast in zip(modules, kept, strict=True):
            module.autocast = autocast


def full_width_weights(folder: Path) -> Path:
    """Write untrained full-width weights and return their folder."""
    torch.manual_seed(0)
    for kind, network in (
        ("interpolation", InterpolationNetwork(1.0)),
        ("unfolding", UnfoldingNetwork(1.0)),
        ("fusion", FusionNetwork(1.0)),
    ):
        save_weights(
            folder / f"{kind}.safetensors", network, WeightsInfo(kind, 1.0, "untrained", 0)
        )
    return folder


def times() -> None:
    """Print the times and their ratio."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'side':>6}{'default s':>12}{'cascade s':>12}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as name:
        weights = full_width_weights(Path(name))
        for side in SIDES:
            stack, sim = triple(side)
            slices = (stack[0], sim.damaged, stack[2], sim.folds)
            sff.restore(*slices, device="cpu")
            ours = timed(lambda: sff.restore(*slices, device="cpu"), 3)
            with float32_only():
                cascade = timed(
                    lambda: sff.restore(
                        *slices,
                        device="cpu",
                        interpolation="network",
                        unfolding="network",
                        fusion="network-everywhere",
                        weights=weights,
                    ),
                    1,
                )
            print(f"{side:>6}{ours:>12.2f}{cascade:>12.2f}{cascade / ours:>8.1f}", flush=True)


def memory() -> None:
    """Print the peak memory of a large slice, measured in processes of their own."""
    peaks = {}
    for what in ("input", "restored"):
        out = subprocess.run(
            [sys.executable, __file__, "peak", what], check=True, capture_output=True, text=True
        )
        peaks[what] = float(out.stdout.split()[-1])
    extra = peaks["restored"] - peaks["input"]
    size = MEMORY_SIDE**2 / 2**30
    print(f"{MEMORY_SIDE} x {MEMORY_SIDE} uint8: peak {peaks['restored']:.2f} GiB, of which")
    print(f"input and libraries {peaks['input']:.2f} GiB; restoring adds {extra:.2f} GiB,")
    print(f"{extra / size:.0f} times the size of one slice ({size:.3f} GiB)")


def peak(what: str) -> None:
    """Print the peak resident memory in GiB of this process after making or restoring a slice."""
    stack, sim = triple_without_truth(MEMORY_SIDE)
    if what == "restored":
        sff.restore(stack[0], sim, stack[2], FOLD, device="cpu")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


FOLD = sff.Fold([(0, 3700), (4000, 4100), (8191, 4200)], 9.5)


def triple_without_truth(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return three large slices and a folded middle one made strip by strip, to stay small."""
    base = neuropil((3, 1024, 1024), seed=0)
    stack = np.tile(base, (1, side // 1024, side // 1024))
    damaged = stack[1].copy()
    # Pull both halves 30 px together and draw the line: enough of a fold to be restored.
    for y in range(side):
        x = int(np.interp(y, [0, 4000, 8191], [3700, 4100, 4200]))
        damaged[y, 30:x] = stack[1][y, : x - 30]
        damaged[y, x:-30] = stack[1][y, x + 30 :]
        damaged[y, x - 9 : x + 10] = 0
    return stack, damaged


if __name__ == "__main__":
    if sys.argv[1:] == ["memory"]:
        memory()
    elif sys.argv[1:2] == ["peak"]:
        peak(sys.argv[2])
    else:
        times()
