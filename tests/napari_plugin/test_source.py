"""Any image layer is a stack: array types, axes, levels."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import zarr
from napari.components import ViewerModel
from napari.layers import Image

from sff_napari.errors import InputError
from sff_napari.napari_plugin.layers.image_source import ImageSource

DATA = np.random.default_rng(0).integers(0, 255, (3, 5, 64, 80)).astype(np.uint8)


@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr", "multiscale", "float"])
def test_slices_of_every_kind_of_array(kind):
    data = DATA[0]
    made = {
        "numpy": lambda: data,
        "float": lambda: data.astype(np.float32) / 255,
        "dask": lambda: da.from_array(data, chunks=(1, 32, 32)),
        "zarr": lambda: zarr.array(data, chunks=(1, 32, 32)),
        "multiscale": lambda: [data, data[:, ::2, ::2]],
    }[kind]()
    source = ImageSource(Image(made, multiscale=kind == "multiscale"))
    assert (source.count, source.plane, source.axis) == (5, (64, 80), 0)
    expected = data[3].astype(np.float32) / 255 if kind == "float" else data[3]
    read = source.read((3,))
    assert isinstance(read, np.ndarray)
    np.testing.assert_array_equal(read, expected)
    np.testing.assert_array_equal(source.read_row((3,), (7, slice(2, 9))), expected[7, 2:9])


def test_two_and_four_axes():
    flat = ImageSource(Image(DATA[0, 0]))
    assert (flat.count, flat.every_index(())) == (1, [()])
    np.testing.assert_array_equal(flat.read(()), DATA[0, 0])
    deep = ImageSource(Image(DATA))
    assert (deep.axis, deep.count) == (1, 5)
    assert deep.every_index((2, 4))[:2] == [(2, 0), (2, 1)]
    other = ImageSource(Image(DATA), slice_axis=0)
    assert other.every_index((2, 4)) == [(0, 4), (1, 4), (2, 4)]
    assert other.place_of((2, 4)) == 2
    assert deep.name_of((2, 4)) == "2, 4"
    with pytest.raises(InputError, match="cannot count slices"):
        ImageSource(Image(DATA), slice_axis=2)


def test_colour_images_are_refused():
    with pytest.raises(InputError, match="colour"):
        ImageSource(Image(np.zeros((4, 32, 32, 3), np.uint8), rgb=True))


def test_the_slice_that_is_shown_with_scale_and_other_layers():
    viewer = ViewerModel()
    viewer.add_image(np.zeros((4, 12, 64, 80), np.uint8))
    layer = viewer.add_image(DATA[0], scale=(2, 1, 1), translate=(4, 0, 0))
    source = ImageSource(layer)
    for z in (0, 3, 4):
        source.show(viewer, (z,))
        assert source.index_at(viewer) == (z,)
    viewer.dims.set_point(1, 0)
    assert source.index_at(viewer) == (0,), "outside the layer the nearest slice counts"


def test_other_layers_lie_in_the_same_place():
    layer = Image(
        DATA[0],
        scale=(45, 4, 4),
        translate=(1, 2, 3),
        units=("nm", "nm", "nm"),
        axis_labels=("z", "y", "x"),
    )
    source = ImageSource(layer)
    other = Image(DATA[0], **source.alike())
    np.testing.assert_allclose(other.scale, layer.scale)
    np.testing.assert_allclose(other.translate, layer.translate)
    assert other.units == layer.units
    assert other.axis_labels == layer.axis_labels
    assert source.voxel_size == (45, 4, 4)
    assert ImageSource(Image(DATA[0])).voxel_size is None


def test_volumes_of_a_stack_with_more_axes():
    source = ImageSource(Image(np.zeros((2, 3, 4, 8, 8)), axis_labels=("t", "c", "z", "y", "x")))
    assert len(source.every_volume()) == 6
    assert source.every_volume()[:2] == [(0, 0, 0), (0, 1, 0)]
    assert source.volume_name((1, 2, 3)) == "t0001-c0002"
    unnamed = ImageSource(Image(np.zeros((2, 4, 8, 8))), slice_axis=0)
    assert unnamed.every_volume() == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert unnamed.volume_name((1, 3)) == "axis1_0003"
    flat = ImageSource(Image(np.zeros((4, 8, 8))))
    assert flat.every_volume() == [(0,)]
    assert flat.volume_name((2,)) == "all"
