"""Fixtures for the plugin: a small folded stack, a panel, and time that is never wasted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

from sff_napari import Fold, simulate_fold
from sff_napari.evaluation.without_truth import NeighbourScores
from sff_napari.napari_plugin import compat
from sff_napari.napari_plugin.controller.result_store import SliceResult, geometry_of
from sff_napari.napari_plugin.io.sample import TRUTH
from sff_napari.napari_plugin.widgets.panel import RestorationWidget
from sff_napari.sessions import SliceRecord, folder_name
from sff_napari.simulation import neuropil

SHAPE = (5, 224, 224)
DAMAGED = 2


@pytest.fixture(scope="session")
def clean_stack() -> np.ndarray:
    """Synthetic tissue (Z, Y, X)."""
    return neuropil(SHAPE, seed=3)


@pytest.fixture(scope="session")
def true_fold() -> Fold:
    """The line of the fold in slice `DAMAGED`."""
    return Fold([(0.0, 96.0), (223.0, 130.0)], 6.0)


@pytest.fixture(scope="session")
def folded_stack(clean_stack: np.ndarray, true_fold: Fold) -> np.ndarray:
    """The tissue with one slice folded."""
    stack = clean_stack.copy()
    stack[DAMAGED] = simulate_fold(stack[DAMAGED], true_fold, 22.0, 0.04).damaged
    return stack


@pytest.fixture(autouse=True)
def private_home(tmp_path, monkeypatch):
    """Sessions of stacks without a path go to a folder of the test."""
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    # Nor do the preferences of the person who runs the tests count.
    monkeypatch.setattr(compat, "register_plugin_settings", lambda _: None)


@pytest.fixture
def until() -> Callable[..., None]:
    """Process events until something is true."""

    def wait(condition: Callable[[], Any], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("waited in vain")
            QApplication.processEvents()
            time.sleep(0.003)
        QApplication.processEvents()

    return wait


@pytest.fixture(autouse=True)
def answers(monkeypatch):
    """Questions are answered with their first answer; the list tells what was asked."""

    class Questions(list):
        answer = 0

        def put(self, _viewer, question, _answers):
            self.append(question)
            return self.answer

    questions = Questions()
    monkeypatch.setattr(
        "sff_napari.napari_plugin.controller.controller.choose_answer", questions.put
    )
    return questions


@pytest.fixture
def open_panel(make_napari_viewer, until) -> Iterator[Callable[..., RestorationWidget]]:
    """Make a viewer with an image and the panel, ready to work."""
    panels: list[RestorationWidget] = []

    def make(data: Any, *, viewer: Any = None, ready: bool = True, **kwargs: Any) -> Any:
        viewer = viewer or make_napari_viewer()
        viewer.add_image(data, **{"name": "stack", "contrast_limits": (0, 255), **kwargs})
        panel = RestorationWidget(viewer)
        panels.append(panel)
        viewer.window.add_dock_widget(panel)
        if ready:
            until(lambda: panel.controller.machine is not None)
            until(lambda: panel.controller.keeper.sidecar is not None)
        return panel

    yield make
    for panel in panels:
        panel.shut_down()
        until(lambda panel=panel: not panel.controller._jobs)


def give_result(controller: Any, index: tuple[int, ...] = (DAMAGED,), value: int = 77) -> None:
    """Put a result into the store as if the slice had been restored."""
    shape = controller.source.plane
    records = controller.lines.used_on(index)
    flow = np.full((2, *shape), np.nan, np.float32)
    flow[:, : shape[0] // 2] = 1.5
    arrays = {
        "restored": np.full(shape, value, controller.source.dtype),
        "synthesised": np.zeros(shape, np.float32),
        "flow": flow,
        "reference": np.full(shape, value, controller.source.dtype),
        "unfolded": np.full(shape, value, np.float32),
    }
    lines = [r.to_dict() for r in records]
    record = SliceRecord(index, "restored", folder_name(index), lines=lines)
    scores = NeighbourScores(0.1, 0.4, 0.5, 0.5, 0.5, 0.9)
    result = SliceResult(record, arrays, scores, geometry_of(records))
    controller.take_result(result, "restoring the slice")
    controller.layer_queue.run_all()


@pytest.fixture(name="give_result")
def give_result_fixture() -> Callable[..., None]:
    """Put a result into a controller as if the slice had been restored."""
    return give_result


@pytest.fixture
def panel(open_panel, folded_stack, clean_stack, until):
    """A panel on the folded stack, standing on its damaged slice."""
    widget = open_panel(
        folded_stack,
        scale=(45.0, 4.6, 4.6),
        metadata={TRUTH: {(DAMAGED,): clean_stack[DAMAGED]}},
    )
    widget.controller.go_to((DAMAGED,))
    return widget


@pytest.fixture
def finish(until):
    """Wait until a controller's job is over and the layers are changed."""

    def wait(controller: Any) -> None:
        until(lambda: not controller.is_busy)
        until(lambda: controller.layer_queue.is_idle)

    return wait


@pytest.fixture
def settle(until):
    """Wait until the layers that were asked for are there, and those that go are gone."""

    def wait(controller: Any) -> None:
        until(lambda: controller.layer_queue.is_idle)

    return wait


@pytest.fixture
def draw():
    """Add a line to a panel as if it had been drawn with the mouse."""

    def add(controller: Any, vertices: Any, index: tuple[int, ...] | None = None) -> str:
        controller.layer_queue.run_all()
        layer = controller.lines.ensure_layer()
        known = set(controller.lines.records)
        index = controller.index if index is None else index
        points = np.array([[*index, y, x] for y, x in vertices], dtype=float)
        layer.add([points], shape_type="line" if len(points) == 2 else "path")
        return next(uid for uid in controller.lines.records if uid not in known)

    return add
