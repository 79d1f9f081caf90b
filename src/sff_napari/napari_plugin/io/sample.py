"""File > Open Sample: a synthetic stack with simulated folds; nothing is downloaded."""

from __future__ import annotations

from typing import Any

SHAPE = (10, 384, 384)
FOLDED = (1, 4, 7)
"""napari opens a stack in its middle: there is a fold."""
MARGIN = 32
"""Pixels on each side that are made but not kept."""
TRUTH = "sff_napari_truth"
"""Key in an image layer's metadata: clean slices (Y, X) by index, where they are known."""


def folded_stack(
    shape: tuple[int, int, int] = SHAPE, folded: tuple[int, ...] = FOLDED, seed: int = 4
) -> list[tuple[Any, dict[str, Any], str]]:
    """Return a synthetic stack in which some slices carry realistic folds, as layer data.

    Parameters
    ----------
    shape : (Z, Y, X)
        Shape of the stack.
    folded : tuple of int
        Slices that are folded; the last one twice.
    seed : int
        The same seed gives the same stack.

    Returns
    -------
    list of layer data tuples
        One uint8 image of shape (Z, Y, X).
    """
    import numpy as np

    from sff_napari.simulation import RealisticRanges, neuropil, simulate_realistic

    # What a fold pulls in from beyond the border must be tissue, not a mirror image: so more
    # is made than is kept.
    whole = neuropil((shape[0], shape[1] + 2 * MARGIN, shape[2] + 2 * MARGIN), seed=seed)
    kept = (slice(MARGIN, MARGIN + shape[1]), slice(MARGIN, MARGIN + shape[2]))
    truth = {}
    ranges = RealisticRanges(half_width=(4.0, 8.0), gap=(10.0, 30.0), inside_end=0.15)
    for number, z in enumerate(folded):
        truth[(z,)] = whole[z][kept].copy()
        rng = np.random.default_rng(seed + 10 * z)
        count = 2 if number == len(folded) - 1 and len(folded) > 2 else 1
        whole[z] = simulate_realistic(whole[z], rng, count=count, ranges=ranges).damaged
    stack = whole[:, kept[0], kept[1]].copy()
    kwargs: dict[str, Any] = {
        "name": "folded stack",
        "contrast_limits": (0, 255),
        "scale": (45.0, 4.6, 4.6),
        "units": ("nm", "nm", "nm"),
        "axis_labels": ("z", "y", "x"),
        "metadata": {TRUTH: truth},
    }
    return [(stack, kwargs, "image")]
