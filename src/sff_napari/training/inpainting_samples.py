"""Make samples for the filling network: a clean slice with a band to be filled."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sff_napari.folds import Curve
from sff_napari.simulation import RealisticRanges, random_realistic, random_straight
from sff_napari.warp import sample as read_at

_UNSURE = 0.8
"""Spread, px, of the error with which each side of a fold is put back."""
_LEAST, _MOST = 0.08, 0.75
"""Share of a crop that may be hidden."""
_ZOOM = (0.8, 1.3)
"""Range of the factors by which half of the samples are made larger or smaller."""
_ALONE = 0.1
"""Share of the samples with a single neighbour, as slices at the end of a stack have."""


def band_sample(
    triple: NDArray[np.float32],
    folds: str,
    ranges: RealisticRanges | None,
    rng: np.random.Generator,
    varied: bool,
) -> dict[str, Tensor]:
    """Return what the filling network is given, and the clean slice.

    Parameters
    ----------
    triple : ndarray, (3, Y, X)
        Square parts of clean slices in [0, 1], the neighbours moved half way along
        their mutual drift.
    folds : {"straight", "realistic", "mixed"}
        What the band is swallowed by.
    ranges : RealisticRanges, optional
        Of realistic folds.
    rng : Generator
        Source of randomness.
    varied : bool
        Whether the sides are put back with errors and neighbours may be missing.

    Returns
    -------
    dict of str to Tensor
        ``unfolded``, ``previous``, ``following``, ``clean`` (1, Y, X) float32, in
        spreads around the mean of the neighbours; ``hidden`` (1, Y, X) bool; ``mean``
        and ``spread`` (1, 1, 1), to have grey values in [0, 1] again.
    """
    previous, clean, following = torch.from_numpy(triple)
    side = clean.shape[-1]
    hidden, shift = _band(side, folds, ranges, rng)
    seen = clean
    if varied:
        place = torch.arange(side, dtype=torch.float32)
        y, x = shift[0] + place[:, None], shift[1] + place
        seen = read_at(clean[None, None], y[None], x[None], "bicubic", "reflection")[0, 0]
        # Beside a fold contrast is lost, and never quite restored.
        seen = seen.mean() + (seen - seen.mean()) * float(np.exp(rng.normal(0, 0.08)))
        seen = seen + clean.std() * float(rng.normal(0, 0.06))
        if rng.uniform() < 0.5:
            previous, following = following, previous
        if rng.uniform() < _ALONE:
            following = previous
    both = torch.stack([previous, following])
    mean, spread = both.mean(), both.std().clamp_min(1e-3)
    if varied:
        # Brightness and contrast are those of whole slices in use, and parts of them differ.
        mean = mean + spread * float(rng.normal(0, 0.15))
        spread = spread * float(np.exp(rng.normal(0, 0.12)))
    planes = {"unfolded": seen, "previous": previous, "following": following, "clean": clean}
    sample = {name: ((image - mean) / spread)[None] for name, image in planes.items()}
    return sample | {
        "hidden": hidden[None],
        "mean": mean.reshape(1, 1, 1),
        "spread": spread.reshape(1, 1, 1),
    }


def zoomed_side(crop: int, rng: np.random.Generator) -> int:
    """Return the side of the crop to draw, px, so that pixels get a random size; see `zoomed`."""
    zoom = rng.uniform(*_ZOOM) if rng.uniform() < 0.5 else 1.0
    return round(crop * zoom)


def zoomed(triple: NDArray[np.float32], crop: int) -> NDArray[np.float32]:
    """Return slices (3, Y, X) resized to a square of side `crop`, px."""
    if triple.shape[1] == crop:
        return triple
    images = torch.from_numpy(triple)[:, None]
    size = (crop, crop)
    resized = functional.interpolate(images, size, mode="bicubic", antialias=True)
    return np.asarray(resized[:, 0].clamp(0, 1).numpy())


def _band(
    crop: int, folds: str, ranges: RealisticRanges | None, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return where tissue is hidden (Y, X), and the error (2, Y, X) of what lies beside it, px."""
    hidden = torch.zeros((crop, crop), dtype=torch.bool)
    shift = torch.zeros((2, crop, crop))
    # Lines of slices larger than the crop, so that widths and bends are those of real slices.
    side = max(3 * crop, 512)
    for _ in range(30):
        real = folds == "realistic" or (folds == "mixed" and rng.uniform() < 0.5)
        shape = (side, side)
        plan = random_realistic(shape, rng, ranges) if real else random_straight(shape, rng)
        line = Curve.of(plan.fold)
        along = float(rng.uniform(0.1, 0.9)) * line.length
        centre = line.place(torch.tensor([along]), torch.tensor([float(rng.normal(0, crop / 5))]))
        origin = tuple(float(v) - crop / 2 for v in centre[:, 0])
        at = line.on_grid((crop, crop), (origin[0], origin[1]))
        hidden = plan.law.is_hidden(at.along, at.distance)
        share = float(hidden.to(torch.float32).mean())
        if not _LEAST <= share <= _MOST:
            continue
        errors = rng.normal(0, _UNSURE, size=(2, 2))
        beyond = at.distance > 0
        tangent = torch.stack([-at.normal[1], at.normal[0]])
        for number, where in enumerate((beyond, ~beyond)):
            # Across the line a fit errs more than along it.
            error = errors[number, 0] * at.normal + 0.3 * errors[number, 1] * tangent
            shift = torch.where(where, error, shift)
        return hidden, shift
    # A square in the middle, if no line would do.
    quarter = crop // 4
    hidden = torch.zeros((crop, crop), dtype=torch.bool)
    hidden[quarter:-quarter, quarter:-quarter] = True
    return hidden, torch.zeros((2, crop, crop))
