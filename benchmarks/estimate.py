"""What a whole volume would take, from figures measured on one core.

    python benchmarks/estimate.py --shape 7062,155648,286720 --folded 0.032

The figures it starts from are options; their defaults are those of docs/benchmarks.md and
docs/volumes.md.
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from sff_napari.simulation import random_realistic
from sff_napari.volumes.plan.blocks import DEFAULT_TILE, cut


def pieces_of_a_fold(shape: tuple[int, int], count: int, seed: int) -> tuple[float, float]:
    """Return how many pieces and pixels are restored of a slice with a fold, on average.

    Parameters
    ----------
    shape : (Y, X)
        Of the slices, px.
    count : int
        Random folds that are drawn.
    seed : int
        Of their course.
    """
    rng = np.random.default_rng(seed)
    numbers, pixels = [], []
    for _ in range(count):
        fold = random_realistic(shape, rng).fold
        made = [piece for piece, _ in cut(shape, DEFAULT_TILE, [fold])]
        numbers.append(len(made))
        pixels.append(sum(piece.pixels for piece in made))
    return float(np.mean(numbers)), float(np.mean(pixels))


def main() -> None:
    """Print the estimate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="7062,155648,286720", help="Z,Y,X in px.")
    parser.add_argument("--folded", type=float, default=0.032, help="Share of folded slices.")
    parser.add_argument("--detect", type=float, default=26, help="Mpx a core second searches.")
    parser.add_argument("--restore", type=float, default=0.28, help="Mpx a core second restores.")
    parser.add_argument("--gpu", type=float, help="Mpx a second that one GPU restores.")
    parser.add_argument("--cores", type=int, default=256, help="Of the cluster.")
    parser.add_argument("--draws", type=int, default=20, help="Random folds that are drawn.")
    chosen = parser.parse_args()
    depth, height, width = (int(part) for part in chosen.shape.split(","))
    slices = round(depth * chosen.folded)
    number, pixels = pieces_of_a_fold((height, width), chosen.draws, 0)
    searching = depth * height * width / 1e6 / chosen.detect / 3600
    restoring = slices * pixels / 1e6 / chosen.restore / 3600
    chunk = 1024
    # Chunks that a piece touches; the levels above add a third; what they were is kept as well.
    touched = number * math.ceil((DEFAULT_TILE + 64) / chunk + 1) ** 2 * chunk**2 * slices
    image = 2 * touched * 4 / 3
    field = 8 * touched
    print(f"volume                 {depth * height * width / 1e12:.0f} TB at one byte a pixel")
    print(f"slices with a fold     {slices}")
    print(f"restored of a slice    {number:.0f} pieces, {pixels / 1e9:.2f} of "
          f"{height * width / 1e9:.1f} Gpx")  # fmt: skip
    print(f"finding folds          {searching:,.0f} core hours")
    print(f"restoring              {restoring:,.0f} core hours")
    if chosen.gpu:
        print(
            f"                       or {slices * pixels / 1e6 / chosen.gpu / 3600:,.0f} GPU hours"
        )
    print(f"on {chosen.cores} cores           {(searching + restoring) / chosen.cores:,.0f} hours")
    print(f"read once to search    {depth * height * width / 1e12:.0f} TB")
    print(f"an overlay stores      {image / 1e12:.2f} TB of image, at most "
          f"{field / 1e12:.2f} TB of displacement")  # fmt: skip
    print(f"a full copy stores     {depth * height * width * 4 / 3 / 1e12:.0f} TB besides")


if __name__ == "__main__":
    main()
