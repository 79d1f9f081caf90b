"""Make the picture of the page on tilt series: a real napari window with a phantom.

Run on Linux::

    xvfb-run -s "-screen 0 1600x1000x24" python docs/make_tilt_screenshot.py
"""

from __future__ import annotations

import time
from pathlib import Path

import napari
from qtpy.QtWidgets import QApplication
from skimage import io

from sff_napari.napari_plugin.widgets.tilt_series import TiltSeriesWidget
from sff_napari.tilt_series import make_phantom, simulate_tilts

SHAPE = (32, 64, 64)


def main() -> None:
    """Drive the dock from the series to the volume, and keep what the window shows."""
    made = simulate_tilts(make_phantom(SHAPE, seed=2), seed=2)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1360, 860)
    viewer.add_image(made.noisy, name="phantom", metadata={"tilts": made.tilts})
    widget = TiltSeriesWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Tilt series", area="right")
    widget.take.click()
    widget.form.thickness.setValue(SHAPE[0])
    widget.run.click()
    while widget.job is not None:
        QApplication.processEvents()
        time.sleep(0.01)
    viewer.layers["phantom"].visible = False
    viewer.layers["tilt axis"].visible = False
    viewer.reset_view()
    for _ in range(50):
        QApplication.processEvents()
        time.sleep(0.01)
    picture = viewer.window.screenshot(canvas_only=False, flash=False)
    io.imsave(Path(__file__).parent / "images" / "tilt-series.png", picture[..., :3])
    viewer.close()


if __name__ == "__main__":
    main()
