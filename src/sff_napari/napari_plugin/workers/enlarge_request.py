"""Enlarge a slice at low magnification, or find its place: what a worker gets and does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.napari_plugin.layers.native_arrays import as_core_input

if TYPE_CHECKING:
    from sff_napari.alignment import Similarity
    from sff_napari.low_magnification import Enlarged
    from sff_napari.napari_plugin.layers.image_source import ImageSource
    from sff_napari.napari_plugin.workers.job import Channel
    from sff_napari.sessions import Index


@dataclass(frozen=True)
class EnlargeRequest:
    """What a worker needs to enlarge a slice.

    Parameters
    ----------
    source : ImageSource
        The stack.
    index : tuple of int
        The place of the slice in it.
    low : ndarray, (y, x)
        The slice at low magnification.
    options : dict
        Keyword arguments of `enlarge`.
    beside : tuple
        The slices before and after it; None where there is none.
    """

    source: ImageSource
    index: Index
    low: Any
    options: dict[str, Any]
    beside: tuple[Index | None, Index | None]

    def _read(self) -> tuple[NDArray[Any], list[NDArray[Any] | None]]:
        low = as_core_input(np.asarray(self.low))
        return low, [None if i is None else self.source.read(i) for i in self.beside]

    def enlarge(self, channel: Channel) -> Enlarged:
        """Read the slices and enlarge; runs in a worker."""
        from sff_napari import enlarge

        low, (previous, following) = self._read()
        made = enlarge(
            low,
            previous,
            following,
            **self.options,
            progress=channel.progress,
            cancelled=channel.cancelled,
        )
        return made.on_stack(self.source.plane, self.source.dtype)

    def place(self, channel: Channel, near: Similarity | None) -> tuple[Similarity, str | None]:
        """Find where the low slice lies; runs in a worker."""
        from sff_napari.errors import InputError
        from sff_napari.low_magnification.one_slice import read_inputs
        from sff_napari.low_magnification.placement import find_placement

        channel.progress(0.1, "Placing the slice")
        low, beside = self._read()
        given = read_inputs(low, beside, self.options["factor"])
        if not given.neighbours:
            raise InputError("There is no neighbouring slice to place it by: place it by hand.")
        return find_placement(given.low, given.neighbours, given.factor, near)
