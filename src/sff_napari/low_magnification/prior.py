"""Enlarge a slice with a code book of tissue: the method of Shou et al. (CVPR 2024)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sff_napari.devices import autocast
from sff_napari.errors import InputError
from sff_napari.low_magnification.aligned import Aligned, optical_flow
from sff_napari.low_magnification.resampling import enlarge_cubic, reduce_area
from sff_napari.networks.gpemsr.fusion import SLICES, GpemsrNetwork

_FINER = 4
"""By how much low slices are enlarged before the flow between them is found, as in the paper."""
_MULTIPLE = 4


def flows_between(low: Tensor) -> Tensor:
    """Return the flows between the middle one of five low slices and each.

    Parameters
    ----------
    low : Tensor, (5, y, x)
        Slices of mean about 0 and spread about 1.

    Returns
    -------
    Tensor, (5, 4, y, x)
        Where the middle one is found in the slice, and the other way; (dy, dx) in px of
        the low slices.
    """
    fine = [enlarge_cubic(one[None, None], _FINER) for one in low]
    middle = fine[len(fine) // 2]
    flows = []
    for one in fine:
        if one is middle:
            flows.append(torch.zeros((1, 4, *low.shape[1:])))
            continue
        both = torch.cat([optical_flow(middle, one), optical_flow(one, middle)], dim=1)
        flows.append(reduce_area(both, _FINER) / _FINER)
    return torch.cat(flows)


def enlarge_with_prior(aligned: Aligned, network: GpemsrNetwork, device: torch.device) -> Tensor:
    """Return a slice enlarged by the network of stage III, (1, 1, Y, X).

    Parameters
    ----------
    aligned : Aligned
        The slice and its neighbours, of which as much is used as is left at low magnification.
    network : GpemsrNetwork
        On `device`, in evaluation mode.
    device : torch.device
        Where it computes.

    Raises
    ------
    InputError
        If it was trained for another factor.
    """
    if network.factor != aligned.factor:
        raise InputError(
            f"These weights enlarge {network.factor} times, not {aligned.factor} times: "
            "use others, or train some with --factors."
        )
    height, width = aligned.low.shape[-2:]
    around = list(aligned.neighbours) or [aligned.base] * (SLICES - 1)
    half = len(around) // 2
    sides = [[around[half - 1 - min(k, half - 1)] for k in (1, 0)],
             [around[half + min(k, half - 1)] for k in (0, 1)]]  # fmt: skip
    slices = [*sides[0], aligned.base, *sides[1]]
    low = torch.cat([reduce_area(one, aligned.factor) for one in slices], dim=1)
    low[:, SLICES // 2] = aligned.low[:, 0]
    step = max(_MULTIPLE, network.size.cell // network.factor)
    padded = F.pad(low, (0, -width % step, 0, -height % step), mode="replicate")
    flows = flows_between(padded[0])[None]
    with torch.no_grad(), autocast(device):
        made = network(padded.to(device), flows.to(device))
    return made.float().cpu()[..., : height * network.factor, : width * network.factor]
