"""Join what was observed with what has to be made up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from sff_napari.alignment.features import gaussian
from sff_napari.devices import autocast
from sff_napari.folds.curve import grid_points
from sff_napari.networks import FusionNetwork
from sff_napari.warp import sample

Fusion = Literal["learned", "expected", "seamless", "stitch", "network", "network-everywhere"]
FUSIONS: tuple[str, ...] = get_args(Fusion)
FILLED = ("learned", "expected")
"""Fusions that the filling network serves."""

SEAM = 3
"""Pixels over which observed and synthesised tissue are blended."""
NETWORK_REACH = 24
"""Pixels around the hidden band within which the fusion network may be heard."""
HALO = 64
"""Pixels around a tile that fusion also sees."""
_POOL = 4
_BLOCK = 14.0
"""Radius, px, over which contrast is measured: smaller than the blocks it varies in."""
_BRIDGE = 40.0
"""Radius, px, over which brightness is carried from the rim into the hidden band."""
_NEAR = 170.0
"""Distance from the hidden band, px, up to which contrast is corrected; fades from half of it."""
_NOISE = 0.16
"""Natural logarithm of the contrast loss that cannot be told from chance."""


class Fuser(Protocol):
    """Anything that can join an unfolded tile and its reference."""

    def on_tile(
        self, unfolded: Tensor, reference: Tensor, hidden: Tensor, origin: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return the restored tile and the share of it that is synthesised, both (Y, X)."""


def seam_weight(hidden: Tensor, reach: int = SEAM) -> Tensor:
    """Return 1 where hidden, falling to 0 over `reach` pixels outside, (Y, X)."""
    mask = hidden.to(torch.float32)[None, None]
    size = 2 * reach + 1
    blurred = F.avg_pool2d(mask, size, stride=1, padding=reach, count_include_pad=False)
    return torch.maximum(mask, (2 * blurred).clamp(max=1.0))[0, 0]


