"""The dock "Tilt series" in a real viewer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from sff_napari.napari_plugin.widgets.tilt_series import AXIS_LAYER, TiltSeriesWidget
from sff_napari.tilt_series import make_phantom, simulate_tilts
from sff_napari.tilt_series.angles import write_tilts

MADE = simulate_tilts(make_phantom((10, 24, 20), seed=4), np.linspace(-60, 60, 13), seed=4)


@pytest.fixture
def widget(make_napari_viewer: Any, tmp_path: Path) -> TiltSeriesWidget:
    viewer = make_napari_viewer()
    viewer.add_image(MADE.noisy, name="series")
    made = TiltSeriesWidget(viewer)
    viewer.window.add_dock_widget(made)
    write_tilts(tmp_path / "a.tlt", MADE.tilts)
    made.use_layer()
    made.load_angles(tmp_path / "a.tlt")
    made.form.thickness.setValue(10)
    return made


def done(qtbot: Any, widget: TiltSeriesWidget) -> None:
    qtbot.waitUntil(lambda: widget.job is None, timeout=120_000)


def test_angles_and_axis_are_shown(widget: TiltSeriesWidget) -> None:
    np.testing.assert_allclose(widget.table.tilts(), MADE.tilts)
    line = widget.viewer.layers[AXIS_LAYER].data[0]
    np.testing.assert_allclose(line[:, -2], 11.5)
    widget.form.axis.setCurrentIndex(1)
    widget.form.offset.setValue(2)
    np.testing.assert_allclose(widget.viewer.layers[AXIS_LAYER].data[0][:, -1], 11.5)


def test_wrong_number_of_angles_is_said(widget: TiltSeriesWidget) -> None:
    widget.set_tilts(np.linspace(-60, 60, 5))
    assert "5 tilt angles for 13 images" in widget.status.text()


def test_reconstruct_and_save(qtbot: Any, widget: TiltSeriesWidget, tmp_path: Path) -> None:
    from qtpy.QtCore import Qt

    first = widget.table.item(0, 0)
    assert first is not None
    first.setCheckState(Qt.CheckState.Unchecked)
    widget.form.method.setCurrentText("sirt")
    widget.run.click()
    assert not widget.run.isEnabled()
    done(qtbot, widget)
    layers = widget.viewer.layers
    assert layers["series volume"].data.shape == (10, 24, 20)
    assert layers["series residuals"].data.shape == (12, 24, 20)
    assert len(widget.plot.curves["rms"]) == 12
    np.testing.assert_array_equal(layers["series"].data, MADE.noisy)
    widget.save_to(tmp_path / "v.zarr")
    done(qtbot, widget)
    assert zarr.open_group(tmp_path / "v.zarr", mode="r")["0"].shape == (10, 24, 20)


def test_preview_shows_a_slice_by_each_method(qtbot: Any, widget: TiltSeriesWidget) -> None:
    widget.preview.click()
    done(qtbot, widget)
    assert widget.viewer.layers["series preview"].data.shape == (3, 10, 24)


def test_a_bad_number_in_the_table_is_said(widget: TiltSeriesWidget) -> None:
    cell = widget.table.item(2, 1)
    assert cell is not None
    cell.setText("ten")
    widget.run.click()
    assert "'ten' in the row of image 2" in widget.status.text()
    assert widget.job is None


def test_the_form_offers_what_the_core_can_do() -> None:
    from sff_napari.commands.tomogram import _METHODS
    from sff_napari.napari_plugin.widgets import tilt_form
    from sff_napari.tilt_series import DEFAULT_METHOD, METHODS
    from sff_napari.tilt_series.preview import PREVIEW_METHODS

    assert sorted(tilt_form.METHODS) == sorted(METHODS) == sorted(_METHODS)
    assert tilt_form.METHODS[0] == DEFAULT_METHOD
    assert tilt_form.PREVIEW_METHODS == PREVIEW_METHODS
