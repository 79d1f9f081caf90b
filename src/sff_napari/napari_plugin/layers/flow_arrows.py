"""Show the flow of restored slices as arrows on a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sff_napari.flow_colours import wheel

if TYPE_CHECKING:
    from sff_napari.napari_plugin.controller.result_store import ResultStore
    from sff_napari.napari_plugin.layers.image_source import ImageSource

ARROWS = 36
"""Arrows along the longer side of a slice."""
SMALL = 0.5
"""Displacements below this many pixels are not shown."""


def arrows(
    store: ResultStore, source: ImageSource
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return vectors (N, 2, D) and their colours (N, 4) for all slices that have a flow.

    An arrow starts at a pixel of the restored slice and points to the place in
    the damaged slice from which it is read; lengths are in pixels.
    """
    step = max(4, max(source.plane) // ARROWS)
    vectors, colours = [], []
    for result in store.all():
        if result.state == "rejected":
            continue
        flow = store.array(result.index, "flow")
        if flow is None:
            continue
        thin = np.asarray(flow[:, step // 2 :: step, step // 2 :: step], dtype=np.float32)
        length = np.hypot(thin[0], thin[1])
        rows, columns = np.nonzero(np.isfinite(length) & (length >= SMALL))
        if not len(rows):
            continue
        part = np.zeros((len(rows), 2, source.ndim), dtype=np.float32)
        part[:, 0, :-2] = np.asarray(result.index, dtype=np.float32)
        part[:, 0, -2] = rows * step + step // 2
        part[:, 0, -1] = columns * step + step // 2
        part[:, 1, -2] = thin[0, rows, columns]
        part[:, 1, -1] = thin[1, rows, columns]
        angle = np.arctan2(part[:, 1, -2], part[:, 1, -1])
        rgb = wheel(angle, np.ones_like(angle))
        vectors.append(part)
        colours.append(np.concatenate([rgb, np.ones((len(rgb), 1), np.float32)], axis=1))
    if not vectors:
        return np.empty((0, 2, source.ndim), np.float32), np.empty((0, 4), np.float32)
    return np.concatenate(vectors), np.concatenate(colours)
