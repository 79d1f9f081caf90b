"""The dock "Scan distortion" in a real viewer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication

import sff_napari as sff
from sff_napari.napari_plugin.widgets import slice_dock
from sff_napari.napari_plugin.widgets.scan_distortion import METHODS, PREVIEW, ScanWidget
from sff_napari.napari_plugin.workers.scan_request import ScanRequest
from sff_napari.scan_distortion import METHODS as CORE_METHODS
from sff_napari.scan_distortion import specimen

CLEAN = specimen("blobs", (96, 96), seed=3)
STACK = np.stack(
    [
        np.clip(sff.simulate_scan(CLEAN, seed=seed, counts=40.0).distorted, 0, 1) * 255
        for seed in range(3)
    ]
).astype(np.uint8)


@pytest.fixture
def open_dock(make_napari_viewer: Any, until: Callable[..., None]) -> Iterator[Callable[..., Any]]:
    docks: list[ScanWidget] = []

    def make(*images: Any, viewer: Any = None, **kwargs: Any) -> ScanWidget:
        viewer = viewer or make_napari_viewer()
        for number, image in enumerate(images or (STACK,)):
            viewer.add_image(image, **{"name": f"scan {number}", **kwargs})
        dock = ScanWidget(viewer)
        docks.append(dock)
        viewer.window.add_dock_widget(dock)
        if viewer.dims.ndim > 2:
            viewer.dims.set_current_step(0, 0)
        dock.method.setCurrentIndex(list(METHODS).index("gaussian"))
        until(lambda: dock.repairs is None or dock.repairs.keeper.sidecar is not None)
        return dock

    yield make
    for dock in docks:
        if dock._ended.is_set():
            continue
        dock.cancel()
        until(lambda dock=dock: not dock._jobs)
        if dock.repairs is not None:
            dock.repairs.end()


def restored(dock: ScanWidget, until: Callable[..., None]) -> None:
    dock.run.click()
    until(lambda: not dock.is_busy)
    until(lambda: dock.repairs.queue.is_idle)


def test_restore_compare_keep_and_export(open_dock, until, tmp_path: Path) -> None:
    dock = open_dock()
    dock.viewer.dims.set_current_step(0, 1)
    assert not dock.keep.isEnabled()
    restored(dock, until)
    layers = dock.viewer.layers
    assert {"restored scan", "scan displacement", "scan confidence"} <= {x.name for x in layers}
    shown = np.asarray(layers["restored scan"].data[1])
    assert shown.dtype == np.uint8
    assert (shown != STACK[1]).any()
    np.testing.assert_array_equal(layers["restored scan"].data[0], STACK[0])
    assert "undecided" in dock.about.text()
    assert not dock.plot.isHidden()
    dock.compare.pressed.emit()
    assert layers["restored scan"].opacity == 0
    dock.compare.released.emit()
    assert layers["restored scan"].opacity == 1
    assert not dock.export.isEnabled(), "nothing is kept yet"
    dock.keep.click()
    assert "kept" in dock.about.text()
    dock.export_to(tmp_path / "out")
    until(lambda: not dock.is_busy)
    from sff_napari.stacks import open_stack

    with open_stack(tmp_path / "out" / "restored.ome.zarr") as written:
        np.testing.assert_array_equal(written[1], shown)
        np.testing.assert_array_equal(written[2], STACK[2])
    np.testing.assert_array_equal(layers["scan 0"].data, STACK)


def test_results_come_back_decided_or_not(open_dock, until, make_napari_viewer) -> None:
    dock = open_dock()
    restored(dock, until)
    dock.keep.click()
    dock.viewer.dims.set_current_step(0, 2)
    restored(dock, until)
    dock.reject.click()
    kept = dock.repairs.store.array((0,), "restored")
    dock.repairs.end()
    again = open_dock(viewer=make_napari_viewer())
    until(lambda: len(again.repairs.store) == 2)
    assert again.repairs.state_of((0,)) == "accepted"
    assert again.repairs.state_of((2,)) == "rejected"
    np.testing.assert_array_equal(again.repairs.store.array((0,), "restored"), kept)
    again.viewer.dims.set_current_step(0, 2)
    assert again.reject.text() == "Undecided"
    again.reject.click()
    assert again.repairs.state_of((2,)) == "restored"


def test_restoring_a_kept_slice_asks(open_dock, until, monkeypatch: pytest.MonkeyPatch) -> None:
    dock = open_dock()
    restored(dock, until)
    dock.keep.click()
    asked: list[str] = []
    monkeypatch.setattr(slice_dock, "choose_answer", lambda _v, text, _a: asked.append(text))
    dock.run.click()
    assert len(asked) == 1
    assert dock.repairs.state_of((0,)) == "accepted"


def test_the_stack_changes_only_in_the_panel(open_dock, until) -> None:
    dock = open_dock(STACK, STACK[::-1].copy())
    first = dock.repairs.source.layer
    other = next(x for x in dock.viewer.layers if x is not first and x.name.startswith("scan "))
    restored(dock, until)
    dock.viewer.layers.selection.active = other
    QApplication.processEvents()
    assert dock.repairs.source.layer is first
    dock.choose(other)
    until(lambda: dock.repairs.keeper.sidecar is not None)
    assert "restored scan" not in dock.viewer.layers
    dock.choose(first)
    until(lambda: len(dock.repairs.store) == 1)
    until(lambda: "restored scan" in dock.viewer.layers)


def test_a_removed_image_and_a_deleted_result_are_no_harm(open_dock, until) -> None:
    dock = open_dock()
    restored(dock, until)
    dock.viewer.layers.remove("restored scan")
    dock.keep.click()
    until(lambda: "restored scan" in dock.viewer.layers)
    dock.viewer.layers.remove("scan 0")
    until(lambda: dock.repairs is None)
    assert not dock.run.isEnabled()
    assert "removed" in dock.status.text()


def test_the_preview_follows_the_choices(open_dock, until) -> None:
    dock = open_dock()
    dock.preview.click()
    until(lambda: PREVIEW in dock.viewer.layers)
    before = np.array(dock.viewer.layers[PREVIEW].data)
    dock.strength.setValue(0)
    until(lambda: (np.asarray(dock.viewer.layers[PREVIEW].data) != before).any())
    np.testing.assert_array_equal(dock.viewer.layers[PREVIEW].data, STACK[0])
    dock.preview.click()
    until(lambda: PREVIEW not in dock.viewer.layers)
    assert len(dock.repairs.store) == 0


def test_a_single_image_is_restored(open_dock, until) -> None:
    dock = open_dock(STACK[0])
    restored(dock, until)
    assert np.asarray(dock.viewer.layers["restored scan"].data).shape == STACK[0].shape
    dock.axis.setCurrentIndex(1)
    restored(dock, until)
    assert dock.repairs.store.get(()).record.parameters["fast_axis"] == "y"


def test_a_constant_image_is_said_in_a_sentence(open_dock, until) -> None:
    dock = open_dock(np.full((64, 64), 7, np.uint8))
    dock.run.click()
    until(lambda: not dock.is_busy)
    assert "nothing to restore" in dock.status.text()
    assert len(dock.repairs.store) == 0


def test_exchanged_data_make_results_stale(open_dock, until) -> None:
    dock = open_dock()
    restored(dock, until)
    dock.repairs.source.layer.data = STACK[::-1].copy()
    assert dock.repairs.state_of((0,)) == "stale"
    assert "stale" in dock.about.text()


def test_the_wheel_changes_nothing_without_focus(open_dock) -> None:
    dock = open_dock()
    for widget in (dock.strength, dock.axis, dock.image, dock.method):
        before = widget.value() if hasattr(widget, "value") else widget.currentIndex()
        event = QWheelEvent(
            QPointF(5, 5), QPointF(5, 5), QPoint(0, -120), QPoint(0, -120),
            Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        QApplication.sendEvent(widget, event)
        after = widget.value() if hasattr(widget, "value") else widget.currentIndex()
        assert after == before


def test_the_form_offers_what_the_core_can_do() -> None:
    assert tuple(METHODS) == CORE_METHODS


def test_closing_while_it_works_is_no_harm(open_dock, until, monkeypatch) -> None:
    dock = open_dock()

    def slow(_request: Any, channel: Any) -> None:
        import time

        while not channel.cancelled():
            time.sleep(0.01)

    monkeypatch.setattr(ScanRequest, "restore", slow)
    dock.run.click()
    jobs = dock._jobs
    repairs = dock.repairs
    dock.viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    QApplication.sendPostedEvents(dock, QEvent.Type.DeferredDelete)
    assert repairs._ended
    until(lambda: not jobs)