class Stitch:
    """Hidden pixels from the reference, all others as they are."""

    def on_tile(
        self, unfolded: Tensor, reference: Tensor, hidden: Tensor, origin: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return the restored tile and the share of it that is synthesised, both (Y, X)."""
        return torch.where(hidden, reference, unfolded), hidden.to(torch.float32)


@dataclass(frozen=True)
class Statistics:
    """First and second moments of a slice on a coarse grid.

    Parameters
    ----------
    mean, square : Tensor, (Y / 4, X / 4)
        Means of the grey values and of their squares over 4 x 4 px.
    known : Tensor, (Y / 4, X / 4)
        Share of those pixels that are known.
    """

    mean: Tensor
    square: Tensor
    known: Tensor

    @classmethod
    def of(cls, image: Tensor, known: Tensor) -> Statistics:
        """Return the statistics of a slice (Y, X); what is not `known` does not count."""
        weight = F.avg_pool2d(known.to(image.dtype)[None, None], _POOL)
        masked = torch.where(known, image, image.new_zeros(()))[None, None]
        share = weight.clamp_min(1e-3)
        mean = F.avg_pool2d(masked, _POOL) / share
        square = F.avg_pool2d(masked.square(), _POOL) / share
        return cls(mean[0, 0], square[0, 0], weight[0, 0])

    def warped(self, flow: Tensor, hidden: Tensor) -> Statistics:
        """Return the statistics read at displaced places; `flow` (2, ...) in px."""
        stacked = torch.stack([self.mean, self.square, self.known])[None]
        points = grid_points((flow.shape[1], flow.shape[2]), device=flow.device)
        y, x = points + flow / _POOL
        mean, square, known = sample(stacked, y[None], x[None], "bilinear", "border")[0]
        return Statistics(mean, square, known * (known > 0.9) * ~hidden)


class Seamless:
    """Contrast beside the fold restored, the hidden band filled without a visible seam.

    Observed pixels keep their values but for a smooth gain and offset near the
    fold.  The reference is brought to the brightness of the tissue around the
    hidden band.

    Parameters
    ----------
    observed : Statistics
        Of the unfolded slice.
    expected : sequence of Statistics
        Of the neighbours.
    filling : Tensor, (Y / 4, X / 4)
        Mean of the reference.
    hidden : Tensor, (Y / 4, X / 4) bool
        On the grid of the statistics.
    """

    def __init__(
        self, observed: Statistics, expected: list[Statistics], filling: Tensor, hidden: Tensor
    ) -> None:
        near = _nearness(hidden)
        gain, offset = _contrast_correction(observed, expected, near)
        self.gain, self.offset = gain, offset
        corrected = gain * observed.mean + offset
        lift = _spread((corrected - filling), observed.known, _BRIDGE)
        self.fields = torch.stack([gain, offset, lift])[None]

    @staticmethod
    def grid(shape: tuple[int, int]) -> tuple[tuple[int, int], float, float]:
        """Return shape, first pixel and step of the statistics' grid of a slice (Y, X)."""
        return (shape[0] // _POOL, shape[1] // _POOL), (_POOL - 1) / 2, float(_POOL)

    def on_tile(
        self, unfolded: Tensor, reference: Tensor, hidden: Tensor, origin: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return the restored tile and the share of it that is synthesised, both (Y, X)."""
        observed, lift = self.corrected(unfolded, origin)
        weight = seam_weight(hidden)
        filled = reference + lift
        mixed = observed + weight * (filled - observed)
        restored = torch.where(weight > 0, torch.where(hidden, filled, mixed), observed)
        return restored, weight

    def corrected(self, unfolded: Tensor, origin: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return a tile with its contrast restored, and what to add to the reference (Y, X)."""
        shape = (unfolded.shape[0], unfolded.shape[1])
        points = grid_points(shape, (float(origin[0]), float(origin[1])), device=unfolded.device)
        places = (points - (_POOL - 1) / 2) / _POOL
        gain, offset, lift = sample(self.fields, places[0][None], places[1][None], "bilinear")[0]
        return torch.where(gain == 1, unfolded, gain * unfolded + offset), lift


class NetworkFusion:
    """The paper's fusion network.

    Parameters
    ----------
    network : FusionNetwork
        In evaluation mode, on the tiles' device.
    everywhere : bool
        Use its output for the whole slice, as the paper does; else only in the
        hidden band and close to it, so that observed tissue stays as it is.
    """

    def __init__(self, network: FusionNetwork, everywhere: bool) -> None:
        self.network = network
        self.everywhere = everywhere

    def on_tile(
        self, unfolded: Tensor, reference: Tensor, hidden: Tensor, origin: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return the restored tile and the share of it that is synthesised, both (Y, X)."""
        masked = torch.where(hidden, torch.zeros_like(unfolded), unfolded)
        with torch.inference_mode(), autocast(unfolded.device):
            out = self.network(masked[None, None], reference[None, None])[0, 0].float().clamp(0, 1)
        if self.everywhere:
            return out, torch.ones_like(out)
        weight = seam_weight(hidden, NETWORK_REACH)
        return torch.where(weight > 0, unfolded + weight * (out - unfolded), unfolded), weight


def _nearness(hidden: Tensor) -> Tensor:
    """Return 1 near the hidden band, fading to 0 at a distance, on the coarse grid."""
    shape = hidden.shape
    coarse = 4
    mask = F.max_pool2d(hidden.to(torch.float32)[None, None], coarse, ceil_mode=True)
    half = max(1, int(_NEAR / 2 / _POOL / coarse))
    size = 2 * half + 1
    grown = F.max_pool2d(mask, size, stride=1, padding=half)
    soft = F.avg_pool2d(grown, size, stride=1, padding=half, count_include_pad=False)
    wide = F.interpolate(soft, scale_factor=coarse, mode="bilinear", align_corners=False)
    return wide[0, 0, : shape[0], : shape[1]]


def _spread(values: Tensor, weight: Tensor, reach: float) -> Tensor:
    """Return values carried into places without weight, smooth over `reach` px."""
    sigma = reach / _POOL
    share = gaussian(weight[None, None], sigma)
    total = gaussian((values * weight)[None, None], sigma)
    # A faint wide average serves places far from anything known.
    wide_share = weight.mean().clamp_min(1e-6)
    wide = (values * weight).mean() / wide_share
    return ((total + 1e-3 * wide) / (share + 1e-3))[0, 0]


def _contrast_correction(
    observed: Statistics, expected: list[Statistics], near: Tensor
) -> tuple[Tensor, Tensor]:
    """Return gain and offset (Y / 4, X / 4) that restore contrast near the fold."""
    sigma = _BLOCK / _POOL

    def local(values: Tensor, weight: Tensor) -> Tensor:
        share = gaussian(weight[None, None], sigma)
        return (gaussian((values * weight)[None, None], sigma) / share.clamp_min(1e-3))[0, 0]

    mean = local(observed.mean, observed.known)
    spread = (local(observed.square, observed.known) - mean.square()).clamp_min(1e-6).sqrt()
    want_mean = sum((local(one.mean, one.known) for one in expected), torch.zeros_like(mean))
    want_mean = want_mean / len(expected)
    want = torch.zeros_like(mean)
    for one in expected:
        square = local(one.square, one.known) - local(one.mean, one.known).square()
        want = want + square.clamp_min(1e-6) / len(expected)
    loss = 0.5 * torch.log(want) - torch.log(spread)
    seen = gaussian(observed.known[None, None], sigma)[0, 0] > 0.2
    far = seen & (near == 0)
    base = loss[far].median() if int(far.sum()) > 100 else loss.new_zeros(())
    loss = (loss - base - _NOISE).clamp(0, 1.0)
    loss = _spread(loss, (observed.known * seen), 2 * _BLOCK) * near
    gain = torch.exp(loss)
    gain = torch.where(gain < 1.01, torch.ones_like(gain), gain)
    base_mean = (want_mean - mean)[far].median() if int(far.sum()) > 100 else loss.new_zeros(())
    # The contrast is stretched about the local mean, which moves to the expected one as far
    # as contrast was lost: a loss of contrast and a shift in brightness go together.
    moved = (gain - 1).clamp(max=1) * (want_mean - base_mean - mean)
    offset = torch.where(gain > 1, (1 - gain) * mean + moved, torch.zeros_like(gain))
    return gain, offset
