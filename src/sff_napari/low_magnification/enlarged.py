"""Describe a slice that was enlarged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.alignment import Similarity
from sff_napari.arrays import GreyScale
from sff_napari.errors import InputError


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

    def on_stack(self, shape: tuple[int, ...], dtype: Any) -> Enlarged:
        """Return the slice as one of a stack: its dtype is another only without neighbours.

        Parameters
        ----------
        shape : (Y, X)
            Of the stack's slices.
        dtype : numpy dtype
            Of the stack.

        Raises
        ------
        InputError
            If it does not fit, which only a slice made without neighbours can.
        """
        kind = np.dtype(dtype)
        if self.restored.shape != shape:
            raise InputError(
                f"Enlarged, the low-magnification slice has {self.restored.shape[0]} x "
                f"{self.restored.shape[1]} px, but the stack's slices have {shape[0]} x "
                f"{shape[1]}: without neighbours it has to fit exactly."
            )
        if self.restored.dtype == kind:
            return self
        unit = GreyScale.of(self.restored).to_unit(self.restored)
        scale = GreyScale(kind, 0.0, float(np.iinfo(kind).max) if kind.kind in "ui" else 1.0)
        return replace(self, restored=scale.from_unit(unit))
