"""Make the pictures of the tutorial: a real napari window, driven with mouse and keys.

Run on Linux with ``xdotool`` installed::

    xvfb-run -s "-screen 0 1600x1000x24" python docs/make_screenshots.py

Only the synthetic sample is shown.  Pictures go to ``docs/images``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

IMAGES = Path(__file__).parent / "images"
WINDOW = (0, 0, 1360, 860)
SLICE = 4


class Person:
    """Somebody in front of a napari window."""

    def __init__(self, viewer: Any) -> None:
        from qtpy.QtWidgets import QApplication

        self.viewer = viewer
        self.app = QApplication.instance()
        self.window = viewer.window._qt_window
        self.canvas = viewer.window._qt_viewer.canvas

    def look(self, seconds: float = 0.3) -> None:
        """Do nothing for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.app.processEvents()
            time.sleep(0.005)

    def wait(self, condition: Callable[[], Any], seconds: float = 180) -> None:
        """Wait until something has happened."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("waited in vain")
            self.look(0.02)
        self.look()

    def do(self, *words: object) -> None:
        """Use the mouse or the keyboard."""
        process = subprocess.Popen(["xdotool", *map(str, words)])
        while process.poll() is None:
            self.look(0.005)
        self.look(0.08)

    def place(self, layer: Any, *point: float) -> tuple[int, int]:
        """Return where a point of a layer is on the screen."""
        from qtpy.QtCore import QPoint

        world = np.asarray(layer.data_to_world(point))
        row, column = (world[axis] for axis in self.viewer.dims.displayed)
        x, y = self.canvas.view.scene.transform.map([column, row, 0, 1])[:2]
        corner = self.canvas.native.mapToGlobal(QPoint(int(x), int(y)))
        return corner.x(), corner.y()

    def point_at(self, place: tuple[int, int]) -> None:
        """Move the mouse."""
        self.do("mousemove", *place)

    def drag(self, start: tuple[int, int], stop: tuple[int, int], steps: int = 10) -> None:
        """Press, move and release the mouse."""
        self.point_at(start)
        self.do("mousedown", 1)
        for k in range(1, steps + 1):
            share = k / steps
            self.point_at(
                (
                    round(start[0] + share * (stop[0] - start[0])),
                    round(start[1] + share * (stop[1] - start[1])),
                )
            )
        self.do("mouseup", 1)

    def press(self, button: Any) -> None:
        """Click a button, scrolled into view."""
        from qtpy.QtWidgets import QScrollArea

        parent = button.parentWidget()
        while parent is not None and not isinstance(parent, QScrollArea):
            parent = parent.parentWidget()
        if parent is not None:
            parent.ensureWidgetVisible(button)
            self.look(0.1)
        middle = button.mapToGlobal(button.rect().center())
        self.do("mousemove", middle.x(), middle.y(), "click", 1)

    def photograph(self, name: str, widget: Any = None) -> None:
        """Save a picture of the window, small enough for a repository."""
        from PIL import Image

        self.look(0.4)
        path = IMAGES / f"{name}.png"
        (widget or self.window).grab().save(str(path))
        picture = Image.open(path).convert("RGB")
        picture.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
            path, optimize=True
        )
        print(path.name, path.stat().st_size // 1024, "KiB")

    def frame(self) -> Any:
        """Return the canvas as a picture for the animation."""
        from PIL import Image

        self.look(0.2)
        shot = self.viewer.screenshot(canvas_only=True, flash=False)
        picture = Image.fromarray(shot[..., :3])
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        return picture.crop((left, top, left + side, top + side)).resize((420, 420))


def open_sample() -> tuple[Any, Any, Person]:
    """Open napari with the sample and the panel."""
    import napari

    viewer = napari.Viewer()
    viewer.window._qt_window.setGeometry(*WINDOW)
    viewer.open_sample("sff-napari", "folded_stack")
    _dock, panel = viewer.window.add_plugin_dock_widget("sff-napari", "Fold restoration")
    person = Person(viewer)
    controller = panel.controller
    person.wait(lambda: controller.machine is not None)
    person.wait(lambda: controller.keeper.sidecar is not None)
    person.look(1)
    viewer.reset_view()
    return viewer, panel, person


def repair(viewer: Any, panel: Any, person: Person) -> list[Any]:
    """Repair one slice step by step; return the frames of the animation."""
    controller = panel.controller
    image = viewer.layers[0]
    frames = []

    def idle() -> bool:
        return not controller.is_busy

    controller.go_to((SLICE,))
    person.photograph("01-open")
    frames.append(person.frame())
    person.press(panel.find.buttons["detect"])
    person.wait(idle)
    person.photograph("02-detect")
    frames.append(person.frame())
    person.press(panel.line_tools.buttons["edit"])
    line = controller.lines.on((SLICE,))[0]
    ends = (line.vertices[0], line.vertices[-1])
    end = min(ends, key=lambda p: abs(p[0] - 192) + abs(p[1] - 192))
    start = person.place(image, SLICE, *end)
    person.drag(start, (start[0] + 6, start[1] + 26))
    person.photograph("03-correct")
    person.press(panel.line_tools.buttons["snap"])
    person.wait(idle)
    person.photograph("04-snap")
    person.do("key", "shift+r")
    person.wait(lambda: panel.progress.bar.value() > 200 or idle())
    person.photograph("05-restoring")
    person.wait(idle)
    person.photograph("06-restored")
    person.point_at(person.place(image, SLICE, 40, 40))
    for _ in range(2):
        person.do("keydown", "h")
        person.look()
        if len(frames) < 4:
            person.photograph("07-damaged")
        frames.append(person.frame())
        person.do("keyup", "h")
        frames.append(person.frame())
    person.press(panel.judge.buttons["side"])
    person.wait(lambda: panel.side_view.picture is not None)
    person.photograph("08-side-view", panel.side_view.window)
    panel.side_view.hide()
    for name in ("flow", "synthesised"):
        viewer.layers[name].visible = True
    person.photograph("08-flow")
    for name in ("flow", "synthesised"):
        viewer.layers[name].visible = False
    person.point_at(person.place(image, SLICE, 40, 40))
    person.do("key", "shift+a")
    controller.keeper.wait()
    person.press(panel.find.buttons["detect_all"])
    person.wait(idle)
    person.press(panel.review.buttons["next"])
    person.photograph("09-review-list")
    return frames


def export(panel: Any, person: Person, folder: Path) -> None:
    """Open the export dialog, photograph it, export."""
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QDialogButtonBox

    from sff_napari.napari_plugin.widgets.export_dialog import ExportDialog

    def in_dialog() -> None:
        (dialog,) = (w for w in person.app.topLevelWidgets() if isinstance(w, ExportDialog))
        dialog.folder.setText("folded_stack-restored")
        person.photograph("10-export", dialog)
        dialog.folder.setText(str(folder / "folded_stack-restored"))
        ok = QDialogButtonBox.StandardButton.Ok
        dialog.findChild(QDialogButtonBox).button(ok).click()

    QTimer.singleShot(800, in_dialog)
    person.press(panel.keep.buttons["export"])
    person.wait(lambda: not panel.controller.is_busy)


def simulate(viewer: Any, person: Person) -> None:
    """Show the widget that simulates a fold."""
    _dock, widget = viewer.window.add_plugin_dock_widget("sff-napari", "Simulate a fold")
    image = viewer.layers[0]
    viewer.dims.set_current_step(0, 5)
    person.look(0.5)
    person.press(widget.draw)
    person.drag(person.place(image, 5, 5, 120), person.place(image, 5, 378, 250))
    person.press(widget.run)
    person.wait(lambda: "folded stack folded" in viewer.layers)
    person.photograph("12-simulate")


def main() -> None:
    """Make all pictures."""
    if shutil.which("xdotool") is None:
        raise SystemExit("xdotool is missing: install it and run this again under xvfb-run.")
    folder = Path(tempfile.mkdtemp())
    os.environ["XDG_DATA_HOME"] = str(folder)
    from PIL import Image

    IMAGES.mkdir(exist_ok=True)
    viewer, panel, person = open_sample()
    frames = repair(viewer, panel, person)
    export(panel, person, folder)
    panel.shut_down()
    viewer.close()
    frames = [f.quantize(128, method=Image.Quantize.FASTOCTREE) for f in frames]
    frames[0].save(
        IMAGES / "repair.gif",
        save_all=True,
        append_images=frames[1:],
        duration=[1200, 1200, *[700] * (len(frames) - 2)],
        loop=0,
        optimize=True,
    )
    print("repair.gif", (IMAGES / "repair.gif").stat().st_size // 1024, "KiB")
    viewer, panel, person = open_sample()
    person.photograph("11-continue")
    person.press(panel.stack.go_on)
    person.look(0.5)
    panel.shut_down()
    viewer.close()

    import napari

    from sff_napari.napari_plugin.io.sample import folded_stack

    viewer = napari.Viewer()
    viewer.window._qt_window.setGeometry(*WINDOW)
    ((data, kwargs, _kind),) = folded_stack()
    viewer.add_image(data, **kwargs)
    person = Person(viewer)
    person.look(1)
    simulate(viewer, person)
    viewer.close()


if __name__ == "__main__":
    main()
