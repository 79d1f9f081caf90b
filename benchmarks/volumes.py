"""Volume runs against single slices and plain copies; memory, workers, and size of overlays.

    python benchmarks/volumes.py [throughput] [memory] [workers] [overlay]

Each part prints a table; ratios are of runs made one after another on the same machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import zarr

from sff_napari import restore
from sff_napari.folds import Fold
from sff_napari.simulation import neuropil, simulate_fold
from sff_napari.stacks import open_stack, read_folds, write_folds, write_stack
from sff_napari.stacks.ome import halved
from sff_napari.volumes.plan.request import VolumeRequest
from sff_napari.volumes.plan.settings import VolumeSettings
from sff_napari.volumes.restore_volume import restore_volume
from sff_napari.volumes.run.executors import Cluster, Pool, Threads

SIDE = 1024
WIDTHS = (1000, 4000, 8000, 16000, 32000)


def write(folder: Path, shape: tuple[int, int, int], damaged: list[int]) -> tuple[Path, Path]:
    """Write a volume of repeated synthetic tissue with one upright fold on some slices."""
    depth, height, width = shape
    block = neuropil((min(depth, 6), min(height, SIDE), min(width, SIDE)), seed=1)
    group = zarr.open_group(folder / "in.zarr", mode="w", zarr_format=3)
    datasets = []
    levels = []
    for level in range(3):
        name = str(level)
        datasets.append(
            {
                "path": name,
                "coordinateTransformations": [
                    {"type": "scale", "scale": [40.0, 4.0 * 2**level, 4.0 * 2**level]}
                ],
            }
        )
        size = (depth, -(-height // 2**level), -(-width // 2**level))
        chunks = (1, min(512, size[1]), min(512, size[2]))
        levels.append(group.create_array(name, shape=size, chunks=chunks, dtype="uint8"))
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"name": "cells", "axes": axes, "datasets": datasets}],
    }
    middle = min(width, SIDE) / 2
    fold = Fold([(0, middle - 60), (height - 1, middle + 40)], 5, source="detected")
    near = min(width, 2 * SIDE)
    for z in range(depth):
        repeats = (-(-height // block.shape[1]), -(-width // block.shape[2]))
        plane = np.tile(block[z % len(block)], repeats)[:height, :width]
        if z in damaged:
            made = simulate_fold(plane[:, :near], fold, hidden_half_width=25, decay=0.03)
            plane = plane.copy()
            plane[:, :near] = made.damaged
        for array in levels:
            array[z] = plane
            plane = halved(plane)
    write_folds(folder / "folds.jsonl", {z: [fold] for z in damaged})
    return folder / "in.zarr", folder / "folds.jsonl"


def run(source: Path, folds: Path, out: Path, pool: Pool, overlay: bool = False) -> float:
    """Return the seconds that a run over a volume takes."""
    start = time.perf_counter()
    with open_stack(source) as stack:
        request = VolumeRequest(
            source,
            stack,
            read_folds(folds).folds,
            out,
            settings=VolumeSettings(device=DEVICE),
            overlay=overlay,
        )
        summary = restore_volume(request, pool)
    if not summary.complete:
        raise SystemExit(f"The run failed: {summary.outcome}")
    return time.perf_counter() - start


def size(folder: Path) -> int:
    """Return the bytes below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def throughput(folder: Path) -> None:
    """Compare a volume run with single-slice calls and with a copy."""
    damaged = [1, 3, 5, 7]
    source, folds = write(folder, (9, SIDE, SIDE), damaged)
    run(source, folds, folder / "warm.zarr", Threads(1))
    seconds = {
        "copy alone": 0.0,
        "single slices": 0.0,
        "volume, one thread": run(source, folds, folder / "one.zarr", Threads(1)),
        "volume, all threads": run(source, folds, folder / "all.zarr", Threads()),
    }
    start = time.perf_counter()
    shutil.copytree(source, folder / "copy.zarr")
    os.sync()
    seconds["copy alone"] = time.perf_counter() - start
    import torch

    torch.set_num_threads(1)
    lines = read_folds(folds).folds
    start = time.perf_counter()
    with open_stack(source) as stack:
        for z in damaged:
            restore(stack[z - 1], stack[z], stack[z + 1], lines[z], device=DEVICE)
    seconds["single slices"] = time.perf_counter() - start
    pixels = len(damaged) * SIDE * SIDE / 1e6
    print(f"\n{len(damaged)} of 9 slices of {SIDE} x {SIDE} px restored")
    print(f"{'':22}{'s':>8}{'Mpx/s':>8}{'of single slices':>18}")
    for name, took in seconds.items():
        share = took / seconds["single slices"]
        print(f"{name:22}{took:8.2f}{pixels / took:8.2f}{share:18.2f}")


