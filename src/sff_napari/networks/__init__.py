"""Build the networks of the restorers, and load their weights."""

from sff_napari.networks.enlarging import EnlargingNetwork, StackEnlargingNetwork
from sff_napari.networks.fusion import FusionNetwork
from sff_napari.networks.inpainting import FillingNetwork
from sff_napari.networks.interpolation import InterpolationNetwork
from sff_napari.networks.unfolding import UnfoldingNetwork

__all__ = [
    "EnlargingNetwork",
    "FillingNetwork",
    "FusionNetwork",
    "InterpolationNetwork",
    "StackEnlargingNetwork",
    "UnfoldingNetwork",
]
