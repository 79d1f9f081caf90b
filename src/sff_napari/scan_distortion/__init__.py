"""Undo what a scanning microscope does to a slice: jitter, drift, flyback, few electrons."""

from sff_napari.scan_distortion.simulation import SimulatedScan, simulate_scan
from sff_napari.scan_distortion.specimens import SPECIMENS, specimen

__all__ = ["SPECIMENS", "SimulatedScan", "simulate_scan", "specimen"]
