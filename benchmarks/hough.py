"""Speed of the Hough transform against OpenCV and scikit-image, as ratios, and of detection.

Run ``python benchmarks/hough.py``.  Masks hold 5 % of random pixels, as the
membranes of a slice do, and one straight fold.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from skimage.transform import hough_line

from sff_napari.detection import detect_folds, hough_lines, hough_votes
from sff_napari.devices import choose_device, describe_device
from sff_napari.folds import Fold
from sff_napari.simulation import neuropil, simulate_fold

SKIMAGE_LIMIT = 60.0
"""scikit-image is skipped where it would take longer than this, s."""


def make_mask(side: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = rng.random((side, side), dtype=np.float32) < 0.05
    y, x = np.ogrid[:side, :side]
    mask |= np.abs(0.6 * x + 0.8 * y - 0.7 * side) <= 10
    return mask


def seconds(work: Callable[[], Any], repeats: int) -> float:
    work()
    best = math.inf
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def compare(side: int, step: float, device: torch.device) -> None:
    mask = make_mask(side)
    grey = mask.astype(np.uint8)
    threshold = side // 2
    repeats = 5 if side <= 2048 else 1
    on_cpu = torch.from_numpy(mask)
    theirs = seconds(lambda: cv2.HoughLines(grey, 1, step, threshold), repeats)

    def told(name: str, took: float) -> None:
        print(f"  {name:38s} {1000 * took:9.1f} ms  {took / theirs:6.2f} x cv2", flush=True)

    print(f"{side} x {side}, {math.degrees(step):g} degrees, {mask.mean():.1%} of the pixels set")
    told("cv2.HoughLines", theirs)
    for backend in ("opencv", "torch"):
        took = seconds(
            lambda backend=backend: hough_lines(
                mask, theta=step, threshold=threshold, backend=backend, device="cpu"
            ),
            repeats,
        )
        told(f"ours, backend {backend}, on the cpu", took)
    if device.type != "cpu":
        there = on_cpu.to(device)

        def on_device() -> None:
            hough_lines(there, theta=step, threshold=threshold, backend="torch", device=device)
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        told(f"ours, backend torch, on {device.type}", seconds(on_device, 20))
    angles = np.arange(round(math.pi / step)) * step
    # What it takes grows with the number of votes: guess from a few angles.
    few = seconds(lambda: hough_line(mask, theta=angles[:4]), 1) / 4 * len(angles)
    if few > SKIMAGE_LIMIT:
        print(f"  skimage.transform.hough_line           skipped: it would take about {few:.0f} s")
    else:
        told("skimage.transform.hough_line", seconds(lambda: hough_line(mask, theta=angles), 1))


def batched(device: torch.device) -> None:
    masks = np.stack([make_mask(1024, seed) for seed in range(4)])
    stack = torch.from_numpy(masks).to(device)

    def one_by_one() -> None:
        for mask in masks:
            cv2.HoughLines(mask.astype(np.uint8), 1, math.pi / 180, 512)

    def together() -> None:
        hough_votes(stack)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    theirs, ours = seconds(one_by_one, 3), seconds(together, 3)
    print(
        f"4 slices of 1024 x 1024 in one batch on {device.type}: "
        f"{1000 * ours:.1f} ms, {ours / theirs:.2f} x cv2 one by one"
    )


def detection(device: torch.device) -> None:
    """Print the time of `detect_folds`; the CPU's own time tells more on a busy machine."""
    quarter = neuropil((1, 1024, 1024), seed=0)[0]
    clean = np.tile(quarter, (2, 2))
    fold = Fold([(300.0, 0.0), (1500.0, 2047.0)], 10.0)
    damaged = simulate_fold(clean, fold).damaged
    for name, image in (("one fold", damaged), ("clean", clean)):
        took = seconds(lambda image=image: detect_folds(image, device=str(device)), 5)
        start = time.process_time()
        detect_folds(image, device=str(device))
        busy = time.process_time() - start
        print(
            f"detect_folds, 2048 x 2048, {name:9s} {took:.2f} s, {busy:.2f} s of CPU (target 0.5)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[1024, 2048, 8192])
    parser.add_argument("--degrees", type=float, nargs="+", default=[1.0])
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = choose_device(options.device)
    print(f"{describe_device(device)}; {torch.get_num_threads()} threads")
    for side in options.sides:
        for degrees in options.degrees:
            compare(side, math.radians(degrees), device)
    batched(device)
    detection(device)


if __name__ == "__main__":
    main()
