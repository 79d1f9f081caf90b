"""Find the slow drift of a scan against the slices beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from sff_napari.alignment import is_roughly_aligned
from sff_napari.alignment.drift_fields import drift_field
from sff_napari.alignment.features import Features
from sff_napari.scan_distortion.displacement import inverse_displacement
from sff_napari.scan_distortion.simulation import sample

Image = NDArray[np.float32]
_POOL = 2
_REACH = 16.0
_SMOOTH = 8.0
"""Standard deviation, rows, of the Gaussian that drift is smoothed by."""
_LEAST_ROWS = 96
_ROUNDS = 3
_WINDOW = 48.0
"""Columns over which the displacement of neighbouring tissue is alike."""


@dataclass(frozen=True)
class SlowDrift:
    """Drift of a scan, the same for all pixels of a row.

    Parameters
    ----------
    shifts : ndarray, (Y, 2) float32
        (dy, dx): each row was measured this far off, px.
    used : tuple of str
        Neighbours that it was measured against.
    notes : tuple of str
        Sentences about those that could not be used.
    """

    shifts: NDArray[np.float32]
    used: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def estimate_slow_drift(
    image: Image, neighbours: Mapping[str, Image], known: NDArray[np.bool_]
) -> SlowDrift:
    """Return the drift of the rows of a slice against aligned neighbours.

    Tissue moves between slices as well: that differs between columns, which are averaged,
    and has opposite signs in the two neighbours.  What is left is shrunk by how
    uncertain it is.

    Parameters
    ----------
    image : ndarray, (Y, X)
        The slice restored, jitter taken away; scanned along rows.
    neighbours : mapping of str to ndarray, (Y, X)
        By name, as they lie beside it.
    known : ndarray, (Y, X) bool
        Where the slice holds an image.
    """
    still = np.zeros((image.shape[0], 2), np.float32)
    notes: list[str] = []
    if min(image.shape) < _LEAST_ROWS:
        note = f"The slice is smaller than {_LEAST_ROWS} px: its slow drift was not measured."
        return SlowDrift(still, (), (note,))
    others = {}
    for name, neighbour in neighbours.items():
        if is_roughly_aligned(neighbour, image):
            others[name] = Features.of(
                torch.from_numpy(np.ascontiguousarray(neighbour)),
                torch.ones(neighbour.shape, dtype=torch.bool),
                _POOL,
            )
        else:
            notes.append(f"The {name} slice does not match where it lies: it was not used.")
    if not others:
        return SlowDrift(still, (), tuple(notes))
    shape = (image.shape[0], image.shape[1])
    rows, mean = still.astype(np.float64), np.zeros((2, *shape))
    # Windows average over drift: what they leave is found when it is looked at again.
    for _ in range(_ROUNDS):
        here = Features.of(torch.from_numpy(_moved(image, rows)), torch.from_numpy(known), _POOL)
        fields = [drift_field(here, there, _REACH).on_grid(shape) for there in others.values()]
        mean = torch.stack(fields).mean(dim=0).numpy()
        step = ndimage.gaussian_filter1d(mean.mean(axis=2).T, _SMOOTH, axis=0, mode="nearest")
        rows = rows + step
    windows = max(image.shape[1] / _WINDOW, 1.0)
    uncertain = mean.var(axis=2).T / windows
    noise = uncertain.mean(axis=0)
    signal = np.maximum((rows**2).mean(axis=0) - noise, 0)
    shrunk = rows * (signal / np.maximum(signal + noise, 1e-9))
    return SlowDrift(shrunk.astype(np.float32), tuple(others), tuple(notes))


def _moved(image: Image, rows: NDArray[np.float64]) -> Image:
    """Return an image whose rows are moved back by (dy, dx), (Y, 2) px."""
    field = np.broadcast_to(rows.T[:, :, None], (2, *image.shape)).astype(np.float32)
    return sample(image, inverse_displacement(field)) if rows.any() else image
