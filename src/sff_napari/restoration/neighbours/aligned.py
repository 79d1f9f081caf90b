"""Bring neighbours that are not aligned to the damaged slice onto it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sff_napari.alignment.similarity import (
    Similarity,
    estimate_similarity,
    is_roughly_aligned,
    misalignment,
)
from sff_napari.no_data import fill_no_data, find_no_data

_COARSE = 256
"""Longer side, px, at which it is looked whether a neighbour is aligned."""
_SAME_SCALE = 0.025
"""A scale nearer to 1 is taken for 1: a strong fold makes a slice look smaller than it is."""


def aligned_neighbours(
    damaged: NDArray[Any],
    neighbours: Mapping[str, NDArray[Any]],
    names: Mapping[str, str],
    of: str,
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return the neighbours, those that are not aligned moved onto the damaged slice.

    Parameters
    ----------
    damaged : ndarray, (Y, X)
        The damaged slice.
    neighbours : mapping of str to ndarray, (Y, X)
        By name.
    names : mapping of str to str
        What a sentence calls each of them at its beginning.
    of : str
        What it calls the damaged slice.

    Returns
    -------
    neighbours : dict of str to ndarray, (Y, X)
        Aligned ones are the very arrays given; moved ones are float32 with NaN
        where they show nothing.
    notes : list of str
        A sentence for each that was moved.
    """
    found = dict(neighbours)
    notes: list[str] = []
    for name, image in neighbours.items():
        if is_roughly_aligned(image, damaged):
            continue
        if not estimate_similarity(image, damaged, side=_COARSE).is_unaligned:
            continue
        move = estimate_similarity(image, damaged)
        told = misalignment(move, names[name], of)
        if told:
            if abs(move.scale - 1) < _SAME_SCALE:
                move = replace(move, scale=1.0)
            found[name] = moved_onto(image, move)
            notes.append(f"{told}; it was moved onto it. Align the stack for a better result.")
    return found, notes


def moved_onto(image: NDArray[Any], move: Similarity) -> NDArray[np.float32]:
    """Return a slice (Y, X) brought onto the fixed one; NaN where it shows nothing."""
    mask = find_no_data(image)
    filled = fill_no_data(image, mask).astype(np.float32)
    known = np.ones(image.shape, np.float32) if mask is None else (~mask).astype(np.float32)
    size = (move.shape[1], move.shape[0])
    inverse = cv2.WARP_INVERSE_MAP
    out: NDArray[np.float32] = cv2.warpAffine(
        filled, move.matrix(), size, flags=cv2.INTER_CUBIC | inverse, borderMode=cv2.BORDER_REFLECT
    )
    share = cv2.warpAffine(known, move.matrix(), size, flags=cv2.INTER_LINEAR | inverse)
    out[share < 1 - 1e-3] = np.nan
    return out


__all__ = ["aligned_neighbours", "moved_onto"]
