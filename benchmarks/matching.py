"""How well windows of neighbouring slices are matched, without any fold.

    python benchmarks/matching.py --data ../shared/data

*Known warp*: a slice is compared with the next one as it is and once more after that was moved by
a smooth warp of 4 px (root mean square); the two must differ by the warp.  *Loop closure*: the
shifts from a slice to the next and on to the one after it must add up to those straight there.
Root mean squares in px over all windows of 64 px, after the smoothing that drift fields have.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sff_napari.alignment.drift_fields import WindowShifts, window_shifts
from sff_napari.alignment.features import Features
from sff_napari.arrays import GreyScale
from sff_napari.stacks import open_stack
from sff_napari.warp import sample, warp

STACKS = {
    "vnc_stack1.tif": (1, 4, 7, 10, 13, 16),
    "vnc_stack2_z00_09.tif": (0, 3, 6),
    "isbi2012_train.tif": (2, 5, 12, 15, 20),
    "snemi3d_z34_73.tif": (3, 12, 21, 30),
}
"""First slices of the triples that are compared."""
_RMS = 4.0
_REACH = 20.0
_POOL = 4


def main() -> None:
    """Print a row a stack."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the stacks")
    data = parser.parse_args().data
    print(f"{'stack':<24}{'known warp px':>15}{'loop closure px':>17}")
    for name, firsts in STACKS.items():
        stack = open_stack(data / name)
        found = []
        for number, z in enumerate(firsts):
            grey = GreyScale.of(stack[z])
            slices = [torch.from_numpy(grey.to_unit(stack[k])) for k in (z, z + 1, z + 2)]
            found.append(errors(slices, np.random.default_rng([3, number])))
        warped, loop = np.sqrt(np.mean(np.square(found), axis=0))
        print(f"{name:<24}{warped:>15.2f}{loop:>17.2f}", flush=True)


def errors(slices: list[Tensor], rng: np.random.Generator) -> tuple[float, float]:
    """Return the errors at a known warp and of a loop for three consecutive slices (Y, X)."""
    field = smooth_warp(slices[0].shape, rng)
    warped = warp(slices[1][None, None], field[None], "bicubic")[0, 0]
    first, second, third, moved = (features(image) for image in (*slices, warped))
    plain, changed = shifts(first, second), shifts(first, moved)
    # What lay at y in the second slice lies at x with x + field(x) = y.
    rows, columns = plain.values.shape[1:]
    places = [plain.first + plain.step * torch.arange(n) for n in (rows, columns)]
    points = torch.stack(torch.meshgrid(*places, indexing="ij")) + changed.values
    there = sample(field[None], points[0][None], points[1][None])[0]
    loop = plain.values + shifts(second, third).values - shifts(first, third).values
    return rms(changed.values + there - plain.values), rms(loop)


def smooth_warp(shape: torch.Size, rng: np.random.Generator) -> Tensor:
    """Return a smooth random warp (2, Y, X), px."""
    knots = torch.from_numpy(rng.standard_normal((1, 2, 4, 4), dtype=np.float32))
    field = F.interpolate(knots, size=tuple(shape), mode="bicubic", align_corners=True)[0]
    return field * _RMS / field.square().sum(0).mean().sqrt()


def features(image: Tensor) -> Features:
    """Return what windows are compared by."""
    return Features.of(image, torch.ones_like(image, dtype=torch.bool), _POOL)


def shifts(first: Features, second: Features) -> WindowShifts:
    """Return where the windows of one slice are found in the other."""
    found = window_shifts(first, [second], _REACH)
    assert found is not None
    return found


def rms(vectors: Tensor) -> float:
    """Return the root mean square length of vectors (2, rows, columns), the rim left out."""
    return float(vectors[:, 1:-1, 1:-1].square().sum(0).mean().sqrt())


if __name__ == "__main__":
    main()
