"""Volumes from tilt series of noisy STEM projections.

A series (T, Y, X) with its tilts in degrees becomes a volume (Z, Y, X):
`reconstruct`.  Phantoms of known truth come from `make_phantom` and
`simulate_tilts`.  The method follows Kniesel et al., Clean Implicit 3D Structure from
Noisy 2D STEM Images (CVPR 2022), made to run on a few processor cores.
"""

from sff_napari.tilt_series.phantom import PHANTOM_KINDS, PhantomKind, make_phantom
from sff_napari.tilt_series.reconstruct import DEFAULT_METHOD, METHODS, Method, reconstruct
from sff_napari.tilt_series.simulation import SimulatedSeries, simulate_tilts
from sff_napari.tilt_series.tomogram import Tomogram

__all__ = [
    "DEFAULT_METHOD",
    "METHODS",
    "PHANTOM_KINDS",
    "Method",
    "PhantomKind",
    "SimulatedSeries",
    "Tomogram",
    "make_phantom",
    "reconstruct",
    "simulate_tilts",
]