def memory(folder: Path) -> None:
    """Print the peak memory of a run against the width of the slices."""
    print(f"\n{'width, px':>10}{'slice, MB':>11}{'peak, MB':>10}{'s':>8}")
    for width in WIDTHS:
        place = folder / str(width)
        place.mkdir()
        source, folds = write(place, (3, SIDE, width), [1])
        code = (
            "import resource, sys; from pathlib import Path; "
            "sys.path.insert(0, sys.argv[1]); import volumes; volumes.DEVICE = sys.argv[2]; "
            "from sff_napari.volumes.run.executors import Threads; "
            "took = volumes.run(*map(Path, sys.argv[3:6]), Threads(1)); "
            "print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        arguments = [str(Path(__file__).parent), DEVICE, str(source), str(folds)]
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments, str(place / "out.zarr")],
            check=True,
            capture_output=True,
            text=True,
        )
        took, peak = (float(word) for word in done.stdout.split())
        print(f"{width:10}{SIDE * width / 1e6:11.1f}{peak / 1024:10.0f}{took:8.1f}", flush=True)
        shutil.rmtree(place)


def workers(folder: Path) -> None:
    """Compare one and two threads, and one and two worker processes."""
    source, folds = write(folder, (13, SIDE // 2, SIDE // 2), [1, 3, 5, 7, 9, 11])
    run(source, folds, folder / "warm.zarr", Threads(1))
    print(f"\n{'':12}{'one, s':>8}{'two, s':>8}{'ratio':>8}")
    for name in ("threads", "processes"):
        took = []
        for count in (1, 2):
            pool: Pool = Threads(count) if name == "threads" else Cluster(count)
            try:
                # Once for the workers to load what they need.
                run(source, folds, folder / f"{name}-{count}-first.zarr", pool)
                took.append(run(source, folds, folder / f"{name}-{count}.zarr", pool))
            finally:
                pool.close()
        print(f"{name:12}{took[0]:8.2f}{took[1]:8.2f}{took[0] / took[1]:8.2f}")


def overlay(folder: Path) -> None:
    """Compare the size of an overlay with that of a full copy, over a zarr and over a TIFF."""
    source, folds = write(folder, (32, SIDE, SIDE), [7])
    with open_stack(source) as stack:
        tiff = write_stack(folder / "in.tif", np.stack(list(stack)))
    print("\n1 of 32 slices restored (3 %)")
    print(f"{'MB':8}{'source':>8}{'full':>8}{'overlay':>9}{'of full':>9}   of the overlay")
    for place in (source, tiff):
        full, thin = (folder / f"{place.suffix[1:]}-{name}.zarr" for name in ("full", "thin"))
        run(place, folds, full, Threads())
        run(place, folds, thin, Threads(), overlay=True)
        sizes = [size(path) if path.is_dir() else path.stat().st_size for path in (place, full)]
        whole, copied, laid = (n / 1e6 for n in (*sizes, size(thin)))
        parts = ", ".join(
            f"{name} {size(thin / name) / 1e6:.2f}" for name in ("0", "displacement", "confidence")
        )
        row = f"{whole:8.2f}{copied:8.2f}{laid:9.2f}{laid / copied:9.3f}   {parts}"
        print(f"{place.suffix[1:]:8}{row}")
    print(f"restored slices / all slices {1 / 32:.3f}")


PARTS = {"throughput": throughput, "memory": memory, "workers": workers, "overlay": overlay}
DEVICE = "cpu"


def main() -> None:
    """Run the parts that are named, or all."""
    global DEVICE
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    DEVICE = chosen.device
    for name in chosen.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            PARTS[name](Path(folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory of this process {peak:.0f} MB")


if __name__ == "__main__":
    main()
