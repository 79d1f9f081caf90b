"""The lazy stack behaves like the array it stands for."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sff_napari.napari_plugin.layers.patched_stack import PatchedStack, shrink

BASE = np.random.default_rng(0).integers(0, 255, (3, 4, 6, 7)).astype(np.uint8)
PATCH = {(1, 2): np.full((6, 7), 9, np.uint8)}
WHOLE = BASE.copy()
WHOLE[1, 2] = 9


def stack(base=BASE):
    return PatchedStack(base.shape, base.dtype, PATCH.get, base=base)


part = st.one_of(
    st.integers(-3, 2),
    st.slices(3),
)


@given(st.lists(part, min_size=0, max_size=4), st.booleans())
def test_indexing_is_that_of_the_array(key, dots):
    key = tuple(key)
    if dots and len(key) < 4:
        key = (*key, Ellipsis)
    np.testing.assert_array_equal(stack()[key], WHOLE[key])


def test_only_the_slice_that_is_shown_is_read():
    asked = []

    class Watched:
        shape, dtype, ndim = BASE.shape, BASE.dtype, 4

        def __getitem__(self, key):
            asked.append(key)
            return BASE[key]

    lazy = PatchedStack(BASE.shape, BASE.dtype, PATCH.get, base=Watched())
    lazy[1, 2]
    assert asked == []
    lazy[0, 3, 2:4]
    assert asked == [(0, 3, slice(2, 4, None), slice(None, None, None))]


def test_dask_base_and_whole_array():
    lazy = stack(da.from_array(BASE, chunks=(1, 1, 6, 7)))
    np.testing.assert_array_equal(np.asarray(lazy), WHOLE)
    assert np.asarray(lazy, dtype=np.float32).dtype == np.float32
    assert (len(lazy), lazy.ndim, lazy.size) == (3, 4, BASE.size)


def test_without_a_base_the_rest_is_filled():
    lazy = PatchedStack((2, 3, 4), np.float32, lambda i: None, fill=np.nan)
    assert np.isnan(lazy[1]).all()
    colours = PatchedStack((2, 3, 4), np.uint8, lambda i: None, channels=4)
    assert colours.shape == (2, 3, 4, 4)
    assert colours[0].shape == (3, 4, 4)
    assert colours[0, :, 1].sum() == 0


@pytest.mark.parametrize("shape", [(5, 6), (3, 4), (10, 12), (4, 4)])
def test_shrink_gives_the_shape_of_the_level(shape):
    plane = np.full((10, 12), 7, np.uint8)
    small = shrink(plane, shape)
    assert small.shape == shape
    assert small.dtype == np.uint8
    assert (small == 7).all()
