"""Undo what a scanning microscope does to a slice: jitter, drift, flyback, few electrons.

`restore_scan` restores one slice, `simulate_scan` makes scans of known truth.  After
Lobato et al., Image restoration from single scanning transmission electron micrograph using
deep convolutional neural networks (2020), and its successor (npj Comput. Mater. 2024).
"""

from sff_napari.scan_distortion.ranges import ScanRanges
from sff_napari.scan_distortion.restoration import (
    METHODS,
    ScanOptions,
    ScanRestoration,
    restore_scan,
)
from sff_napari.scan_distortion.simulation import SimulatedScan, simulate_scan
from sff_napari.scan_distortion.specimens import SPECIMENS, specimen

__all__ = [
    "METHODS",
    "SPECIMENS",
    "ScanOptions",
    "ScanRanges",
    "ScanRestoration",
    "SimulatedScan",
    "restore_scan",
    "simulate_scan",
    "specimen",
]
