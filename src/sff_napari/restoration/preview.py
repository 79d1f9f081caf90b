"""Restore one slice quickly at reduced resolution, while a line is dragged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sff_napari.alignment.drift_model import SliceDrift
from sff_napari.alignment.features import Features
from sff_napari.arrays import GreyScale, as_slice
from sff_napari.devices import choose_device
from sff_napari.errors import FoldError, InputError
from sff_napari.folds import Curve, Fold
from sff_napari.folds.law import interpolate
from sff_napari.progress import CancelledCallback, Reporter
from sff_napari.restoration.fusion.seamless import seam_weight
from sff_napari.restoration.neighbours import neighbour as neighbouring
from sff_napari.restoration.neighbours.neighbour import Neighbour
from sff_napari.restoration.neighbours.placement import (
    brought_together,
    moved_by,
    start_offset,
)
from sff_napari.restoration.unfolding.fitted_fold import (
    FittedFold,
    LawUnfolding,
    clearance,
    dark_line,
)
from sff_napari.restoration.unfolding.law_search import fit_side, law_of
from sff_napari.restoration.unfolding.several_folds import nearest_only
from sff_napari.restoration.unfolding.side_scores import side_scores
from sff_napari.warp import sample

SIDE = 208
"""A preview has about the square of this many reduced pixels."""
_MARGIN = 256.0
"""Tissue around the lines that is restored, px: beyond it a fold moves little."""
_COVER = 2.0
_STILL = 0.75
"""Displacements below this many reduced pixels are not worth the loss of resolution."""


@dataclass(frozen=True)
class Preview:
    """A quick result.

    Parameters
    ----------
    image : ndarray, (Y / factor, X / factor) float32
        Grey values of the damaged slice's scale; NaN where the fold changes nothing.
    factor : int
        Pixels a side that were averaged into one.
    """

    image: NDArray[np.float32]
    factor: int


class Previewer:
    """Restores one slice quickly, again and again, while its lines move.

    The slices are reduced, and the neighbours brought to the damaged slice, once.
    What is left out against `restore`: snapping, the refinement of the
    law, motion between the neighbours, the correction of contrast.

    Parameters
    ----------
    previous, following : array_like, (Y, X), or None
        The neighbouring slices; one may be None.
    damaged : array_like, (Y, X)
        The damaged slice.
    folds : sequence of Fold
        The lines as they are now; the resolution is chosen for them.
    device : str or torch.device
        Where to compute.

    Raises
    ------
    InputError
        If a slice cannot be used.
    FoldError
        If there is no fold or one lies outside the slice.
    """

    def __init__(
        self,
        previous: Any,
        damaged: Any,
        following: Any,
        folds: Sequence[Fold],
        *,
        device: str | torch.device = "auto",
    ) -> None:
        slice_ = as_slice(damaged, "damaged slice")
        self.shape = (slice_.shape[0], slice_.shape[1])
        self.device = choose_device(device)
        self.grey = GreyScale.of(slice_)
        self.factor = _factor(folds, self.shape)
        image = torch.from_numpy(_reduced(slice_, self.grey, self.factor)).to(self.device)
        self.finite = torch.isfinite(image)
        self.damaged = torch.nan_to_num(image, nan=0.0)
        beside = []
        for name, array in (("previous", previous), ("following", following)):
            if array is None:
                continue
            one = as_slice(array, f"{name} slice")
            if one.shape != slice_.shape:
                raise InputError(f"The {name} slice and the damaged one differ in shape.")
            scale = self.grey if one.dtype == self.grey.dtype else GreyScale.of(one)
            beside.append(neighbouring.load(name, _reduced(one, scale, self.factor), self.device))
        if not beside:
            raise InputError("Both neighbours are missing: give at least one undamaged slice.")
        known = self._known(folds, (0, 0), (image.shape[0], image.shape[1]))
        beside = [neighbouring.with_contrast_of(one, self.damaged, known) for one in beside]
        small = [fold.scaled(1 / self.factor) for fold in folds]
        self.neighbours: list[Neighbour] = brought_together(beside)
        offset = start_offset(self.neighbours, self.damaged, known, small)
        self.neighbours = [moved_by(one, offset.round()) for one in self.neighbours]
        self.features = [self._features(one.image, one.known) for one in self.neighbours]

    def fits(self, folds: Sequence[Fold]) -> bool:
        """Tell whether the resolution still suits the lines."""
        return _factor(folds, self.shape) <= math.ceil(1.5 * self.factor)

    def __call__(
        self, folds: Sequence[Fold], *, cancelled: CancelledCallback | None = None
    ) -> Preview:
        """Return a preview with the lines where they are now.

        Parameters
        ----------
        folds : sequence of Fold
            In pixels of the full slice.
        cancelled : callable, optional
            Asked often; once it returns True, `Cancelled` is raised.

        Returns
        -------
        Preview
            At reduced resolution.

        Raises
        ------
        FoldError
            If there is no fold or one lies outside the slice.
        Cancelled
            If `cancelled` returned True.
        """
        with _one_thread(self.device):
            return self._restored(folds, Reporter(None, cancelled))

    def _restored(self, folds: Sequence[Fold], reporter: Reporter) -> Preview:
        f = self.factor
        rows, columns = _crop(folds, self.shape, f)
        origin = (rows.start * f, columns.start * f)
        moved = [_shifted(fold, origin) for fold in folds]
        size = (rows.stop - rows.start, columns.stop - columns.start)
        known = self._known(folds, (rows.start, columns.start), size)
        unfolding = self._fit(moved, rows, columns, known, reporter)
        flow, hidden = unfolding.on_grid(size, ((f - 1) / 2, (f - 1) / 2), float(f))
        flow = flow / f
        y = torch.arange(rows.start, rows.stop, device=self.device)[:, None] + flow[0]
        x = torch.arange(columns.start, columns.stop, device=self.device) + flow[1]
        inside = (y > -0.5) & (y < self.damaged.shape[0] - 0.5)
        inside &= (x > -0.5) & (x < self.damaged.shape[1] - 0.5)
        unfolded = sample(self.damaged[None, None], y[None], x[None], "bicubic")[0, 0]
        lost = hidden | ~inside
        reference = torch.stack([one.image[rows, columns] for one in self.neighbours]).mean(0)
        weight = seam_weight(lost)
        restored = (unfolded + weight * (reference - unfolded)).clamp(0, 1)
        changed = (torch.hypot(flow[0], flow[1]) >= _STILL) | (weight > 0.05)
        changed &= self.finite[rows, columns] | lost
        part = restored.cpu().numpy() * np.float32(self.grey.high - self.grey.low)
        part += np.float32(self.grey.low)
        out = np.full(self.damaged.shape, np.nan, dtype=np.float32)
        out[rows, columns] = np.where(changed.cpu().numpy(), part, np.nan)
        return Preview(out, f)

    def _features(self, image: Tensor, known: Tensor) -> Features:
        return replace(Features.of(image, known, 1), pool=self.factor)

    def _known(
        self, folds: Sequence[Fold], first: tuple[int, int], size: tuple[int, int]
    ) -> Tensor:
        """Return where a part of the reduced slice shows tissue, (Y, X) bool."""
        f = self.factor
        origin = (first[0] * f + (f - 1) / 2, first[1] * f + (f - 1) / 2)
        rows, columns = slice(first[0], first[0] + size[0]), slice(first[1], first[1] + size[1])
        known = self.finite[rows, columns].clone()
        for fold in folds:
            # Reduced pixels that the dark line touches at all are left out.
            known &= clearance(fold, size, self.device, origin, float(f)) > _COVER + f / 2
        return known

    def _fit(
        self,
        folds: Sequence[Fold],
        rows: slice,
        columns: slice,
        known: Tensor,
        reporter: Reporter,
    ) -> LawUnfolding:
        f = self.factor
        shape = (known.shape[0] * f, known.shape[1] * f)
        part = self._features(self.damaged[rows, columns], known)
        beside = [
            Features(one.values[rows, columns], one.known[rows, columns], f)
            for one in self.features
        ]
        fitted = []
        for index, fold in enumerate(folds):
            reporter.check()
            curve = Curve.of(fold, self.device).smoothed()
            knots, widths = dark_line(curve, fold, _COVER)
            steps = torch.arange(int(curve.length / f) + 1, device=self.device) * float(f)
            half_width = interpolate(knots, widths, steps)
            own = part if len(folds) == 1 else nearest_only({f: part}, folds, index, self.device)[f]
            sides = [
                side_scores(
                    curve,
                    half_width,
                    own,
                    beside,
                    side,
                    window=max(32, 16 * f),
                    reach=_MARGIN,
                    reporter=reporter,
                )
                for side in (-1, 1)
            ]
            fits = [fit_side(side, curve.length) for side in sides]
            # A side that shows hardly any tissue borrows the other's law.
            evidence = [float(side.weight.sum()) for side in sides]
            if min(evidence) < 0.1 * max(evidence):
                best = fits[evidence.index(max(evidence))]
                fits = [best, best]
            law = law_of(curve, widths, knots, (fits[0], fits[1])).with_ends(curve, shape)
            drift = SliceDrift.none(shape, self.device)
            fitted.append(FittedFold(fold, curve, law, (fits[0], fits[1]), drift))
        return LawUnfolding(fitted, _COVER)


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """Compute in this thread alone: for many small steps, waiting for others costs more."""
    count = torch.get_num_threads()
    if device.type != "cpu" or count == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)


def _factor(folds: Sequence[Fold], shape: tuple[int, int]) -> int:
    """Return how many pixels a side become one, so that a preview has a fixed cost."""
    rows, columns = _crop(folds, shape, 1)
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    # Thinner than the dark line itself there would be nothing left to see.
    return max(1, min(round(math.sqrt(area) / SIDE), min(shape) // 64))


def _crop(folds: Sequence[Fold], shape: tuple[int, int], factor: int) -> tuple[slice, slice]:
    """Return the part of the reduced slice around the lines."""
    if not folds:
        raise FoldError("There is no fold to restore: detect or draw a fold line first.")
    for fold in folds:
        fold.check_inside(shape)
    points = np.concatenate([np.asarray(fold.vertices) for fold in folds])
    parts = []
    for axis in range(2):
        count = shape[axis] // factor
        low = int(max(0, (points[:, axis].min() - _MARGIN) // factor))
        high = int(min(count, (points[:, axis].max() + _MARGIN) // factor + 1))
        # A side shorter than the windows cannot be compared.
        least = min(count, max(32, math.ceil(64 / factor)))
        if high - low < least:
            low = max(0, min(low, count - least))
            high = low + least
        parts.append(slice(low, high))
    return parts[0], parts[1]


def _shifted(fold: Fold, origin: tuple[int, int]) -> Fold:
    """Return a fold in the pixels of a crop that begins at `origin`."""
    return fold.with_changes(vertices=[(y - origin[0], x - origin[1]) for y, x in fold.vertices])


def _reduced(array: NDArray[Any], grey: GreyScale, factor: int) -> NDArray[np.float32]:
    """Return working values as the mean of blocks, (Y / factor, X / factor)."""
    f = factor
    height, width = array.shape[0] // f * f, array.shape[1] // f * f
    if f == 1:
        return grey.to_unit(array)
    out = np.empty((height // f, width // f), dtype=np.float32)
    # In bands, so that a large slice never lies in memory as float.
    band = max(f, (1 << 20) // max(width, 1) // f * f)
    for top in range(0, height, band):
        part = grey.to_unit(array[top : min(top + band, height), :width])
        rows = part.shape[0] // f
        out[top // f : top // f + rows] = part.reshape(rows, f, width // f, f).mean(axis=(1, 3))
    return out
