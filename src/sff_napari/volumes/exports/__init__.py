"""Fold masks and displacements in the formats of tools that align volumes."""

from sff_napari.volumes.exports.bigwarp import write_landmarks
from sff_napari.volumes.exports.fields import write_field
from sff_napari.volumes.exports.masks import FoldMasks
from sff_napari.volumes.exports.pages import write_feabas
from sff_napari.volumes.exports.precomputed import write_mask_layer
from sff_napari.volumes.exports.sofima import write_sofima

__all__ = [
    "FoldMasks",
    "write_feabas",
    "write_field",
    "write_landmarks",
    "write_mask_layer",
    "write_sofima",
]
