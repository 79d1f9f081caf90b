"""Slices at low magnification beside simpler ways, slice by slice.

    python benchmarks/low_magnification.py DATA [--only slices,stack,voi,placement,confidence,time]
        [--factors 8,4,16] [--weights FOLDER]

DATA is a folder with vnc_stack1.tif, snemi3d_z34_73.tif, isbi2012_train.tif and the instances of
the last two.  Slices are reduced by area and enlarged again.  The bundled weights have seen
vnc_stack1 up to slice 15, and nothing of SNEMI3D and isbi2012_train.  "smooth" is vnc_stack1
blurred by 1.5 px at half of its contrast, as volumes of adult flies look.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sff_napari.alignment import Similarity
from sff_napari.commands.base import table
from sff_napari.evaluation.metrics import psnr
from sff_napari.evaluation.segmentation import instances_in_slice, segment, segmentation_scores
from sff_napari.low_magnification import enlarge, enlarge_stack, in_place
from sff_napari.low_magnification.placement import best_matches, find_placement, mean_placement
from sff_napari.stacks import open_stack

SMOOTH = "vnc_stack1 smooth"
SLICES = {"vnc_stack1": (16, 17, 18), SMOOTH: (16, 17, 18), "snemi3d_z34_73": (5, 15, 25, 35)}
SEGMENTED = {"isbi2012_train": (3, 13, 23), "snemi3d_z34_73": (5, 20, 35)}
ROWS = ("bicubic", "back-projected", "mean", "aligned mean", "aligned", "default")

Image = NDArray[np.uint8]


def reduced(image: NDArray[np.generic], factor: int) -> Image:
    rows, columns = (side // factor for side in image.shape)
    blocks = image.astype(np.float64).reshape(rows, factor, columns, factor)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)


def stack_of(data: Path, name: str) -> list[Image]:
    with open_stack(data / f"{name.partition(' ')[0]}.tif") as stack:
        images = [np.asarray(stack[z]) for z in range(len(stack))]
    if name != SMOOTH:
        return images
    blurred = [gaussian_filter(image.astype(np.float32), 1.5) for image in images]
    return [np.rint(64 + image / 2).astype(np.uint8) for image in blurred]


def enlarged(
    images: list[Image], z: int, factor: int, weights: Path | None
) -> dict[str, tuple[Image, dict]]:
    """Return the slice by every way."""
    around = images[z - 1], images[z + 1]
    low = reduced(images[z], factor)
    found = {}
    for method in ("bicubic", "back-projected", "aligned", "default"):
        made = enlarge(
            low, *around, factor=factor, method=method, weights=weights,
            placement=in_place(images[z].shape),
        )  # fmt: skip
        found[method] = made.restored, made.report
        if method == "aligned":
            found["aligned mean"] = made.reference, {}
    mean = (around[0].astype(np.float32) + around[1]) / 2
    found["mean"] = mean, {}
    return found


def slice_rows(data: Path, factors: list[int], weights: Path | None) -> Iterator[list[str]]:
    for name, numbers in SLICES.items():
        images = stack_of(data, name)
        for factor in factors:
            scores = []
            for z in numbers:
                found = enlarged(images, z, factor, weights)
                scores.append([psnr(found[row][0], images[z]) for row in ROWS])
                off = found["default"][1]["off_low_rms"]
                yield [f"{name} {z}", f"{factor}", *(f"{s:.2f}" for s in scores[-1]), f"{off:.2f}"]
            mean = np.mean(scores, axis=0)
            gain = f"{mean[-1] - mean[1]:+.2f} dB"
            yield [f"{name}, mean", f"{factor}", *(f"{s:.2f}" for s in mean), gain]


def stack_rows(data: Path, factors: list[int], weights: Path | None) -> Iterator[list[str]]:
    for name, numbers in SLICES.items():
        images = stack_of(data, name)
        for factor in factors:
            low = [reduced(image, factor) for image in images]
            scores = []
            for z in numbers:
                row = []
                for method in ("bicubic", "back-projected", "default"):
                    (one,) = enlarge_stack(
                        low, factor=factor, slices=[z], method=method, weights=weights
                    )
                    row.append(psnr(one.restored, images[z]))
                scores.append(row)
                yield [f"{name} {z}", f"{factor}", *(f"{s:.2f}" for s in row), ""]
            mean = np.mean(scores, axis=0)
            gain = f"{mean[-1] - mean[1]:+.2f} dB"
            yield [f"{name}, mean", f"{factor}", *(f"{s:.2f}" for s in mean), gain]


def voi_rows(data: Path, factors: list[int], weights: Path | None) -> Iterator[list[str]]:
    for name, numbers in SEGMENTED.items():
        images, truth = stack_of(data, name), stack_of(data, f"{name}_instances")
        for factor in factors:
            low = [reduced(image, factor) for image in images]
            sums: dict[str, list[float]] = {}
            for z in numbers:
                found = {k: v[0] for k, v in enlarged(images, z, factor, weights).items()}
                (one,) = enlarge_stack(low, factor=factor, slices=[z], weights=weights)
                found |= {"stack": one.restored, "true slice": images[z]}
                true = instances_in_slice(truth[z])
                for way, image in found.items():
                    score = segmentation_scores(segment(image), true)["voi"]
                    sums.setdefault(way, []).append(score)
            mean = {way: float(np.mean(values)) for way, values in sums.items()}
            change = 100 * (mean["default"] / mean["bicubic"] - 1)
            ways = ("true slice", "bicubic", "back-projected", "aligned", "default", "stack")
            yield [name, f"{factor}", *(f"{mean[way]:.3f}" for way in ways), f"{change:+.0f} %"]


def placement_rows(data: Path, factors: list[int]) -> Iterator[list[str]]:
    """Yield by how much placements are off, of moved slices and of slices in place.

    Against the slice itself, with other noise; against its neighbours, whose tissue has moved;
    the same beside what those say of the slice in place; and of slices that do lie in place.
    """
    rng = np.random.default_rng(0)
    for name in ("vnc_stack1", "snemi3d_z34_73"):
        numbers = SLICES[name]
        images = [image.astype(np.float32) / 255 for image in stack_of(data, name)]
        for factor in factors:
            same, around, relative, still = [], [], [], []
            for z in numbers:
                shape = images[z].shape
                share = shape[0] / 1024
                move = Similarity(
                    rng.uniform(-5, 5), rng.uniform(0.97, 1.03),
                    tuple(rng.uniform(-100, 100, 2) * share), 1.0, shape,
                )  # fmt: skip
                turned = cv2.warpAffine(
                    images[z], move.matrix(), shape[::-1], flags=cv2.INTER_CUBIC,
                    borderMode=cv2.BORDER_REFLECT,
                )  # fmt: skip
                low = reduced(turned * 255, factor).astype(np.float32) / 255
                noisy = images[z] + rng.normal(0, 0.05, shape).astype(np.float32)
                beside = [images[z - 1], images[z + 1]]
                same.append(apart(find_placement(low, [noisy], factor)[0], move))
                found = find_placement(low, beside, factor)[0]
                around.append(apart(found, move))
                low = reduced(images[z] * 255, factor).astype(np.float32) / 255
                in_place_too = mean_placement(best_matches(low, beside, factor))
                relative.append(apart(found, move, in_place_too))
                still.append(find_placement(low, beside, factor)[0].displacement)
            parts = (same, around, relative, still)
            cells = (f"{np.mean(part):.2f} ({np.max(part):.2f})" for part in parts)
            yield [name, f"{factor}", *cells]


def apart(one: Similarity, other: Similarity, before: Similarity | None = None) -> float:
    rows, columns = (np.linspace(0, side - 1, 9) for side in one.shape)
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    start = grid if before is None else before.apply(grid)
    return float(np.linalg.norm(one.apply(grid) - other.apply(start), axis=1).mean())


def confidence_rows(data: Path, factors: list[int], weights: Path | None) -> Iterator[list[str]]:
    """Yield how often pixels of a confidence are off by less than half the low spread."""
    for name, numbers in SLICES.items():
        images = stack_of(data, name)
        for factor in factors:
            said, right = [], []
            for z in numbers:
                low = reduced(images[z], factor)
                made = enlarge(
                    low, images[z - 1], images[z + 1], factor=factor, weights=weights,
                    placement=in_place(images[z].shape),
                )  # fmt: skip
                off = np.abs(made.restored.astype(np.float32) - images[z])
                said.append(made.confidence.ravel())
                right.append((off < 0.5 * low.std()).ravel())
            all_said, all_right = np.concatenate(said), np.concatenate(right)
            thirds = np.digitize(all_said, np.quantile(all_said, (1 / 3, 2 / 3)))
            cells = (
                f"{all_said[thirds == k].mean():.2f} / {all_right[thirds == k].mean():.2f}"
                for k in range(3)
            )
            yield [name, f"{factor}", *cells]


def time_rows(data: Path, weights: Path | None) -> Iterator[list[str]]:
    images = stack_of(data, "vnc_stack1")
    low = reduced(images[17], 8)

    def seconds(work: Callable[[], object]) -> str:
        began = time.monotonic()
        work()
        return f"{time.monotonic() - began:.1f}"

    for threads in (1, 2):
        torch.set_num_threads(threads)
        for method in ("aligned", "default"):
            took = seconds(
                lambda method=method: enlarge(
                    low, images[16], images[18], method=method, weights=weights
                )
            )
            yield [f"1024 x 1024, 8 times, {method}, {threads} threads", took]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", default="slices,stack,voi,placement,confidence,time")
    parser.add_argument("--factors", default="8,4,16")
    parser.add_argument("--weights", type=Path)
    chosen = parser.parse_args()
    factors = [int(part) for part in chosen.factors.split(",")]
    heads = {
        "slices": ["one slice, dB", "factor", *ROWS, "off low, grey levels; gain"],
        "stack": ["whole stack, dB", "factor", "bicubic", "back-projected", "default", "gain"],
        "voi": ["VOI, bits", "factor", "true slice", "bicubic", "back-projected", "aligned",
                "default", "stack", "default to bicubic"],
        "placement": ["placement, px: mean (most)", "factor", "against itself",
                      "against neighbours", "beside what those say in place", "in place"],
        "confidence": ["confidence said / true", "factor", "least sure third", "middle", "surest"],
        "time": ["", "seconds"],
    }  # fmt: skip
    makers = {
        "slices": lambda: slice_rows(chosen.data, factors, chosen.weights),
        "stack": lambda: stack_rows(chosen.data, factors, chosen.weights),
        "voi": lambda: voi_rows(chosen.data, factors, chosen.weights),
        "placement": lambda: placement_rows(chosen.data, factors),
        "confidence": lambda: confidence_rows(chosen.data, factors, chosen.weights),
        "time": lambda: time_rows(chosen.data, chosen.weights),
    }
    for part in chosen.only.split(","):
        print(table(heads[part], list(makers[part]())), flush=True)
        print()


if __name__ == "__main__":
    main()
