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
    guess_similarity,
    is_roughly_aligned,
    misalignment,
)
from sff_napari.no_data import fill_no_data, find_no_data

_SAME_SCALE = 0.025
"""A scale nearer to 1 is taken for 1: a strong fold makes a slice look smaller than it is."""
_BEYOND_FOLDS = 85.0
"""Mean displacement, px, that no fold makes: of 40 simulated ones the most was 73."""
_TURNED = 8.0
"""Turn, degrees, that no fold makes: the most was 6.3, in slices of 384 px."""
_FITTED = 40.0
"""Displacement, px, up to which the fit of a fold finds a neighbour where it lies."""
_FITTED_TURN = 4.0
"""The same for turns, degrees."""
_BETTER = 0.05
"""By this much better must a slice match elsewhere for it to count."""
_GUESSED = 0.8
"""Score of a guess, as a share of what chance may reach, from which it is looked closer."""
_FARTHEST = 0.3
"""Displacement, as a share of the longer side, beyond which a match is one of chance."""


def find_unaligned(
    damaged: NDArray[Any], neighbours: Mapping[str, NDArray[Any]]
) -> dict[str, Similarity]:
    """Return how the neighbours lie against the damaged slice that are not aligned to it.

    A fold alone moves most of a slice by tens of pixels, against both of its
    neighbours alike.  So a neighbour counts as unaligned if the other one is
    aligned, if the two do not fit each other, or if it lies farther off than
    any fold could move a slice.

    Parameters
    ----------
    damaged : ndarray, (Y, X)
        The damaged slice.
    neighbours : mapping of str to ndarray, (Y, X)
        One or two, by name.
    """
    apart = {
        name: guess_similarity(image, damaged)
        for name, image in neighbours.items()
        if not is_roughly_aligned(image, damaged)
    }
    suspects, beyond_folds = _suspects(apart, neighbours, damaged)
    found = {}
    for name in suspects:
        move = estimate_similarity(neighbours[name], damaged)
        for other, image in neighbours.items():
            if other not in suspects:
                # A fold has moved the damaged slice, but not the other neighbour.
                mutual = estimate_similarity(neighbours[name], image)
                move = mutual if _is_clear(mutual, beyond_folds) else move
        if _is_clear(move, beyond_folds):
            found[name] = move
    rest = [name for name in neighbours if name not in found]
    if found and rest and beyond_folds and _fit_each_other(*neighbours.values()):
        # It is the damaged slice that lies off, against both alike.
        own = estimate_similarity(neighbours[rest[0]], damaged)
        found[rest[0]] = own if _is_clear(own, beyond_folds) else next(iter(found.values()))
    return {
        name: replace(move, scale=1.0) if abs(move.scale - 1) < _SAME_SCALE else move
        for name, move in found.items()
    }


def _suspects(
    apart: Mapping[str, Similarity], neighbours: Mapping[str, NDArray[Any]], damaged: NDArray[Any]
) -> tuple[list[str], bool]:
    """Return which neighbours may lie elsewhere, and whether only farther off than folds move.

    `apart` holds rough guesses of those that do not match the damaged slice as they lie.
    """
    if apart and len(neighbours) == 2:
        aligned = [image for name, image in neighbours.items() if name not in apart]
        if aligned and not _is_moved(aligned[0], damaged):
            return list(apart), False
        if not _fit_each_other(*neighbours.values()):
            return [max(apart, key=lambda name: apart[name].displacement)], False
    return [name for name, move in apart.items() if _may_be(move, True)], True


def _is_moved(image: NDArray[Any], damaged: NDArray[Any]) -> bool:
    """Tell whether a fold has moved the slice away from a neighbour, which it half matches."""
    guess = guess_similarity(image, damaged)
    return guess.displacement > _FITTED and guess.score > guess.unmoved + _BETTER


def _may_be(guess: Similarity, beyond_folds: bool) -> bool:
    """Tell whether a guess is worth an estimate, which takes ten times as long."""
    return _is_far(guess, beyond_folds) and guess.score > _GUESSED * guess.chance


def _is_clear(move: Similarity, beyond_folds: bool) -> bool:
    """Tell whether a move is no match by chance, and more than the fit of a fold undoes."""
    return _is_far(move, beyond_folds) and move.is_unaligned


def _is_far(move: Similarity, beyond_folds: bool) -> bool:
    distance, turn = (_BEYOND_FOLDS, _TURNED) if beyond_folds else (_FITTED, _FITTED_TURN)
    far = move.displacement > distance or abs(move.rotation_degrees) > turn
    return far and move.displacement < _FARTHEST * max(move.shape)


def _fit_each_other(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Tell whether two neighbours lie alike, or nothing clear speaks against it."""
    if is_roughly_aligned(first, second) or not _may_be(guess_similarity(first, second), False):
        return True
    return not _is_clear(estimate_similarity(first, second), False)


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
    for name, move in find_unaligned(damaged, neighbours).items():
        found[name] = moved_onto(neighbours[name], move)
        sentence = misalignment(move, names[name], of)
        notes.append(f"{sentence}; it was moved onto it. Align the stack for a better result.")
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


__all__ = ["aligned_neighbours", "find_unaligned", "moved_onto"]
