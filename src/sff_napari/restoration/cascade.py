"""Run the cascade on one device: interpolate, unfold and fuse one slice, tile by tile."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sff_napari.alignment.drift_fields import met_half_way
from sff_napari.alignment.drift_model import DriftPrior, SliceDrift
from sff_napari.alignment.features import Features
from sff_napari.arrays import GreyScale
from sff_napari.errors import InputError
from sff_napari.folds import Fold
from sff_napari.networks import weights
from sff_napari.no_data import find_no_data
from sff_napari.progress import Reporter
from sff_napari.restoration.confidence import FlowConfidence, filling_confidence
from sff_napari.restoration.dark_rims import dark_rims
from sff_napari.restoration.fusion.inpainting import CERTAINTY_STEP, Learned
from sff_napari.restoration.fusion.seamless import (
    HALO,
    Fuser,
    NetworkFusion,
    Seamless,
    Statistics,
    Stitch,
)
from sff_napari.restoration.interpolation.weighted import (
    Interpolator,
    NetworkInterpolation,
    Weighted,
    motion,
    mutual_drift,
)
from sff_napari.restoration.methods import Methods
from sff_napari.restoration.neighbours import neighbour as neighbouring
from sff_napari.restoration.neighbours.neighbour import Neighbour
from sff_napari.restoration.neighbours.placement import (
    brought_together,
    distance_between,
    start_offset,
)
from sff_napari.restoration.unfolding.fitted_fold import LawUnfolding, clearance
from sff_napari.restoration.unfolding.network import NetworkUnfolding, NoUnfolding
from sff_napari.restoration.unfolding.several_folds import fit_folds
from sff_napari.tiling import grown, tiles
from sff_napari.warp import sample

CONFIDENCE_STEP = CERTAINTY_STEP
"""Pixels between places at which the confidence is worked out."""
_FAR = 60.0
"""Pixels from the line beyond which brightness is compared with the neighbours."""


@dataclass(frozen=True)
class Tile:
    """Results for one tile, as NumPy arrays (Y, X) in working values; see `Restoration`."""

    restored: NDArray[np.float32]
    reference: NDArray[np.float32]
    unfolded: NDArray[np.float32]
    flow: NDArray[np.float32]
    synthesised: NDArray[np.float32]
    changed: NDArray[np.bool_]


class Cascade:
    """The three stages, set up for one slice.

    Parameters
    ----------
    damaged : ndarray, (Y, X)
        The damaged slice.
    grey : GreyScale
        Its grey scale.
    around : dict of str to ndarray
        Its neighbours, "previous" and "following" or one of them.
    folds : list of Fold
        The fold lines.
    methods : Methods
        What to use.
    device : torch.device
        Where to compute.
    tile : int
        Side of the tiles, px.
    reporter : Reporter
        Told of progress, asked for cancellation.
    unfolding : LawUnfolding, optional
        What the folds did, if it is known already; else it is found out here.
    origin : (row, column)
        Where `damaged` begins in the whole slice: what is made up for a part of a
        slice is what would be made up for all of it.
    prior : DriftPrior, optional
        What is known of the drift of the slice.
    """

    def __init__(
        self,
        damaged: NDArray[Any],
        grey: GreyScale,
        around: dict[str, NDArray[Any]],
        folds: list[Fold],
        methods: Methods,
        device: torch.device,
        tile: int,
        reporter: Reporter,
        unfolding: LawUnfolding | None = None,
        origin: tuple[int, int] = (0, 0),
        prior: DriftPrior | None = None,
    ) -> None:
        self.shape = (damaged.shape[0], damaged.shape[1])
        self.grey = grey
        self.folds = folds
        self.methods = methods
        self.device = device
        self.tile = tile
        self.origin = origin
        self._networks: dict[str, str] = {}
        reporter(0.0, "Comparing the slices")
        image = torch.from_numpy(grey.to_unit(damaged)).to(device)
        self.finite = torch.isfinite(image)
        self.damaged = torch.nan_to_num(image, nan=0.0)
        del image
        distance = self._clearance()
        empty = find_no_data(damaged)
        if empty is not None:
            # What somebody calls a fold is one, also if it looks like a gap between tiles.
            self.finite &= ~torch.from_numpy(empty).to(device) | (distance <= methods.cover)
        self.all_finite = bool(self.finite.all())
        self.rims = dark_rims(self.damaged, distance, self.finite, methods.cover)
        known = (distance > methods.cover) & self.finite
        if self.rims is not None:
            known &= ~self.rims
        far = (distance > _FAR) & self.finite
        del distance
        self.neighbours = self._prepare(around, grey, known, far)
        reporter(0.1, "Interpolating")
        needed = methods.unfolding == "law" or methods.interpolation == "motion"
        self.mutual = mutual_drift(self.neighbours) if needed else None
        part = reporter.part(0.1, 0.9)
        self.unfolding: LawUnfolding | NetworkUnfolding | NoUnfolding
        if unfolding is not None:
            self.unfolding = unfolding
            self.interpolator = self._interpolator(unfolding.drift)
        elif methods.unfolding == "law":
            # The interpolator comes after it: it reads the neighbours where the slice lies.
            self.unfolding = fit_folds(
                folds,
                (self.damaged, known),
                [(one.image, one.known) for one in self.neighbours],
                cover=methods.cover,
                mutual=self.mutual,
                offset=start_offset(self.neighbours, self.damaged, known, folds),
                prior=(prior or DriftPrior()).between(distance_between(self.neighbours)),
                reporter=part,
            )
            self.interpolator = self._interpolator(self.unfolding.drift)
        else:
            self.interpolator = self._interpolator(None)
            if methods.unfolding == "network":
                self.unfolding = NetworkUnfolding(
                    self._network("unfolding"),
                    folds,
                    self.damaged,
                    self.interpolator,
                    methods.cover,
                    tile,
                    part,
                )
            else:
                self.unfolding = NoUnfolding(folds, methods.cover, device)
        reporter(0.9, "Fusing")
        self.fuser = self._fuser(known)
        reporter(1.0, "Fusing")

    def _clearance(self) -> Tensor:
        """Return how far each pixel is from the nearest dark line, (Y, X) in px; <= 0 on it."""
        nearest = torch.full(self.shape, math.inf, device=self.device)
        for rows, columns in tiles(self.shape, self.tile):
            size = (rows.stop - rows.start, columns.stop - columns.start)
            origin = (float(rows.start), float(columns.start))
            for fold in self.folds:
                clear = clearance(fold, size, self.device, origin)
                nearest[rows, columns] = torch.minimum(nearest[rows, columns], clear)
        return nearest

    def _prepare(
        self, around: dict[str, NDArray[Any]], grey: GreyScale, known: Tensor, far: Tensor
    ) -> list[Neighbour]:
        if float(far.float().mean()) < 0.2:
            far = known
        prepared = []
        for name, array in around.items():
            scale = grey if array.dtype == grey.dtype else GreyScale.of(array)
            one = neighbouring.load(name, scale.to_unit(array), self.device, find_no_data(array))
            prepared.append(neighbouring.with_contrast_of(one, self.damaged, far))
        return brought_together(prepared)

    def _network(self, kind: Any) -> Any:
        place = self.methods.weights_of(kind)
        network = weights.load(kind, place, self.device)
        self._networks[kind] = weights.digest(kind, place)
        return network

    def _interpolator(self, drift: SliceDrift | None) -> Interpolator:
        choice = self.methods.interpolation
        if choice == "motion":
            return motion(self.neighbours, self.mutual, drift)
        if choice == "network":
            return NetworkInterpolation(self._network("interpolation"), self.neighbours)
        if choice == "mean":
            return Weighted(self.neighbours)
        chosen = [one for one in self.neighbours if one.name == choice]
        if not chosen:
            raise InputError(
                f"The {choice} slice is missing and cannot be copied: choose another interpolation."
            )
        return Weighted(chosen)

    def _fuser(self, known: Tensor) -> Fuser:
        choice = self.methods.fusion
        if choice == "stitch":
            return Stitch()
        if choice.startswith("network"):
            return NetworkFusion(self._network("fusion"), choice == "network-everywhere")
        grid, first, step = Seamless.grid(self.shape)
        flow, hidden = self.unfolding.on_grid(grid, (first, first), step)
        observed = Statistics.of(self.damaged, known).warped(flow, hidden)
        expected = [Statistics.of(one.image, one.known) for one in self.neighbours]
        # Only the brightness of the reference counts here; drift does not change it.
        filling = torch.stack([one.mean for one in expected]).mean(0)
        if isinstance(self.interpolator, NetworkInterpolation):
            filling = self._reference_mean()
        seamless = Seamless(observed, expected, filling, hidden)
        if choice == "seamless":
            return seamless
        return Learned(
            self._network("filling"),
            seamless,
            self.interpolator,
            self.neighbours,
            lambda rows, columns: self._unfold(rows, columns)[1:],
            self.shape,
            self.origin,
            choice == "learned",
        )

    def _reference_mean(self) -> Tensor:
        """Return the mean of the reference on the grid of the statistics."""
        reference = torch.empty(self.shape, device=self.device)
        for rows, columns in tiles(self.shape, self.tile):
            reference[rows, columns] = self.interpolator.on_tile(rows, columns)
        return Statistics.of(reference, torch.ones_like(self.finite)).mean

    def tiles(self) -> Iterator[tuple[float, tuple[slice, slice], Tile]]:
        """Yield the share done, the place and the results of each tile."""
        parts = list(tiles(self.shape, self.tile))
        for number, (rows, columns) in enumerate(parts):
            yield number / len(parts), (rows, columns), self._tile(rows, columns)

    def _tile(self, rows: slice, columns: slice) -> Tile:
        (outer_rows, outer_columns), inner = grown(rows, columns, self.shape, HALO, 8)
        flow, unfolded, lost = self._unfold(outer_rows, outer_columns)
        still = self.damaged[outer_rows, outer_columns]
        reference = self.interpolator.on_tile(outer_rows, outer_columns).clamp(0, 1)
        restored, synthesised = self.fuser.on_tile(
            unfolded, reference, lost, (outer_rows.start, outer_columns.start)
        )
        # Where the slice holds no data it stays as it is.
        finite = self.finite[outer_rows, outer_columns]
        changed = (restored != still) & finite
        synthesised = torch.where(finite, synthesised, 0.0)
        lost = lost & finite
        unknown = lost | ~finite
        flow = flow.masked_fill(unknown, torch.nan)
        unfolded = unfolded.masked_fill(unknown, torch.nan)

        def cut(tensor: Tensor) -> Any:
            return tensor[..., inner[0], inner[1]].contiguous().cpu().numpy()

        return Tile(
            cut(restored.clamp(0, 1)),
            cut(reference),
            cut(unfolded),
            cut(flow),
            cut(synthesised),
            cut(changed),
        )

    def _unfold(self, rows: slice, columns: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Return flow (2, Y, X), unfolded slice and where it has no source, for a region."""
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        flow, hidden = self.unfolding.on_grid(shape, (float(rows.start), float(columns.start)))
        y = torch.arange(rows.start, rows.stop, device=self.device)[:, None] + flow[0]
        x = torch.arange(columns.start, columns.stop, device=self.device) + flow[1]
        outside = (y < -0.5) | (y > self.shape[0] - 0.5) | (x < -0.5) | (x > self.shape[1] - 0.5)
        hidden = hidden | outside
        moved = (flow != 0).any(0)
        still = self.damaged[rows, columns]
        if bool(moved.any()):
            unfolded = sample(self.damaged[None, None], y[None], x[None], "bicubic")[0, 0]
            unfolded = torch.where(moved, unfolded.clamp(0, 1), still)
        else:
            unfolded = still.clone()
        lost = hidden
        if not self.all_finite:
            gaps = (~self.finite)[None, None].to(torch.float32)
            lost = hidden | ((sample(gaps, y[None], x[None], "bilinear")[0, 0] > 0.01) & moved)
        if self.rims is not None:
            dark = self.rims[None, None].to(torch.float32)
            lost = lost | (sample(dark, y[None], x[None], "bilinear")[0, 0] > 0.01)
        return flow, unfolded, lost

    def confidence(self) -> Tensor | None:
        """Return how sure each pixel is on a coarse grid, None for methods that cannot tell.

        Returns
        -------
        Tensor, (2, rows, columns) or None
            Chance that the flow is within 1 px of the true one; correlation that
            made-up tissue should have with the true tissue.  Every
            `CONFIDENCE_STEP` px, the first in the middle of such a square.  The
            filling network tells of tiles that were made.
        """
        if not isinstance(self.unfolding, LawUnfolding):
            return None
        step = CONFIDENCE_STEP
        grid = (-(-self.shape[0] // step), -(-self.shape[1] // step))
        sure = FlowConfidence(self.unfolding.fitted).on_grid(
            grid, ((step - 1) / 2, (step - 1) / 2), float(step)
        )
        around = [Features.of(one.image, one.known, 4) for one in self.neighbours]
        if self.mutual is not None:
            around = met_half_way(around, self.mutual)
        filling = filling_confidence(around)[None, None]
        filling = F.interpolate(filling, size=grid, mode="bilinear", align_corners=False)[0, 0]
        if isinstance(self.fuser, Learned):
            certain, share = self.fuser.certainty(grid)
            filling = torch.where(share > 0, certain, filling)
        return torch.stack([sure, filling])

    def report(self) -> dict[str, Any]:
        """Return what was chosen and found, in plain JSON types."""
        found: dict[str, Any] = {
            "interpolation": self.methods.interpolation,
            "unfolding": self.methods.unfolding,
            "fusion": self.methods.fusion,
            "cover": self.methods.cover,
            "tile": self.tile,
            "weights": dict(self._networks),
            "neighbours": [
                {
                    "name": one.name,
                    "shift": list(one.shift),
                    "gain": round(one.gain, 4),
                    "offset": round(one.offset, 4),
                }
                for one in self.neighbours
            ],
            "folds": [],
        }
        if isinstance(self.unfolding, LawUnfolding):
            found["folds"] = [one.report() for one in self.unfolding.fitted]
        return found

    def warnings(self) -> list[str]:
        """Return what a user should know about the fits, in sentences."""
        if not isinstance(self.unfolding, LawUnfolding):
            return []
        return [text for one in self.unfolding.fitted for text in one.warnings()]
