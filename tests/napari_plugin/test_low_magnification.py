"""The dock "Low-magnification slice" in a real viewer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from sff_napari.low_magnification import METHODS as CORE_METHODS
from sff_napari.napari_plugin.widgets.low_magnification import (
    LARGEST_FACTOR,
    METHODS,
    LowMagnificationWidget,
)
from sff_napari.napari_plugin.widgets.placement_form import NAME
from sff_napari.simulation import neuropil

FACTOR = 4
LOST = 1
CLEAN = neuropil((3, 160, 160), seed=5)
LOW = CLEAN[LOST].reshape(40, 4, 40, 4).mean((1, 3)).round().astype(np.uint8)
STACK = CLEAN.copy()
STACK[LOST] = 0


@pytest.fixture
def open_dock(
    make_napari_viewer: Any, until: Callable[..., None]
) -> Iterator[Callable[..., LowMagnificationWidget]]:
    docks: list[LowMagnificationWidget] = []

    def make(
        low: Any = LOW, stack: Any = STACK, viewer: Any = None, **kwargs: Any
    ) -> LowMagnificationWidget:
        viewer = viewer or make_napari_viewer()
        if low is not None:
            viewer.add_image(low, name="overview")
        viewer.add_image(stack, name="stack", **kwargs)
        dock = LowMagnificationWidget(viewer)
        docks.append(dock)
        viewer.window.add_dock_widget(dock)
        if viewer.dims.ndim > 2:
            scale = kwargs.get("scale", (1, 1, 1))
            viewer.dims.set_point(0, LOST * scale[0])
        dock.method.setCurrentIndex(list(METHODS).index("aligned"))
        until(lambda: dock.repairs is not None and dock.repairs.keeper.sidecar is not None)
        until(lambda: not dock._relist.isActive())
        return dock

    yield make
    for dock in docks:
        dock.cancel()
        until(lambda dock=dock: not dock._jobs)
        if dock.repairs is not None:
            dock.repairs.end()


def restored(dock: LowMagnificationWidget, until: Callable[..., None]) -> None:
    dock.run.click()
    until(lambda: not dock.is_busy)
    until(lambda: dock.repairs.queue.is_idle)


def test_an_overview_takes_its_place_in_the_stack(open_dock, until) -> None:
    dock = open_dock()
    assert dock.repairs.source.layer.name == "stack"
    assert dock.low.currentText() == "overview"
    assert dock.factor.value() == FACTOR, "suggested by the sizes"
    restored(dock, until)
    layers = dock.viewer.layers
    assert {"enlarged", "from neighbours", "inferred detail"} <= {x.name for x in layers}
    made = np.asarray(layers["enlarged"].data[LOST])
    assert made.dtype == STACK.dtype
    reduced = made.reshape(40, 4, 40, 4).mean((1, 3))
    assert np.sqrt(np.square(reduced - LOW).mean()) < 1
    assert "inferred" in dock.about.text()
    dock.keep.click()
    assert dock.repairs.state_of((LOST,)) == "accepted"
    np.testing.assert_array_equal(layers["stack"].data, STACK)


def test_a_moved_overview_is_found(open_dock, until) -> None:
    noise = np.random.default_rng(0).normal(0, 9, STACK.shape)
    alike = np.clip(CLEAN[LOST] + noise, 0, 255).astype(np.uint8)
    low = np.pad(LOW, 2, mode="reflect")
    dock = open_dock(low, alike)
    dock.find.click()
    until(lambda: not dock.is_busy)
    # The stack's middle lies in the middle of the padded overview, too; corners do not.
    from sff_napari.low_magnification.placing import low_to_stack

    corner = (low_to_stack(dock.placement, FACTOR) @ [2, 2, 1])[:2]
    np.testing.assert_allclose(corner, 1.5, atol=0.5)


def test_placing_by_hand_dragging_snapping_and_coming_back(
    open_dock, until, make_napari_viewer
) -> None:
    dock = open_dock(scale=(50, 4, 4))
    dock.by_hand.click()
    until(lambda: NAME in dock.viewer.layers)
    layer = dock.viewer.layers[NAME]
    assert str(layer.mode) == "transform"
    np.testing.assert_allclose(layer.data_to_world((0, 0)), (6, 6))  # 1.5 px of 4 nm
    moved = np.asarray(layer.affine.affine_matrix).copy()
    moved[:2, 2] += 4 * np.array([3.0, -5.0])  # a person drags it, 3 px down and 5 px left
    layer.affine = moved
    assert dock.numbers.dy.value() == pytest.approx(-3)
    assert dock.numbers.dx.value() == pytest.approx(5)
    dock.numbers.turn.setValue(2)
    turned = np.asarray(layer.affine.affine_matrix)
    assert abs(turned[0, 1]) > 0.1
    dock.snap.click()
    until(lambda: not dock.is_busy)
    assert np.hypot(*dock.placement.shift) < np.hypot(3, 5), "nearer to where it belongs"
    assert abs(dock.placement.rotation_degrees) < 1
    dock.numbers.dx.setValue(7)
    dock.repairs.end()
    again = open_dock(viewer=make_napari_viewer(), scale=(50, 4, 4))
    until(lambda: again.placement is not None)
    assert again.placement.shift[1] == 7
    assert again.numbers.dx.value() == 7
    again.viewer.dims.set_point(0, 0)
    assert again.placement is None, "another slice has a place of its own"
    again.viewer.dims.set_point(0, 50)
    assert again.placement.shift[1] == 7
    again.forget.click()
    assert again.placement is None


def test_what_cannot_be_is_said_in_a_sentence(open_dock, until) -> None:
    dock = open_dock()
    dock.factor.setValue(16)
    dock.run.click()
    until(lambda: not dock.is_busy)
    assert "factor is about 4" in dock.status.text()
    dock.factor.setValue(FACTOR)
    dock.numbers.dy.setValue(9000)
    dock.run.click()
    until(lambda: not dock.is_busy)
    assert "does not overlap" in dock.status.text()
    assert len(dock.repairs.store) == 0


def test_a_stack_without_neighbours_that_does_not_fit_is_told(open_dock, until) -> None:
    dock = open_dock(stack=np.zeros((3, 150, 150), np.uint8))
    dock.run.click()
    until(lambda: not dock.is_busy)
    assert "has to fit exactly" in dock.status.text()
    assert len(dock.repairs.store) == 0


def test_deleted_layers_are_no_harm(open_dock, until) -> None:
    dock = open_dock()
    dock.by_hand.click()
    until(lambda: NAME in dock.viewer.layers)
    dock.viewer.layers.remove(NAME)
    dock.numbers.dy.setValue(2)
    dock.by_hand.click()
    dock.viewer.layers.remove("overview")
    until(lambda: dock.low.count() == 0)
    assert not dock.run.isEnabled()
    dock.restore()
    assert "layer of its own" in dock.status.text()


def test_a_single_image_is_no_stack(open_dock) -> None:
    dock = open_dock(stack=STACK[0])
    dock.restore()
    assert "Choose a stack" in dock.status.text()


def test_the_form_offers_what_the_core_can_do() -> None:
    from sff_napari.low_magnification import frame

    assert set(METHODS) <= set(CORE_METHODS)
    assert frame.LARGEST_FACTOR == LARGEST_FACTOR
