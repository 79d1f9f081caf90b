"""The voxel size of a stack's file: offered, shown, exported; and the reader of stacks."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from npe2 import PluginManager

from sff_napari.napari_plugin.io.stack_reader import StackArray, get_stack_reader
from sff_napari.napari_plugin.widgets.export_dialog import start_export
from sff_napari.napari_plugin.widgets.panel import RestorationWidget
from sff_napari.stacks import open_stack, write_stack
from sff_napari.stacks.description import Readers, StackInfo
from sff_napari.stacks.stack import Stack

DAMAGED = 2
LINE = [(0.0, 96.0), (223.0, 130.0)]
SIZE = (45.0, 4.6, 4.6)


@pytest.fixture
def ome_zarr(tmp_path, folded_stack):
    path = tmp_path / "stack.ome.zarr"
    stack = Stack(
        Readers(lambda z: folded_stack[z]),
        StackInfo(folded_stack.shape, np.uint8, kind="test", name="stack", voxel_size=SIZE),
    )
    write_stack(path, stack)
    return path


def test_the_files_scale_is_offered_taken_and_exported(
    ome_zarr, make_napari_viewer, until, draw, give_result, settle, finish, tmp_path
):
    viewer = make_napari_viewer()
    (layer,) = viewer.open(ome_zarr / "0", plugin="napari")
    assert tuple(layer.scale) == (1, 1, 1)
    panel = RestorationWidget(viewer)
    viewer.window.add_dock_widget(panel)
    c = panel.controller
    until(lambda: c.machine is not None and c.keeper.sidecar is not None)
    button = panel.stack.scale
    assert button.isVisibleTo(panel)
    assert "45 x 4.6 x 4.6 nm" in button.text()
    c.go_to((DAMAGED,))
    draw(c, LINE)
    give_result(c)
    settle(c)
    c.accept_slice()
    start_export(c, tmp_path / "before", "ome-zarr", ["stack"])
    finish(c)
    assert open_stack(tmp_path / "before" / "restored.ome.zarr").voxel_size == pytest.approx(SIZE)
    button.click()
    settle(c)
    assert not button.isVisibleTo(panel)
    for name in (layer.name, "restored", "folds", "synthesised"):
        assert tuple(viewer.layers[name].scale) == pytest.approx(SIZE), name
        assert {str(unit) for unit in viewer.layers[name].units} == {"nanometer"}
    assert c.index == (DAMAGED,)
    assert c.state_of((DAMAGED,)) == "accepted"
    panel.shut_down()


def test_the_reader_opens_stacks_lazily_with_scale_and_levels(
    ome_zarr, make_napari_viewer, folded_stack, tmp_path
):
    names = {r.command for r in PluginManager.instance().iter_compatible_readers([str(ome_zarr)])}
    assert "sff-napari.read_stack" in names
    viewer = make_napari_viewer()
    (layer,) = viewer.open(ome_zarr, plugin="sff-napari")
    finest = layer.data[0] if layer.multiscale else layer.data
    assert isinstance(finest, StackArray)
    assert finest.shape == folded_stack.shape
    assert tuple(layer.scale) == pytest.approx(SIZE)
    for key in ((3,), (slice(1, 3), slice(5, 9), slice(0, 7)), (2, slice(None, None, 2)), ...):
        np.testing.assert_array_equal(finest[key], folded_stack[key])
    assert finest[:, 3:3].shape == (5, 0, 224)
    folder = tmp_path / "slices"
    folder.mkdir()
    assert get_stack_reader(str(folder)) is None
    for z, plane in enumerate(folded_stack):
        tifffile.imwrite(folder / f"s{z}.tif", plane)
    ((data, _kwargs, kind),) = get_stack_reader(str(folder))(str(folder))
    assert kind == "image"
    np.testing.assert_array_equal(data[4], folded_stack[4])
    assert get_stack_reader(str(folder / "s0.tif")) is None
