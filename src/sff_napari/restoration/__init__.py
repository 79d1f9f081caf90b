"""Restore a slice: interpolate, unfold and fuse it, whole or in tiles."""

from sff_napari.restoration.fusion.seamless import FUSIONS
from sff_napari.restoration.interpolation.weighted import INTERPOLATIONS
from sff_napari.restoration.methods import UNFOLDINGS
from sff_napari.restoration.restore import DEFAULT_COVER, Restoration, restore

__all__ = [
    "DEFAULT_COVER",
    "FUSIONS",
    "INTERPOLATIONS",
    "UNFOLDINGS",
    "Restoration",
    "restore",
]
