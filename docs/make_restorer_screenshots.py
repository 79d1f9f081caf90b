"""Make the pictures of the pages on further restorers: real napari windows, synthetic data.

Run on Linux::

    xvfb-run -s "-screen 0 1600x1000x24" python docs/make_restorer_screenshots.py
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from qtpy.QtWidgets import QApplication
from skimage import io

import sff_napari as sff
from sff_napari.simulation import neuropil

IMAGES = Path(__file__).parent / "images"


def wait(condition: Callable[[], Any] = lambda: False, seconds: float = 600) -> None:
    """Process events until something is true, or for some time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def keep(viewer: napari.Viewer, name: str) -> None:
    """Write what the window shows."""
    wait(seconds=1)
    picture = viewer.window.screenshot(canvas_only=False, flash=False)
    io.imsave(IMAGES / f"{name}.png", picture[..., :3])


def opened(*images: tuple[str, Any, dict[str, Any]]) -> napari.Viewer:
    """Return a window with images."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1360, 860)
    for name, data, more in images:
        viewer.add_image(data, name=name, **more)
    return viewer


def tilt_series() -> None:
    """Drive the dock from the series to the volume."""
    from sff_napari.napari_plugin.widgets.tilt_series import TiltSeriesWidget
    from sff_napari.tilt_series import make_phantom, simulate_tilts

    shape = (32, 64, 64)
    made = simulate_tilts(make_phantom(shape, seed=2), seed=2)
    viewer = opened(("phantom", made.noisy, {"metadata": {"tilts": made.tilts}}))
    widget = TiltSeriesWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Tilt series", area="right")
    widget.take.click()
    widget.form.thickness.setValue(shape[0])
    widget.run.click()
    wait(lambda: widget.job is None)
    viewer.layers["phantom"].visible = False
    viewer.layers["tilt axis"].visible = False
    viewer.reset_view()
    keep(viewer, "tilt-series")
    viewer.close()


def scan_distortion() -> None:
    """Preview a part, then restore."""
    from sff_napari.napari_plugin.widgets.scan_distortion import ScanWidget
    from sff_napari.scan_distortion import specimen

    clean = specimen("lattice", (256, 256), seed=1)
    scan = sff.simulate_scan(clean, seed=4, jitter=1.5, counts=60.0)
    grey = (np.clip(scan.distorted, 0, 1) * 255).astype(np.uint8)
    viewer = opened(("scan", grey, {}))
    widget = ScanWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Scan distortion", area="right")
    wait(lambda: widget.repairs is not None and widget.repairs.keeper.sidecar is not None)
    viewer.reset_view()
    widget.preview.click()
    wait(lambda: "scan preview" in viewer.layers, 60)
    keep(viewer, "scan-preview")
    widget.run.click()
    wait(lambda: not widget.is_busy)
    wait(lambda: widget.repairs.queue.is_idle)
    keep(viewer, "scan-distortion")
    viewer.close()


def low_magnification() -> None:
    """Place an overview by hand, then enlarge it."""
    from sff_napari.napari_plugin.widgets.low_magnification import LowMagnificationWidget

    stack = neuropil((3, 512, 512), seed=7)
    low = stack[1].reshape(64, 8, 64, 8).mean((1, 3)).round().astype(np.uint8)
    stack[1] = 0
    viewer = opened(("overview", low, {"visible": False}), ("stack", stack, {}))
    widget = LowMagnificationWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Low-magnification slice", area="right")
    wait(lambda: widget.repairs is not None and widget.repairs.keeper.sidecar is not None)
    wait(seconds=1)
    viewer.dims.set_current_step(0, 0)
    viewer.reset_view()
    widget.by_hand.click()
    wait(seconds=1)
    widget.numbers.turn.setValue(2)
    keep(viewer, "low-magnification-placing")
    widget.forget.click()
    viewer.dims.set_current_step(0, 1)
    widget.run.click()
    wait(lambda: not widget.is_busy)
    wait(lambda: widget.repairs.queue.is_idle)
    keep(viewer, "low-magnification")
    viewer.close()


def main() -> None:
    """Make all pictures, or those that are named: ``tilt_series``, ``scan_distortion``, ..."""
    every = {f.__name__: f for f in (tilt_series, scan_distortion, low_magnification)}
    with tempfile.TemporaryDirectory() as home:
        os.environ["XDG_DATA_HOME"] = home
        for name in sys.argv[1:] or every:
            every[name]()


if __name__ == "__main__":
    main()
