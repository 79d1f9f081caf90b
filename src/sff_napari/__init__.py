"""Repair of serial-section TEM slices damaged by support film folds.

The names below load what they need on first use, so that importing the
package (as napari does to read the plugin's manifest) stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

try:
    __version__ = version("sff-napari")
except PackageNotFoundError:  # running from a source tree that is not installed
    __version__ = "0.0.0"

if TYPE_CHECKING:
    from sff_napari.alignment.stack_drift import StackDrift, measure_drift
    from sff_napari.detection import detect_folds
    from sff_napari.errors import SffError
    from sff_napari.folds import Fold
    from sff_napari.low_magnification import Enlarged, enlarge
    from sff_napari.restoration.restore import Restoration, restore
    from sff_napari.scan_distortion import (
        ScanRestoration,
        SimulatedScan,
        restore_scan,
        simulate_scan,
    )
    from sff_napari.simulation import Simulation, simulate_fold
    from sff_napari.tilt_series import Tomogram, reconstruct

_HOMES = {
    "Enlarged": "sff_napari.low_magnification",
    "Fold": "sff_napari.folds",
    "Restoration": "sff_napari.restoration",
    "ScanRestoration": "sff_napari.scan_distortion",
    "SffError": "sff_napari.errors",
    "SimulatedScan": "sff_napari.scan_distortion",
    "Simulation": "sff_napari.simulation",
    "StackDrift": "sff_napari.alignment.stack_drift",
    "detect_folds": "sff_napari.detection",
    "enlarge": "sff_napari.low_magnification",
    "measure_drift": "sff_napari.alignment.stack_drift",
    "restore": "sff_napari.restoration",
    "simulate_fold": "sff_napari.simulation",
    "Tomogram": "sff_napari.tilt_series",
    "reconstruct": "sff_napari.tilt_series",
    "restore_scan": "sff_napari.scan_distortion",
    "simulate_scan": "sff_napari.scan_distortion",
}

__all__ = [
    "Enlarged",
    "Fold",
    "Restoration",
    "ScanRestoration",
    "SffError",
    "SimulatedScan",
    "Simulation",
    "StackDrift",
    "Tomogram",
    "__version__",
    "detect_folds",
    "enlarge",
    "measure_drift",
    "reconstruct",
    "restore",
    "restore_scan",
    "simulate_fold",
    "simulate_scan",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
