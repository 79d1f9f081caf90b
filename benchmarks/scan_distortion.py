"""Restoration of scans beside peers: every table of docs/scan-distortion.md.

    python benchmarks/scan_distortion.py [--pairs FOLDER] [--tissue STACK:SLICES ...]
        [--tables pairs,tissue,displacement,clean,structures,halves] [--plain12 FOLDER] [--quick]

``--pairs`` names a folder with ``sfr_hrstem.h5`` and ``sfr_lrstem.h5``, pairs of distorted (x) and
true (y) images (N, 1, X, Y), as the source distribution of the PyPI package tk-r-em 1.0.4
holds (GPL; look, never train): the first half and the second half are told apart, because ranges of
the simulation were chosen with the first in view.  Without it that table is left out.
``--tissue`` names slices that were not trained on; where none is given, synthetic tissue.
Peers: the Gaussian of the width that is best against the truth, a median, BM3D where it is
installed (its licence is for non-commercial use), alignment of rows, and with ``--plain12`` the
network of Lobato et al. (2020) from that folder.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

import sff_napari as sff
from sff_napari.commands.base import table
from sff_napari.scan_distortion import specimen
from sff_napari.scan_distortion.displacement import without_slow
from sff_napari.scan_distortion.noise import noise_deviation
from sff_napari.scan_distortion.simulation import sample
from sff_napari.scan_distortion.specimens import with_structures
from sff_napari.training.scan_samples import read_clean
from sff_napari.training.settings import DataSpec

TABLES = ("pairs", "tissue", "displacement", "clean", "structures", "halves")
ROWS_ONLY: dict[str, Any] = {"drift_share": 0, "flyback_share": 0, "interlaced_share": 0}
SIDE = 256

Image = np.ndarray
Method = Callable[[Image, Image], Image]


def decibels(image: Image, truth: Image) -> float:
    """Return the PSNR whose range is that of the truth."""
    error = np.mean((image.astype(float) - truth) ** 2)
    return float(20 * np.log10(np.ptp(truth.astype(float))) - 10 * np.log10(error))


def best_gaussian(image: Image, truth: Image) -> Image:
    blurred = [cv2.GaussianBlur(image, (0, 0), s) for s in np.geomspace(0.3, 12, 30)]
    return max(blurred, key=lambda made: decibels(made, truth))


def by(**choices: Any) -> Method:
    return lambda image, _: sff.restore_scan(image, **choices).restored


def by_bm3d(image: Image, truth: Image) -> Image:
    from bm3d import bm3d

    span = float(np.ptp(image)) or 1.0
    return bm3d(image / span, max(noise_deviation(image) / span, 1e-4)).astype(np.float32) * span


def methods(plain12: Path | None, quick: bool) -> dict[str, Method]:
    found: dict[str, Method] = {
        "scan": lambda image, _: image,
        "Gaussian, width by the truth": best_gaussian,
        "Gaussian, width estimated": by(method="gaussian"),
        "median": by(method="median"),
        "rows aligned": by(method="rows"),
        "default": by(),
    }
    if plain12 is not None:
        found["plain12"] = by(method="plain12", weights=plain12)
    if quick:
        return found
    try:
        import bm3d  # noqa: F401
    except ImportError:
        print("BM3D is not installed: pip install bm3d")
    else:
        found["BM3D"] = by_bm3d
    return found


def compare(
    title: str, sets: dict[str, list[tuple[Image, Image]]], used: dict[str, Method]
) -> None:
    scores: dict[str, dict[str, list[float]]] = {}
    seconds: dict[str, float] = {}
    for name, method in used.items():
        made: dict[int, float] = {}
        began = time.perf_counter()
        for group, pairs in sets.items():
            for image, truth in pairs:
                if id(image) not in made:
                    made[id(image)] = decibels(method(image, truth), truth)
            scores.setdefault(name, {})[group] = [made[id(image)] for image, _ in pairs]
        seconds[name] = (time.perf_counter() - began) / len(made)
    own = scores["default"]
    rows = []
    for name, found in scores.items():
        cells = [name]
        for group, values in found.items():
            paired = np.array(own[group]) - values
            error = paired.std(ddof=1) / np.sqrt(len(paired))
            cells += [f"{np.mean(values):.2f}", f"{paired.mean():+.2f} ± {error:.2f}"]
        rows.append([*cells, f"{seconds[name]:.2f}"])
    head = ["dB"]
    for group, pairs in sets.items():
        head += [f"{group} ({len(pairs)})", "default is better by"]
    print(f"\n{title}\n")
    print(table([*head, "s an image"], rows))


def read_pairs(folder: Path) -> dict[str, list[tuple[Image, Image]]]:
    sets: dict[str, list[tuple[Image, Image]]] = {}
    for kind, name in (("high", "hrstem"), ("low", "lrstem")):
        with h5py.File(folder / f"sfr_{name}.h5") as file:
            x, y = (np.asarray(file[key])[:, 0].transpose(0, 2, 1) for key in ("x", "y"))
        pairs = [(a.astype(np.float32), b.astype(np.float32)) for a, b in zip(x, y, strict=True)]
        half = len(pairs) // 2
        sets[f"{kind}, first half"] = pairs[:half]
        sets[f"{kind}, second half"] = pairs[half:]
        sets[f"{kind}, all"] = pairs
    return sets


def clean_parts(specs: list[str], count: int) -> dict[str, list[Image]]:
    if not specs:
        return {"synthetic": [specimen("tissue", (SIDE, SIDE), 900 + i) for i in range(count)]}
    rng = np.random.default_rng(1)
    parts = {}
    for text in specs:
        images = read_clean([DataSpec.parse(text)])
        parts[DataSpec.parse(text).label] = [
            image[top : top + SIDE, left : left + SIDE]
            for i in range(count)
            for image in [images[i % len(images)]]
            for top in [int(rng.integers(image.shape[0] - SIDE + 1))]
            for left in [int(rng.integers(image.shape[1] - SIDE + 1))]
        ]
    return parts


def scans(parts: list[Image], **ranges: Any) -> list[tuple[Image, Image]]:
    made = [sff.simulate_scan(part, seed, **ranges) for seed, part in enumerate(parts)]
    return [(one.distorted, one.truth) for one in made]


def displacement(parts: dict[str, list[Image]], count: int) -> None:
    sources = {
        **parts,
        "lattices": [specimen("lattice", (SIDE, SIDE), 700 + i) for i in range(count)],
    }
    rows = []
    for name, images in sources.items():
        for few, many, label in ((2, 400, "2 to 400"), (100, 400, "100 to 400")):
            found = []
            for seed, image in enumerate(images):
                jitter = float(np.geomspace(0.1, 4, len(images))[seed])
                made = sff.simulate_scan(
                    image, seed, jitter=jitter, counts=(few, many), **ROWS_ONLY
                )
                restored = sff.restore_scan(made.distorted)
                true = without_slow(made.displacement[1].mean(axis=1))
                error = without_slow(restored.displacement[1].mean(axis=1)) - true
                found.append((true.std(), error.std() / true.std()))
            jitters, ratios = np.array(found).T
            for low, high in ((0, 0.3), (0.3, 0.5), (0.5, 1), (1, 9)):
                here = ratios[(jitters >= low) & (jitters < high)]
                if here.size:
                    rows.append(
                        [
                            f"{name}, {label} counts", f"{low} to {high}", str(here.size),
                            f"{here.mean():.2f}", f"{np.median(here):.2f}", f"{here.max():.2f}",
                            f"{(here <= 0.5).mean():.2f}",
                        ]
                    )  # fmt: skip
    print("\nError of the displacement of rows over the jitter, slow part removed\n")
    head = ["images", "jitter, px", "scans", "mean", "median", "largest", "share halved"]
    print(table(head, rows))


def clean_images(parts: dict[str, list[Image]], count: int) -> None:
    kinds = ("lattice", "particles", "facets", "structures")
    sources = dict(parts)
    for kind in kinds:
        sources[kind] = [specimen(kind, (SIDE, SIDE), 500 + i) for i in range(count)]
    rows = []
    for name, images in sources.items():
        made = [sff.restore_scan(image) for image in images]
        values = [decibels(one.restored, image) for one, image in zip(made, images, strict=True)]
        moved = max(float(np.abs(one.displacement).max()) for one in made)
        rows.append([name, f"{np.mean(values):.2f}", f"{min(values):.2f}", f"{moved:.2f}"])
    print("\nUndistorted images without noise, restored: PSNR to what they were, dB\n")
    print(table(["images", "mean", "least", "largest displacement, px"], rows))


def structures(parts: dict[str, list[Image]]) -> None:
    rows = []
    for name, images in parts.items():
        for label, ranges in (
            ("not scanned", None),
            ("jitter 0.5 px, 100 counts", {"jitter": 0.5, "counts": 100, **ROWS_ONLY}),
        ):
            near, far, before = [], [], []
            for seed, image in enumerate(images):
                marked = np.clip(with_structures(image, np.random.default_rng(seed)), 0, 1)
                band = cv2.dilate((np.abs(marked - image) > 0.1).astype(np.uint8), np.ones((9, 9)))
                if ranges is None:
                    scanned = truth = marked
                else:
                    made = sff.simulate_scan(marked, seed, **ranges)
                    scanned, truth = made.distorted, made.truth
                error = (sff.restore_scan(scanned).restored - truth) ** 2
                span = np.ptp(truth) ** 2
                inside = band > 0
                if 0.005 < inside.mean() < 0.6:
                    near.append(10 * np.log10(span / error[inside].mean()))
                    far.append(10 * np.log10(span / error[~inside].mean()))
                    raw = max(float(((scanned - truth)[inside] ** 2).mean()), 1e-9)
                    before.append(10 * np.log10(span / raw))
            shown = "-" if ranges is None else f"{np.mean(before):.2f}"
            rows.append([f"{name}, {label}", shown, f"{np.mean(near):.2f}", f"{np.mean(far):.2f}"])
    print("\nFolds, cracks and borders of tiles: PSNR within 4 px of them, and elsewhere, dB\n")
    print(table(["images", "scan, there", "restored, there", "elsewhere"], rows))


def halves(parts: dict[str, list[Image]]) -> None:
    rows = []
    for name, images in parts.items():
        for counts in (10, 40, 160):
            before, after, truths = [], [], []
            for seed, image in enumerate(images):
                rng = np.random.default_rng(seed)
                field = np.zeros((2, *image.shape), np.float32)
                field[1] += rng.standard_normal((len(image), 1), np.float32)
                electrons = rng.poisson(np.clip(sample(image, field), 0, None) * counts)
                first = rng.binomial(electrons, 0.5)
                two = [part.astype(np.float32) for part in (first, electrons - first)]
                made = [sff.restore_scan(part).restored for part in two]
                before.append(np.corrcoef(two[0].ravel(), two[1].ravel())[0, 1])
                after.append(np.corrcoef(made[0].ravel(), made[1].ravel())[0, 1])
                truths.append(np.corrcoef(made[0].ravel(), image.ravel())[0, 1])
            rows.append(
                [f"{name}, {counts}", *(f"{np.mean(v):.3f}" for v in (before, after, truths))]
            )
    print("\nTwo halves of the electrons, jitter 1 px: correlation\n")
    head = ["images, electrons at white", "halves", "halves restored", "restored and truth"]
    print(table(head, rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--tissue", nargs="*", default=[])
    parser.add_argument("--plain12", type=Path)
    parser.add_argument("--tables", default=",".join(TABLES))
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--quick", action="store_true", help="without BM3D")
    options = parser.parse_args()
    wanted = options.tables.split(",")
    used = methods(options.plain12, options.quick)
    if "pairs" in wanted and options.pairs is not None:
        compare("Pairs made by others", read_pairs(options.pairs), used)
    parts = clean_parts(options.tissue, options.count)
    if "tissue" in wanted:
        compare("Own simulation", {n: scans(p) for n, p in parts.items()}, used)
        still = {f"{n}, rows alone": scans(p, **ROWS_ONLY) for n, p in parts.items()}
        compare("The same without drift, flyback and interlacing", still, used)
    if "displacement" in wanted:
        displacement(parts, options.count)
    if "clean" in wanted:
        clean_images(parts, options.count)
    if "structures" in wanted:
        structures(parts)
    if "halves" in wanted:
        halves(parts)


if __name__ == "__main__":
    main()
