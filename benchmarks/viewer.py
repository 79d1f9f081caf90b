"""The viewer: moving the slice slider, and the live preview.  Needs a display, or xvfb-run.

``python benchmarks/viewer.py``       slider with 500 fold lines and 50 restored slices: median
                                      time from a new position to the drawn picture, for an image
                                      alone, under an empty Shapes layer of napari's own, and with
                                      the plugin at work; and the ratios
``python benchmarks/viewer.py live``  from a dragged line to the drawn preview, at 1024 and 2048 px
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

SLICES, LINES, RESTORED, SIDE = 100, 500, 50, 1024


def moves(
    viewer: Any, steps: list[int], clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Return seconds from a slider move to the drawn picture, one for each step."""
    from qtpy.QtWidgets import QApplication

    drawn = [0]

    def count(_: Any) -> None:
        drawn[0] += 1

    canvas = viewer.window._qt_viewer.canvas._scene_canvas
    canvas.events.draw.connect(count, position="last")
    taken = []
    for z in steps:
        QApplication.processEvents()
        before = drawn[0]
        begun = clock()
        viewer.dims.set_current_step(0, z)
        while drawn[0] == before and clock() - begun < 2:
            QApplication.processEvents()
        taken.append(clock() - begun)
    canvas.events.draw.disconnect(count)
    return taken


def settle(seconds: float) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.005)


