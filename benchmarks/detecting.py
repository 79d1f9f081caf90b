"""How fast folds are found in a volume, and how much memory that takes, against slice width.

    python benchmarks/detecting.py [--widths 1000,2000,...]

Each width is a zarr of one square slice with one fold, on disk, searched in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TILE = 1000
CHUNK = 1024


def make(path: Path, width: int) -> None:
    """Write a slice made of mirrored tiles of synthetic tissue, with a fold across it."""
    import zarr

    from sff_napari.folds import Fold
    from sff_napari.simulation import neuropil
    from sff_napari.volumes.exports.masks import FoldMasks

    tile = neuropil((1, TILE, TILE), 3)[0]
    four = np.block([[tile, tile[:, ::-1]], [tile[::-1], tile[::-1, ::-1]]])
    fold = Fold([(0, 0.3 * width), (0.5 * width, 0.4 * width), (width - 1, 0.7 * width)], 10)
    masks = FoldMasks({0: [fold]}, (1, width, width))
    array = zarr.create_array(
        path, shape=(1, width, width), chunks=(1, CHUNK, CHUNK), dtype="uint8"
    )
    for y in range(0, width, CHUNK):
        rows = np.arange(y, min(y + CHUNK, width)) % len(four)
        band = four[rows][:, np.arange(width) % len(four)]
        band[masks.read(0, slice(y, y + len(rows)), slice(0, width))] = 12
        array[0, y : y + len(rows)] = band


def search(path: Path) -> None:
    """Search the slice and print seconds, folds and the largest memory used, in MB."""
    import torch

    from sff_napari.stacks import open_stack
    from sff_napari.volumes.find.search import Search, search_slices

    torch.set_num_threads(1)
    stack = open_stack(path)
    start, worked = time.perf_counter(), time.process_time()
    folds = search_slices(stack, [0], Search(device="cpu"))[0]
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(seconds, worked, len(folds), after / 1024)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", default="1000,2000,4000,8000,16000,32000")
    parser.add_argument("--search", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.search is not None:
        search(arguments.search)
        return
    print(
        "| width (px) | folds | s | core s | Mpx/core s | memory (MB) |\n|---|---|---|---|---|---|"
    )
    for width in map(int, arguments.widths.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.zarr"
            make(path, width)
            command = [sys.executable, __file__, "--search", str(path)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            seconds, worked, count, peak = map(float, printed.split())
            speed = width * width / 1e6 / worked
            cells = (f"{width:,}", f"{count:.0f}", f"{seconds:.1f}", f"{worked:.1f}")
            print(f"| {' | '.join(cells)} | {speed:.0f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
