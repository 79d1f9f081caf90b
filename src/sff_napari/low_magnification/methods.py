"""The ways to enlarge a slice, in working values and in the frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from sff_napari.alignment.features import gaussian
from sff_napari.low_magnification.aligned import Aligned
from sff_napari.low_magnification.detail import add_detail
from sff_napari.low_magnification.prior import enlarge_with_prior
from sff_napari.low_magnification.resampling import back_project, enlarge_cubic
from sff_napari.networks import EnlargingNetwork, weights
from sff_napari.networks.gpemsr.fusion import GpemsrNetwork
from sff_napari.progress import Reporter

Method = Literal["default", "bicubic", "back-projected", "aligned", "gpemsr"]
METHODS: tuple[Method, ...] = get_args(Method)

_LOCAL = 8.0
"""Radius, px, over which errors and energies are averaged."""


@dataclass(frozen=True)
class Made:
    """An enlarged slice in the frame.

    Parameters
    ----------
    image : Tensor, (1, 1, Y, X)
        Working values.
    variance : Tensor, (1, 1, Y, X)
        Of the error, expected.
    weights : dict of str to str
        SHA-256 of the weights of each network that had a part in it.
    """

    image: Tensor
    variance: Tensor
    weights: dict[str, str]


def make(
    method: Method,
    aligned: Aligned,
    path: str | Path | None,
    device: torch.device,
    reporter: Reporter,
) -> Made:
    """Return a slice enlarged by one of `METHODS`.

    Parameters
    ----------
    method : str
        Which one.
    aligned : Aligned
        The low slice and its neighbours; one that is all low has more than two.
    path : str or Path, optional
        Weights, or a folder with them.
    device : torch.device
        Where networks compute.
    reporter : Reporter
        Told of progress.
    """
    return _MAKERS[method](aligned, path, device, reporter)


def _bicubic(aligned: Aligned, *_: object) -> Made:
    return Made(enlarge_cubic(aligned.low, aligned.factor), _lacking(aligned), {})


def _back_projected(aligned: Aligned, *_: object) -> Made:
    return Made(aligned.base, _lacking(aligned), {})


def _mean_of_aligned(aligned: Aligned, *rest: object) -> Made:
    if not aligned.neighbours:
        return _back_projected(aligned, *rest)
    # What neighbours differ by is how far their mean may be off.
    first, last = aligned.neighbours[0], aligned.neighbours[-1]
    return Made(aligned.mean_with_low(), local_mean((first - last).square()), {})


def _with_network(
    aligned: Aligned, path: str | Path | None, device: torch.device, reporter: Reporter
) -> Made:
    kind = "enlarging" if len(aligned.neighbours) == 2 else "enlarging_stack"
    network = weights.load(kind, path, device)
    assert isinstance(network, EnlargingNetwork)
    image, variance = add_detail(aligned, network, device, reporter)
    return Made(image, variance, {kind: weights.digest(kind, path)})


def _with_gpemsr(
    aligned: Aligned, path: str | Path | None, device: torch.device, reporter: Reporter
) -> Made:
    network = weights.load("gpemsr", path, device)
    assert isinstance(network, GpemsrNetwork)
    reporter(0.1, "reading codes")
    image = back_project(enlarge_with_prior(aligned, network, device), aligned.low, aligned.factor)
    return Made(image, _lacking(aligned), {"gpemsr": weights.digest("gpemsr", path)})


def _lacking(aligned: Aligned) -> Tensor:
    """Return the energy of the detail that an enlarged slice lacks."""
    if not aligned.neighbours:
        return local_mean((aligned.base - local_mean(aligned.base)).square())
    return local_mean((aligned.mean_with_low() - aligned.base).square())


def local_mean(image: Tensor, radius: float = _LOCAL) -> Tensor:
    """Return means (1, 1, Y, X) of the surroundings of each pixel."""
    return gaussian(image, radius)


_MAKERS: dict[Method, Callable[..., Made]] = {
    "default": _with_network,
    "bicubic": _bicubic,
    "back-projected": _back_projected,
    "aligned": _mean_of_aligned,
    "gpemsr": _with_gpemsr,
}