def fill(controller: Any, rng: np.random.Generator) -> None:
    """Put lines on every slice and results on every other one."""
    from sff_napari import Fold
    from sff_napari.napari_plugin.controller.result_store import SliceResult
    from sff_napari.napari_plugin.controller.review_actions import geometry_of
    from sff_napari.sessions import FoldRecord, SliceRecord

    records = []
    for number in range(LINES):
        xs = rng.uniform(0, SIDE, 4)
        vertices = [
            (y, float(x)) for y, x in zip((0, SIDE / 3, 2 * SIDE / 3, SIDE), xs, strict=True)
        ]
        records.append(FoldRecord.of(Fold(vertices, 8.0), (number % SLICES,)))
    controller.lines.put(records)
    flow = np.full((2, SIDE, SIDE), 5.0, np.float32)
    for z in range(0, SLICES, SLICES // RESTORED):
        plane = rng.integers(0, 255, (SIDE, SIDE)).astype(np.uint8)
        arrays = {
            "restored": plane,
            "synthesised": np.zeros((SIDE, SIDE), np.float32),
            "flow": flow,
        }
        used = geometry_of(controller.lines.used_on((z,)))
        controller.store.put(SliceResult(SliceRecord((z,), "restored"), arrays, None, used))
    controller.layers.update((0,))
    controller._show_states()
    controller.results_changed.emit()


def live(side: int, drags: int) -> tuple[list[float], list[float]]:
    """Return seconds a preview took in the worker, and until it was drawn, for each drag step."""
    import napari

    from sff_napari import Fold, simulate_fold
    from sff_napari.napari_plugin import compat
    from sff_napari.napari_plugin.widgets.panel import RestorationWidget
    from sff_napari.sessions import FoldRecord
    from sff_napari.simulation import neuropil

    stack = np.tile(neuropil((3, 1024, 1024), seed=1), (1, side // 1024, side // 1024))
    fold = Fold([(0.0, side * 0.49), (side * 0.5, side * 0.53), (side - 1.0, side * 0.47)], 8.0)
    stack[1] = simulate_fold(stack[1], fold, 30.0, 0.02).damaged
    viewer = napari.Viewer()
    viewer.window._qt_window.setGeometry(0, 0, 1200, 800)
    viewer.add_image(stack, contrast_limits=(0, 255))
    panel = RestorationWidget(viewer)
    viewer.window.add_dock_widget(panel)
    while panel.controller.machine is None or panel.controller.keeper.sidecar is None:
        settle(0.1)
    panel.controller.go_to((1,))
    panel.controller.lines.put([FoldRecord.of(fold, (1,))])
    panel.restore.live.setChecked(True)
    layer = panel.controller.lines.layer
    settle(1)
    drawn = [0.0]
    canvas = viewer.window._qt_viewer.canvas._scene_canvas
    canvas.events.draw.connect(lambda _: drawn.append(time.perf_counter()), position="last")
    worked, shown, ready = panel.live.seconds, [], 0.0
    for step in range(drags + 2):
        points = layer.data[0].copy()
        points[0, 2] += 4 * (-1) ** step
        compat.set_vertices(layer, 0, points)
        before, begun = len(worked), time.perf_counter()
        panel.live.request(layer)
        while len(worked) == before or drawn[-1] < ready:
            settle(0.002)
            if len(worked) == before:
                ready = time.perf_counter()
        shown.append(drawn[-1] - begun)
    panel.shut_down()
    viewer.close()
    # The first ones read and reduce the slices, and wake up PyTorch.
    return worked[2:], shown[2:]


def previews(drags: int, as_json: bool) -> None:
    """Measure the live preview and print."""
    for side in (1024, 2048):
        worked, shown = live(side, drags)
        result = {
            "side": side,
            "preview_ms": round(statistics.median(worked) * 1000),
            "drag_to_picture_ms": round(statistics.median(shown) * 1000),
            "worst_drag_to_picture_ms": round(max(shown) * 1000),
        }
        if as_json:
            print(json.dumps(result))
        else:
            print(
                f"Live preview at {side} px, medians: {result['preview_ms']} ms to compute, "
                f"{result['drag_to_picture_ms']} ms from drag to picture "
                f"(worst of {len(shown)}: {result['worst_drag_to_picture_ms']} ms)"
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=("slider", "live"), default="slider")
    parser.add_argument("--moves", type=int, default=12, help="moves in a block")
    parser.add_argument("--blocks", type=int, default=6, help="blocks for each viewer")
    parser.add_argument("--cpu", action="store_true", help="processor time, for a busy machine")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp()  # sessions of a benchmark are nobody's work
    if chosen.what == "live":
        previews(20, chosen.json)
        return
    import napari

    from sff_napari.napari_plugin.widgets.panel import RestorationWidget

    rng = np.random.default_rng(0)
    stack = rng.integers(0, 255, (SLICES, SIDE, SIDE)).astype(np.uint8)
    viewers = {}
    for name in ("plain", "shapes", "plugin"):
        viewers[name] = napari.Viewer()
        viewers[name].window._qt_window.setGeometry(0, 0, 1200, 800)
        viewers[name].add_image(stack, contrast_limits=(0, 255))
    viewers["shapes"].add_shapes(None, ndim=3)
    panel = RestorationWidget(viewers["plugin"])
    viewers["plugin"].window.add_dock_widget(panel)
    while panel.controller.machine is None or panel.controller.keeper.sidecar is None:
        settle(0.1)
    fill(panel.controller, rng)
    settle(2)
    taken: dict[str, list[float]] = {name: [] for name in viewers}
    for block in range(chosen.blocks + 1):
        # In turns, so that what else the machine does falls on all of them alike.
        for name, viewer in viewers.items():
            viewer.window._qt_window.raise_()
            settle(0.3)
            steps = [int(z) for z in rng.integers(0, SLICES, chosen.moves)]
            times = moves(viewer, steps, time.process_time if chosen.cpu else time.perf_counter)
            taken[name] += times if block else []
    median = {name: statistics.median(times) * 1000 for name, times in taken.items()}
    result = {
        "image_ms": round(median["plain"], 1),
        "image_and_empty_shapes_ms": round(median["shapes"], 1),
        "plugin_ms": round(median["plugin"], 1),
        "ratio_to_image": round(median["plugin"] / median["plain"], 2),
        "ratio_to_image_and_shapes": round(median["plugin"] / median["shapes"], 2),
        "lines": LINES,
        "restored": RESTORED,
    }
    if chosen.json:
        print(json.dumps(result))
    else:
        print(
            f"Slider move to picture, medians: {result['image_ms']} ms an image alone, "
            f"{result['image_and_empty_shapes_ms']} ms with an empty Shapes layer, "
            f"{result['plugin_ms']} ms with {LINES} fold lines and {RESTORED} restored slices; "
            f"ratio {result['ratio_to_image']} to the image alone, "
            f"{result['ratio_to_image_and_shapes']} to the image with a Shapes layer"
        )
    panel.shut_down()
    for viewer in viewers.values():
        viewer.close()


if __name__ == "__main__":
    main()
