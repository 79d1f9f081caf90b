"""Describe a slice that was enlarged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from sff_napari.alignment import Similarity


@dataclass(frozen=True)
class Enlarged:
    """A slice at full resolution, made from one at low magnification.

    Parameters
    ----------
    restored : ndarray, (Y, X)
        In the stack's grid, dtype and range.  Reduced by area it is the low slice.
    reference : ndarray, (Y, X) float32
        What the aligned neighbours alone say, in the grey values of `restored`; NaN without any.
    synthesised : ndarray, (Y, X) float32
        Share, 0 to 1, of the local energy that the low slice cannot hold: it was
        inferred, not seen.
    confidence : ndarray, (Y, X) float32
        Chance, 0 to 1, that a pixel is off by less than half the spread of the low
        slice; 0 where the low slice shows nothing.
    placement : Similarity
        Where the stack's pixels lie in the low slice's own grid; see `Frame`.
    report : dict
        What was done, plain JSON types.

    See Also
    --------
    sff_napari.enlarge : Makes it.

    Examples
    --------
    >>> import numpy as np
    >>> from sff_napari import enlarge
    >>> made = enlarge(np.random.default_rng(0).random((16, 16)), None, None, factor=4,
    ...                method="bicubic")
    >>> made.restored.shape
    (64, 64)
    """

    restored: NDArray[Any]
    reference: NDArray[Any]
    synthesised: NDArray[Any]
    confidence: NDArray[Any]
    placement: Similarity
    report: dict[str, Any]
