"""Compute the distance of Inception features (FID) between results and clean slices.

It needs features of a network trained on photographs, which are not part of
this package: the extra ``fid`` installs torch-fidelity, which downloads the
weights, 91 MB, when they are first used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sff_napari.devices import choose_device
from sff_napari.errors import InputError

PATCH = 256
"""Side, px, of the squares that a slice is cut into."""

Features = NDArray[np.float64]
Extractor = Callable[[NDArray[np.uint8]], Features]
"""Features (N, D) of grey pictures (N, Y, X)."""

_MISSING = (
    "The Inception distance needs an extra: install it with pip install 'sff-napari[fid]'; "
    "it downloads 91 MB of weights when it is first used."
)


def inception(device: str = "auto") -> Extractor:
    """Return what gives the 2048 features of the Inception network, as FID uses them.

    Raises
    ------
    InputError
        If torch-fidelity is not installed or its weights cannot be downloaded.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise InputError(_MISSING) from error
    place = choose_device(device)
    try:
        network = FeatureExtractorInceptionV3("inception", ["2048"]).to(place).eval()
    except OSError as error:
        raise InputError(
            f"The weights of the Inception network could not be downloaded: {error}."
        ) from error

    def features(pictures: NDArray[np.uint8]) -> Features:
        batch = torch.from_numpy(np.ascontiguousarray(pictures)).to(place)
        with torch.inference_mode():
            found = network(batch[:, None].expand(-1, 3, -1, -1))[0]
        return found.double().cpu().numpy()

    return features


def patches(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a slice (Y, X) on the scale of 8-bit data as squares (N, side, side).

    The side is `PATCH`, or that of the slice where it is smaller; what is left
    over at the right and at the bottom does not count.
    """
    eight = np.clip(np.rint(np.nan_to_num(image.astype(np.float64))), 0, 255).astype(np.uint8)
    side = min(PATCH, *eight.shape)
    rows, columns = eight.shape[0] // side, eight.shape[1] // side
    cut = eight[: rows * side, : columns * side].reshape(rows, side, columns, side)
    return cut.transpose(0, 2, 1, 3).reshape(-1, side, side)


def frechet_distance(first: Features, second: Features) -> float:
    """Return the Fréchet distance between two sets of features, as of normal distributions.

    ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))`` with the means and
    covariances.  With centred features A and B, scaled so that ``S = A' A``, the
    trace of the root is the sum of the singular values of ``A B'``: no root of a
    large matrix is needed.

    Parameters
    ----------
    first, second : ndarray, (N, D) and (M, D)
        At least two each.

    Raises
    ------
    InputError
        If there are too few.
    """
    if min(len(first), len(second)) < 2:
        raise InputError("An Inception distance needs more pictures: use more folds.")
    means = first.mean(axis=0), second.mean(axis=0)
    a, b = (
        (own - mean) / np.sqrt(len(own) - 1)
        for own, mean in zip((first, second), means, strict=True)
    )
    root = float(np.linalg.svd(a @ b.T, compute_uv=False).sum())
    apart = float(np.square(means[0] - means[1]).sum())
    return max(apart + float(np.square(a).sum() + np.square(b).sum()) - 2 * root, 0.0)


@dataclass
class FidJudge:
    """Collects features of results and of clean slices.

    Parameters
    ----------
    extractor : callable
        See `inception`.
    """

    extractor: Extractor
    _clean: list[Features] = field(default_factory=list)
    _made: dict[str, list[Features]] = field(default_factory=dict)

    def see_clean(self, image: NDArray[Any]) -> None:
        """Take in a clean slice (Y, X) on the scale of 8-bit data, once a fold."""
        self._clean.append(self.extractor(patches(image)))

    def see(self, method: str, image: NDArray[Any]) -> None:
        """Take in what a method made of it."""
        self._made.setdefault(method, []).append(self.extractor(patches(image)))

    def distance(self, method: str) -> float:
        """Return the distance between all that a method made and all clean slices."""
        return frechet_distance(np.concatenate(self._made[method]), np.concatenate(self._clean))
