"""Restore a scanned slice, or a part of it as a preview: what a worker gets and does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sff_napari.napari_plugin.layers.image_source import ImageSource
    from sff_napari.napari_plugin.workers.job import Channel
    from sff_napari.scan_distortion import ScanRestoration
    from sff_napari.sessions import Index

CROP = 256
"""Side of the preview in pixels."""


@dataclass(frozen=True)
class ScanRequest:
    """What a worker needs to restore a scanned slice.

    Parameters
    ----------
    source : ImageSource
        The stack.
    index : tuple of int
        The slice.
    options : dict
        Keyword arguments of `restore_scan`.
    beside : tuple
        The slices before and after it, None where there is none or it is not to be used.
    """

    source: ImageSource
    index: Index
    options: dict[str, Any]
    beside: tuple[Index | None, Index | None] = (None, None)

    def restore(self, channel: Channel) -> ScanRestoration:
        """Read the slices and restore; runs in a worker."""
        from sff_napari import restore_scan

        image = self.source.read(self.index)
        previous, following = (None if i is None else self.source.read(i) for i in self.beside)
        return restore_scan(
            image,
            previous,
            following,
            **self.options,
            progress=channel.progress,
            cancelled=channel.cancelled,
        )

    def restore_crop(self, corner: tuple[int, int]) -> NDArray[Any]:
        """Return a part of `CROP` pixels from `corner` on, restored by itself."""
        from sff_napari import restore_scan

        y, x = corner
        image = self.source.read(self.index)[y : y + CROP, x : x + CROP]
        return restore_scan(np.ascontiguousarray(image), **self.options).restored
