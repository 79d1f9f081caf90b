"""Fill what folds swallowed by a network that sees the slice around it and both neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from sff_napari.devices import autocast
from sff_napari.networks import FillingNetwork
from sff_napari.restoration.fusion.seamless import Seamless, seam_weight
from sff_napari.restoration.interpolation.weighted import Interpolator
from sff_napari.restoration.neighbours.neighbour import Neighbour

WINDOW = 160
"""Side of what the network sees at a time, px."""
STRIDE = 128
"""Distance of the windows, px; where they overlap, one fades into the next."""
_DETAIL = 0.9
"""Share of the network's detail that is shown: all of it is sharper, less of it errs less."""
_BATCH = 4
"""Windows computed at a time."""
CERTAINTY_STEP = 8
"""Pixels between places at which the certainty is kept."""

Unfolded = Callable[[slice, slice], tuple[Tensor, Tensor]]
"""Gives the unfolded slice (Y, X) of a region, and where it has no source."""


class Learned:
    """Contrast beside the fold restored, the hidden band filled by the filling network.

    Windows lie on a grid of the slice, so that the result does not depend on tiles.
    Only those that hold hidden pixels are computed, once.

    Parameters
    ----------
    network : FillingNetwork
        In evaluation mode, on the slices' device.
    seamless : Seamless
        Corrects what was observed, and the brightness of the neighbours.
    interpolator : Interpolator
        Gives the neighbours where the slice lies.
    neighbours : list of Neighbour
        For the brightness and contrast of the slices.
    unfolded : callable
        See `Unfolded`.
    shape : (height, width)
        Of what is at hand, px: the slice, or part of it.
    begin : (row, column)
        Where that begins in the slice.
    detailed : bool
        Show the detail of tissue; else what is expected, with the least error.
    """

    def __init__(
        self,
        network: FillingNetwork,
        seamless: Seamless,
        interpolator: Interpolator,
        neighbours: list[Neighbour],
        unfolded: Unfolded,
        shape: tuple[int, int],
        begin: tuple[int, int] = (0, 0),
        detailed: bool = True,
    ) -> None:
        self.network = network
        self._detailed = detailed
        self._seamless, self._interpolator, self._unfolded = seamless, interpolator, unfolded
        self._shape, self._begin = shape, begin
        values = torch.stack([one.image[one.known].mean() for one in neighbours])
        spreads = torch.stack([one.image[one.known].std() for one in neighbours])
        self._mean, self._spread = values.mean(), spreads.mean().clamp_min(1e-3)
        ramp = torch.ones(WINDOW)
        overlap = WINDOW - STRIDE
        rise = (torch.arange(overlap, dtype=torch.float32) + 0.5) / overlap
        ramp[:overlap], ramp[-overlap:] = rise, rise.flip(0)
        self._ramp = (ramp[:, None] * ramp).to(self._mean.device)
        self._tile: tuple[Tensor, Tensor, tuple[int, int]] | None = None
        self._windows: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def on_tile(
        self, unfolded: Tensor, reference: Tensor, hidden: Tensor, origin: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return the restored tile and the share of it that is synthesised, both (Y, X)."""
        observed, _ = self._seamless.corrected(unfolded, origin)
        if not bool(hidden.any()):
            return observed, torch.zeros_like(observed)
        weight = seam_weight(hidden)
        self._tile = unfolded, hidden, origin
        filled = self._on_region(weight > 0, origin)
        mixed = observed + weight * (filled - observed)
        restored = torch.where(weight > 0, torch.where(hidden, filled, mixed), observed)
        return restored, weight

    def certainty(self, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return how what was filled in should correlate with true tissue, on a coarse grid.

        Parameters
        ----------
        shape : (height, width)
            Of the grid: places every `CERTAINTY_STEP` px, the first in the middle of such
            a square.

        Returns
        -------
        correlation, weight : Tensor, (height, width)
            Weight is zero where no tile with hidden pixels was made.
        """
        total = torch.zeros(shape, device=self._mean.device)
        weight = torch.zeros_like(total)
        step = CERTAINTY_STEP
        ramp = self._ramp[step // 2 :: step, step // 2 :: step]
        for (row, column), (_, certain) in self._windows.items():
            top = (_first(row) - self._begin[0]) // step
            left = (_first(column) - self._begin[1]) // step
            rows = slice(max(top, 0), min(top + len(ramp), shape[0]))
            columns = slice(max(left, 0), min(left + len(ramp), shape[1]))
            inner = (
                slice(rows.start - top, rows.stop - top),
                slice(columns.start - left, columns.stop - left),
            )
            total[rows, columns] += (ramp * certain)[inner]
            weight[rows, columns] += ramp[inner]
        return total / weight.clamp_min(1e-6), weight

    def _on_region(self, wanted: Tensor, origin: tuple[int, int]) -> Tensor:
        """Return the filling (Y, X) in [0, 1] where it is wanted."""
        begin = (origin[0] + self._begin[0], origin[1] + self._begin[1])
        found = list(_windows_of(wanted, begin))
        missing = [index for index, _, _ in found if index not in self._windows]
        for start in range(0, len(missing), _BATCH):
            self._fill(missing[start : start + _BATCH])
        total = torch.zeros(wanted.shape, device=wanted.device)
        weight = torch.zeros_like(total)
        for index, region, inner in found:
            total[region] += (self._ramp * self._windows[index][0])[inner]
            weight[region] += self._ramp[inner]
        return total / weight.clamp_min(1e-6)

    def _fill(self, places: list[tuple[int, int]]) -> None:
        """Compute the filling of windows, in [0, 1], and its certainty on a coarse grid."""
        planes, masks = zip(*(self._given(place) for place in places), strict=True)
        images, mask = torch.stack(planes), torch.stack(masks)
        with torch.inference_mode(), autocast(images.device):
            out = self.network(images[:, :1], mask, images[:, 1:2], images[:, 2:]).float()
        half = CERTAINTY_STEP // 2
        for place, (expected, textured, doubt) in zip(places, out, strict=True):
            filled = expected + _DETAIL * (textured - expected) if self._detailed else expected
            # What explains a share of the variance correlates with its square root, and less
            # by as much as detail adds that need not lie where it lies in truth.
            coarse = doubt[half::CERTAINTY_STEP, half::CERTAINTY_STEP]
            certain = (1 - coarse.exp()).clamp(0, 1).sqrt()
            certain = certain * (expected.std() / filled.std().clamp_min(1e-3)).clamp(max=1)
            self._windows[place] = (filled * self._spread + self._mean).clamp(0, 1), certain

    def _given(self, place: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return what the network is given of a window: slices (3, Y, X) and mask (1, Y, X)."""
        parts = []
        for number, side, begin in zip(place, self._shape, self._begin, strict=True):
            first = _first(number) - begin
            parts.append(slice(max(first, 0), min(first + WINDOW, side)))
        rows, columns = parts
        unfolded, hidden = self._at_hand(rows, columns)
        observed, lift = self._seamless.corrected(unfolded, (rows.start, columns.start))
        around = [one + lift for one in self._interpolator.parts(rows, columns)]
        planes = torch.stack([observed, around[0], around[-1]])
        planes = self._padded((planes - self._mean) / self._spread, place)
        return planes, self._padded(hidden[None].to(planes.dtype), place, outside=1.0)

    def _at_hand(self, rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
        """Return the unfolded slice and what is hidden, from the tile in work if it is there."""
        if self._tile is not None:
            unfolded, hidden, (top, left) = self._tile
            inside = (
                rows.stop - top <= unfolded.shape[0] and columns.stop - left <= unfolded.shape[1]
            )
            if inside and rows.start >= top and columns.start >= left:
                part = (
                    slice(rows.start - top, rows.stop - top),
                    slice(columns.start - left, columns.stop - left),
                )
                return unfolded[part], hidden[part]
        return self._unfolded(rows, columns)

    def _padded(
        self, planes: Tensor, index: tuple[int, int], outside: float | None = None
    ) -> Tensor:
        """Return planes (N, Y, X) of a window that ends at the border as those of a whole one."""
        if planes.shape[1:] == (WINDOW, WINDOW):
            return planes
        reach = []
        for place, size, begin in zip(index, planes.shape[1:], self._begin, strict=True):
            before = max(0, begin - _first(place))
            reach.append((before, WINDOW - before - size))
        (top, bottom), (left, right) = reach
        sides = (left, right, top, bottom)
        if outside is not None:
            return torch.nn.functional.pad(planes, sides, value=outside)
        return torch.nn.functional.pad(planes[None], sides, mode="replicate")[0]


def _first(place: int) -> int:
    """Return the first pixel of a window, in y or x."""
    return place * STRIDE - (WINDOW - STRIDE)


def _windows_of(
    wanted: Tensor, origin: tuple[int, int]
) -> Iterator[tuple[tuple[int, int], tuple[slice, slice], tuple[slice, slice]]]:
    """Yield the windows that wanted pixels lie in: index, place in the region, place within."""
    spans = []
    for start, size in zip(origin, wanted.shape, strict=True):
        low = (start - WINDOW + (WINDOW - STRIDE)) // STRIDE
        high = (start + size + (WINDOW - STRIDE)) // STRIDE
        spans.append(
            [
                (place, max(_first(place), start), min(_first(place) + WINDOW, start + size))
                for place in range(low, high + 1)
                if min(_first(place) + WINDOW, start + size) > max(_first(place), start)
            ]
        )
    for row, top, bottom in spans[0]:
        for column, left, right in spans[1]:
            region = (
                slice(top - origin[0], bottom - origin[0]),
                slice(left - origin[1], right - origin[1]),
            )
            if bool(wanted[region].any()):
                inner = (
                    slice(top - _first(row), bottom - _first(row)),
                    slice(left - _first(column), right - _first(column)),
                )
                yield (row, column), region, inner
