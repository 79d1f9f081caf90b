"""Build the paper's three networks and the filling network, and load their weights."""

from sff_napari.networks.fusion import FusionNetwork
from sff_napari.networks.inpainting import FillingNetwork
from sff_napari.networks.interpolation import InterpolationNetwork
from sff_napari.networks.unfolding import UnfoldingNetwork

__all__ = ["FillingNetwork", "FusionNetwork", "InterpolationNetwork", "UnfoldingNetwork"]
