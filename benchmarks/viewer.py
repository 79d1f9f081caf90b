"""Moving the slice slider with 500 fold lines and 50 restored slices, against without the plugin.

Run: ``python benchmarks/viewer.py`` (needs a display, or xvfb-run).  Prints the median time
from a new slider position to the drawn picture, for an image alone, for an image under an
empty Shapes layer of napari's own, and with the plugin at work; and the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from typing import Any

import numpy as np

SLICES, LINES, RESTORED, SIDE = 100, 500, 50, 1024


def moves(viewer: Any, steps: list[int]) -> list[float]:
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
        begun = time.perf_counter()
        viewer.dims.set_current_step(0, z)
        while drawn[0] == before and time.perf_counter() - begun < 2:
            QApplication.processEvents()
        taken.append(time.perf_counter() - begun)
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
    from sff_napari.napari_plugin.deciding import geometry_of
    from sff_napari.napari_plugin.store import SliceResult
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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moves", type=int, default=12, help="moves in a block")
    parser.add_argument("--blocks", type=int, default=6, help="blocks for each viewer")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp()  # sessions of a benchmark are nobody's work
    import napari

    from sff_napari.napari_plugin.restoration_widget import RestorationWidget

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
            times = moves(viewer, steps)
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
