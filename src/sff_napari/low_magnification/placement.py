"""Find where a low-magnification slice lies on the stack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from sff_napari.alignment import Similarity, estimate_similarity, is_roughly_aligned
from sff_napari.arrays import MIN_SIDE
from sff_napari.low_magnification.frame import in_place
from sff_napari.low_magnification.resampling import (
    back_project,
    band_of_low,
    enlarge_cubic,
    reduce_area,
)

_FINEST = 1024
_LEAST_SCORE = 0.12
_IN_PLACE = 1.2
"""By how much more a slice may differ from its neighbours in place than where it matches them
best.  Tissue changes from slice to slice: all but one of 17 slices of the training stacks that lie
in place had 1.00 to 1.15, and their best matches lay up to 6 px off."""
_NEAR = (12.0, 1.5)
"""Pixels of the stack, and of the low slice, within which it may lie in place."""

Grey = NDArray[np.float32]


def find_placement(
    low: Grey, neighbours: Sequence[Grey], factor: int, near: Similarity | None = None
) -> tuple[Similarity, str | None]:
    """Return where a low-magnification slice lies on the stack, by its neighbours.

    Each neighbour is reduced as the low slice was, and the shift, turn and scale between
    the two are found; where there are two neighbours, the mean counts.  A slice
    that matches nearly as well where the stack's slices lie is taken to lie there.

    Parameters
    ----------
    low : ndarray, (y, x) float32
        The low slice, NaN-free.
    neighbours : sequence of ndarray, (Y, X) float32
        One or two, NaN-free, in grey values like those of `low`.
    factor : int
        Pixels of the stack along the side of one of the low slice.
    near : Similarity, optional
        A placement, such as one made by hand, near which it is looked for; everywhere
        if not given.

    Returns
    -------
    placement : Similarity
        See `frame.Frame`; the score is the mean correlation with the neighbours.
    note : str or None
        A sentence if nothing was found to hold on to.
    """
    shape = (neighbours[0].shape[0], neighbours[0].shape[1])
    if min(shape) < MIN_SIDE * factor / 2:
        return in_place(shape), "The slice is too small to be placed: it is taken to lie in place."
    found = best_matches(low, neighbours, factor, near)
    score = float(np.mean([one.score for one in found]))
    good = [one for one in found if one.score > 0.5 * max(other.score for other in found)]
    mean = mean_placement(good)
    excess = np.mean([(1 - one.unmoved) / max(1 - one.score, 1e-9) for one in good])
    if max(one.score for one in found) > _LEAST_SCORE:
        if mean.displacement < max(_NEAR[0], _NEAR[1] * factor) and excess < _IN_PLACE:
            return replace(in_place(shape), score=score), None
        if any(one.score > one.chance for one in found):
            return replace(mean, score=score), None
    note = "The low-magnification slice matches no neighbour: it is taken to lie in place."
    return replace(in_place(shape), score=score), note


def best_matches(
    low: Grey, neighbours: Sequence[Grey], factor: int, near: Similarity | None = None
) -> list[Similarity]:
    """Return where a low slice matches each of its neighbours best.

    Neighbours show other tissue, which has moved: where two of them put a slice may lie
    some pixels apart.  Parameters as in `find_placement`.
    """
    shape = (neighbours[0].shape[0], neighbours[0].shape[1])
    step = max(1, factor // 2)
    # What is enlarged half way shows all there is, and takes a fraction of the time.
    part = factor // step if factor % step == 0 else 1
    step = factor // part
    small = _enlarged(low, part)
    found: list[Similarity] = []
    start = None
    for neighbour in neighbours:
        fixed = _as_low(neighbour, factor, step)
        moving = _fitted(small, fixed.shape)
        if near is not None:
            start = _reduced(near, step, (fixed.shape[0], fixed.shape[1]))
        elif start is None and is_roughly_aligned(moving, fixed):
            start = in_place((fixed.shape[0], fixed.shape[1]))
        one = estimate_similarity(moving, fixed, side=_FINEST, start=start)
        found.append(_at_full(one, step, shape))
        if start is None and one.score > max(_LEAST_SCORE, one.chance):
            start = one  # the other neighbour lies alike
    return found


def _enlarged(low: Grey, by: int) -> Grey:
    tensor = torch.from_numpy(np.ascontiguousarray(low))[None, None]
    if by > 1:
        tensor = back_project(enlarge_cubic(tensor, by), tensor, by)
    return tensor[0, 0].numpy()


def _as_low(neighbour: Grey, factor: int, step: int) -> Grey:
    """Return a neighbour as blurred as the low slice, reduced by `step`."""
    rows, columns = (-side % factor for side in neighbour.shape)
    padded = np.pad(neighbour, ((0, rows), (0, columns)), mode="symmetric")
    blurred = band_of_low(torch.from_numpy(padded)[None, None], factor)
    small = reduce_area(blurred, step)[0, 0].numpy()
    return small[: max(1, neighbour.shape[0] // step), : max(1, neighbour.shape[1] // step)]


def _fitted(image: Grey, shape: tuple[int, ...]) -> Grey:
    """Return an image cut or mirrored at its end to a shape."""
    rows, columns = (
        max(0, wanted - given) for wanted, given in zip(shape, image.shape, strict=True)
    )
    return np.pad(image, ((0, rows), (0, columns)), mode="symmetric")[: shape[0], : shape[1]]


def _at_full(found: Similarity, step: int, shape: tuple[int, int]) -> Similarity:
    """Return a similarity of slices reduced by `step` as one of full slices."""
    full = replace(found, shift=(0.0, 0.0), shape=shape)
    # The middle of the reduced slice is a point of the full one: where it goes gives the shift.
    centre = (np.array(found.shape) - 1) / 2
    place = (step * centre + (step - 1) / 2)[None]
    target = step * found.apply(centre[None]) + (step - 1) / 2
    dy, dx = (target - full.apply(place))[0]
    return replace(full, shift=(float(dy), float(dx)))


def _reduced(full: Similarity, step: int, shape: tuple[int, int]) -> Similarity:
    """Return a similarity of full slices as one of slices (Y, X) reduced by `step`."""
    centre = (np.array(shape) - 1) / 2
    target = (full.apply((step * centre + (step - 1) / 2)[None])[0] - (step - 1) / 2) / step
    dy, dx = target - centre
    return replace(full, shift=(float(dy), float(dx)), shape=shape)


def mean_placement(found: Sequence[Similarity]) -> Similarity:
    """Return the mean of a few placements."""
    return Similarity(
        float(np.mean([one.rotation_degrees for one in found])),
        math.exp(float(np.mean([math.log(one.scale) for one in found]))),
        (
            float(np.mean([one.shift[0] for one in found])),
            float(np.mean([one.shift[1] for one in found])),
        ),
        0.0,
        found[0].shape,
    )
