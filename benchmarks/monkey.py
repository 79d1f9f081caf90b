"""Press, click and scroll at random in a real window: nothing may ever be lost.

Three small folded stacks are opened with the panel.  A seeded monkey then clicks
buttons, turns the wheel, presses keys, draws, selects, hides and deletes layers,
switches stacks, answers questions at random, and kills the process (kill -9) now and
then.  A journal tells which results there should be; whatever disappears or changes its
decision without an action that is meant to do so is a fault, and so is any exception from
the plugin, any crash, and any result that the journal has and the disk has not.

Run it on Linux under a virtual screen::

    xvfb-run -a -s "-screen 0 1400x1000x24" python benchmarks/monkey.py --seconds 180 --seed 1
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("first", "second", "third")
MEANT = {
    "undo",
    "redo",
    "restore",
    "restore_all",
    "accept",
    "reject",
    "reopen",
    "discard",
    "accept_line",
    "reject_line",
    "continue",
    "anew",
    "detect",
    "kill",
}
"""What may change or take away a result: it was asked for."""
SETTLED = 1.5
"""Seconds after which everything must be on disk."""


def make_stacks(folder: Path) -> list[Path]:
    """Write three folded stacks (5, 128, 128)."""
    import tifffile

    from sff_napari import Fold, simulate_fold
    from sff_napari.simulation import neuropil

    paths = []
    for number, name in enumerate(NAMES):
        stack = neuropil((5, 128, 128), seed=number)
        for z in (1, 3):
            fold = Fold([(0.0, 50.0 + 10 * z), (127.0, 60.0 + 5 * number)], 4.0)
            stack[z] = simulate_fold(stack[z], fold, 12.0, 0.05).damaged
        paths.append(folder / f"{name}.tif")
        tifffile.imwrite(paths[-1], stack, photometric="minisblack")
    return paths


def on_disk(path: Path, place: Path | None = None) -> dict[str, Any]:
    """Return the results and lines that the session of a stack holds, complete ones only.

    A stack that is open twice has two sessions: the first one that holds something counts.
    """
    from sff_napari.sessions import Sidecar

    first = path.with_name(f"{path.name}.sff-session")
    numbered = [first, *(Path(f"{first}-{number}") for number in range(2, 10))]
    for folder in [place] if place is not None else numbered:
        if not (folder / "session.json").exists():
            continue
        session = Sidecar.load(folder)
        if session.folds or session.slices or session.searched:
            break
    else:
        return {"results": {}, "lines": []}
    results = {}
    for index, record in session.slices.items():
        if record.folder is None:
            results[str(index[0])] = [record.state, ""]
            continue
        session.read(index, "restored")
        whole = (folder / record.folder / "restored.tif").exists()
        state = "accepted" if record.state == "stale" else record.state
        results[str(index[0])] = [state, record.folder if whole else "MISSING"]
    return {"results": results, "lines": sorted(fold.uid for fold in session.folds)}


class Monkey:
    """Does things at random to a viewer with the panel, and looks what becomes of the results."""

    def __init__(self, folder: Path, seed: int, seconds: float, kill: bool) -> None:
        import napari
        from qtpy.QtCore import QTimer
        from qtpy.QtWidgets import QApplication

        self.rng = random.Random(seed)
        self.end = time.monotonic() + seconds
        self.kill = kill
        self.folder = folder
        self.paths = [folder / f"{name}.tif" for name in NAMES]
        self.journal = (folder / "journal.jsonl").open("a")
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.doing = "start"
        self.meant_until: dict[str, tuple[float, int]] = {}
        self.done = 0
        sys.excepthook = self.on_exception
        self.viewer = napari.Viewer()
        self.viewer.window._qt_window.setGeometry(0, 0, 1200, 860)
        for path in self.paths:
            self.viewer.open(path, plugin="napari")
        _dock, self.panel = self.viewer.window.add_plugin_dock_widget(
            "sff-napari", "Fold restoration"
        )
        napari.utils.notifications.notification_manager.notification_ready.connect(self.on_notice)
        self.app = QApplication.instance()
        self.c = self.panel.controller
        self.dialogs = QTimer()
        self.dialogs.setInterval(60)
        self.dialogs.timeout.connect(self.answer)
        self.dialogs.start()

    # -- looking ----------------------------------------------------------------------

    def on_exception(self, kind: Any, error: Any, trace: Any) -> None:
        """Note an exception; those of napari alone are counted only."""
        text = "".join(traceback.format_exception(kind, error, trace))
        if "sff_napari" in text:
            self.fault(text)
        else:
            self.counts["napari's own exceptions"] += 1

    def on_notice(self, notice: Any) -> None:
        """Note exceptions that napari shows as notifications."""
        error = getattr(notice, "exception", None)
        if error is not None:
            self.on_exception(type(error), error, error.__traceback__)

    def fault(self, text: str) -> None:
        """Remember and print a fault."""
        self.faults.append(text)
        print(f"FAULT after {self.doing}: {text}", flush=True)

    def wait(self, seconds: float) -> None:
        """Let the application work."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.app.processEvents()
            time.sleep(0.002)

    def works(self) -> dict[str, Any]:
        """Return the workspaces of all stacks that were in work."""
        works = [*self.c.parked, *([] if self.c.work is None else [self.c.work])]
        return {work.source.path: work for work in works}

    def ledger(self) -> dict[str, Any]:
        """Return all results and lines of all stacks."""
        out = {}
        for path, work in self.works().items():
            if work.keeper.offered is not None or work.keeper.sidecar is None:
                continue  # its earlier session was not found or taken up yet
            results = {
                str(r.index[0]): [r.record.state, r.record.folder or ""] for r in work.store.all()
            }
            out[str(path)] = {"results": results, "lines": sorted(work.lines.records)}
        return out

    def write(self, before: dict[str, Any]) -> dict[str, Any]:
        """Compare with what there was, and write the journal."""
        now = self.ledger()
        clock = time.monotonic()
        self.done += 1
        meant = {
            name
            for name, (until, step) in self.meant_until.items()
            if until > clock or step >= self.done
        }
        restoring = meant & {"restore", "restore_all"}
        meant -= restoring
        for path, was in before.items():
            if path not in now:
                continue
            for index, result in was["results"].items():
                after = now[path]["results"].get(index)
                # A restoration that was started earlier may put a new result there.
                fresh = after is not None and after[0] == "restored" and after[1] != result[1]
                if after != result and not meant and not (restoring and fresh):
                    self.fault(f"{Path(path).name} slice {index}: {result} became {after}")
        if now != before:
            self.journal.write(json.dumps({"at": time.time(), "ledger": now}) + "\n")
            self.journal.flush()
        return now

    def check_disk(self) -> None:
        """Compare memory and disk after everything was saved."""
        self.wait(0.1)
        for path, work in self.works().items():
            if work.keeper.sidecar is None or work.keeper.offered is not None:
                continue
            work.keeper.save_soon()
            work.keeper.wait()
            disk = on_disk(Path(path), work.keeper.place)
            memory = self.ledger()[str(path)]
            if disk != memory:
                self.fault(f"{Path(path).name}: disk {disk} but memory {memory}")

    def answer(self) -> None:
        """Answer a dialog with a random button."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QMessageBox

        box = self.app.activeModalWidget()
        if box is None:
            menu = self.app.activePopupWidget()
            if menu is not None:
                QTest.keyClick(menu, Qt.Key.Key_Escape)
            return
        if isinstance(box, QMessageBox):
            button = self.rng.choice(box.buttons())
            self.counts[f"answer {button.text().replace('&', '')}"] += 1
            self.mean("answer")
            QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        else:
            QTest.keyClick(box, Qt.Key.Key_Escape)

    def mean(self, name: str, seconds: float = 2.0) -> None:
        """Note that something was done that may change results, soon or by the next step.

        On a busy machine a click alone can take longer than the seconds.
        """
        self.meant_until[name] = time.monotonic() + seconds, self.done + 2

    # -- doing ------------------------------------------------------------------------

    def click_button(self) -> str:
        """Click a button of the panel."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QAbstractButton, QScrollArea

        buttons = [
            b for b in self.panel.findChildren(QAbstractButton) if b.isVisible() and b.isEnabled()
        ]
        button = self.rng.choice(buttons)
        if button.objectName() in ("sff_open_lines", "sff_open_result", "sff_export"):
            return "nothing"
        name = button.objectName().removeprefix("sff_") or button.text()
        if button is self.panel.stack.go_on:
            name = "continue"
        elif button is self.panel.stack.anew:
            name = "anew"
        self.panel.findChild(QScrollArea).ensureWidgetVisible(button)
        if name in MEANT:
            self.mean(name, 30 if name.startswith("restore") else 2)
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        return f"button {name}"

    def press_key(self) -> str:
        """Press a key while the canvas or the layer list has the keyboard."""
        from qtpy.QtGui import QKeySequence
        from qtpy.QtTest import QTest

        from sff_napari.napari_plugin.actions import ACTIONS

        target = self.viewer.window._qt_viewer.canvas.native
        if self.rng.random() < 0.2:
            target = self.viewer.window._qt_viewer.layers
        own = self.rng.random() < 0.7
        names = [n for n in ACTIONS if n not in ("open_lines", "open_result", "export")]
        name = self.rng.choice(names)
        key = ACTIONS[name].key
        if not own:
            key = self.rng.choice(
                ["Del", "Backspace", "Escape", "V", "1", "2", "3", "4", "5", "Left", "Right", "A"]
            )
            name = key
        if name in MEANT:
            self.mean(name, 30 if name.startswith("restore") else 2)
        target.setFocus()
        QTest.keySequence(target, QKeySequence(key))
        return f"key {name}"

    def turn_wheel(self) -> str:
        """Turn the wheel over any part of the panel, or over the canvas."""
        from qtpy.QtCore import QPoint, QPointF, Qt
        from qtpy.QtGui import QWheelEvent
        from qtpy.QtWidgets import QWidget

        widgets = [w for w in self.panel.findChildren(QWidget) if w.isVisible()]
        widget = self.rng.choice([*widgets, self.viewer.window._qt_viewer.canvas.native])
        at = widget.rect().center()
        event = QWheelEvent(
            QPointF(at),
            QPointF(widget.mapToGlobal(at)),
            QPoint(0, 0),
            QPoint(0, self.rng.choice((-120, 120))),
            Qt.MouseButton.NoButton,
            self.rng.choice((Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier)),
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        self.app.sendEvent(widget, event)
        return "wheel"

    def drag(self) -> str:
        """Press, move and release the mouse on the canvas."""
        from qtpy.QtCore import QPoint, Qt
        from qtpy.QtTest import QTest

        canvas = self.viewer.window._qt_viewer.canvas.native
        width, height = canvas.width(), canvas.height()
        points = [
            QPoint(self.rng.randrange(20, width - 20), self.rng.randrange(20, height - 20))
            for _ in range(2)
        ]
        QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=points[0])
        self.wait(0.01)
        for k in range(1, 6):
            QTest.mouseMove(canvas, points[0] + (points[1] - points[0]) * k / 5)
            self.wait(0.01)
        QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=points[1])
        if self.rng.random() < 0.3:
            QTest.mouseDClick(canvas, Qt.MouseButton.LeftButton, pos=points[1])
        return "drag on the canvas"

    def click_layer(self) -> str:
        """Select a layer in napari's list."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        view = self.viewer.window._qt_viewer.layers
        if not view.model().rowCount():
            return "nothing"
        row = self.rng.randrange(view.model().rowCount())
        at = view.visualRect(view.model().index(row, 0)).center()
        QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=at)
        return "select a layer"

    def change_layer(self) -> str:
        """Hide, show or delete a layer."""
        if not len(self.viewer.layers):
            return "nothing"
        layer = self.rng.choice(list(self.viewer.layers))
        if self.rng.random() < 0.7 or layer.name in NAMES:
            layer.visible = not layer.visible
            return "hide or show a layer"
        self.viewer.layers.selection = {layer}
        self.viewer.layers.remove_selected()
        return f"delete {layer.name.split(' [')[0]}"

    def bring_stacks_back(self) -> None:
        """Open what a key in the layer list has deleted."""
        for name in NAMES:
            if name not in self.viewer.layers:
                self.viewer.open(self.folder / f"{name}.tif", plugin="napari")

    def reopen_stack(self) -> str:
        """Delete the layer of a stack and open its file again."""
        name = self.rng.choice(NAMES)
        if name in self.viewer.layers:
            self.viewer.layers.remove(name)
        self.wait(self.rng.random() * 0.3)
        self.viewer.open(self.folder / f"{name}.tif", plugin="napari")
        return "delete a stack and open it again"

    def switch(self) -> str:
        """Choose another stack in the panel."""
        box = self.panel.stack.layer
        if not box.count():
            return "nothing"
        box.setCurrentIndex(self.rng.randrange(box.count()))
        box.activated.emit(box.currentIndex())
        return "choose a stack"

    def repair(self) -> str:
        """Do the sensible thing: a line on a folded slice, restore."""
        lines = self.c.lines
        if lines is None or not self.c.settle_offer():
            return "nothing"
        z = self.rng.choice((1, 3))
        self.c.go_to((z,))
        self.wait(0.15)
        if not lines.on((z,)) and self.c.lines is lines:
            layer = lines.ensure_layer()
            points = [[z, 0.0, self.rng.uniform(40, 90)], [z, 127.0, self.rng.uniform(50, 80)]]
            layer.add([np.array(points)], shape_type="line", edge_width=8)
        self.mean("restore", 30)
        self.c.restore_here()
        return "line and restore"

    def move_slider(self) -> str:
        """Show another slice."""
        self.viewer.dims.set_current_step(0, self.rng.randrange(5))
        return "slider"

    def exchange_data(self) -> str:
        """Be another program that assigns the layer's data."""
        name = self.rng.choice(NAMES)
        if name not in self.viewer.layers:
            return "nothing"
        layer = self.viewer.layers[name]
        layer.data = np.array(layer.data)
        return "exchange data"

    def step(self) -> None:
        """Do one thing at random."""
        ways = {
            self.click_button: 9,
            self.press_key: 9,
            self.turn_wheel: 4,
            self.drag: 3,
            self.click_layer: 3,
            self.change_layer: 2,
            self.reopen_stack: 0.3,
            self.switch: 1.5,
            self.repair: 2,
            self.move_slider: 3,
            self.exchange_data: 0.2,
        }
        way = self.rng.choices(list(ways), list(ways.values()))[0]
        self.doing = way.__name__
        try:
            self.doing = way()
        except Exception as error:
            self.on_exception(type(error), error, error.__traceback__)
        self.counts[self.doing] += 1
        self.wait(self.rng.choice((0.005, 0.02, 0.05, 0.1, 0.3)))

    def come_back(self) -> None:
        """Continue every session, and compare with what the disk held before."""
        expected = {str(path): on_disk(path) for path in self.paths}
        for path in self.paths:
            layer = self.viewer.layers[path.stem]
            self.c.choose(layer)
            end = time.monotonic() + 30
            while self.c.keeper is None or self.c.keeper.sidecar is None:
                self.wait(0.02)
                if time.monotonic() > end:
                    self.fault(f"{path.name}: its session was not looked for")
                    return
            self.wait(0.2)
            if self.panel.stack.go_on.isVisible():
                self.panel.stack.go_on.click()
            self.wait(0.3)
            now = self.ledger().get(str(path))
            if now != expected[str(path)]:
                self.fault(f"{path.name} came back as {now}, the disk had {expected[str(path)]}")

    def run(self) -> None:
        """Go on until the time is over or the process is killed."""
        end = time.monotonic() + 60
        while self.c.machine is None and time.monotonic() < end:
            self.wait(0.05)
        self.doing = "coming back"
        self.come_back()
        now = self.write({})
        steps = 0
        while time.monotonic() < self.end:
            self.step()
            steps += 1
            now = self.write(now)
            if steps % 40 == 0:
                self.check_disk()
                self.bring_stacks_back()
            if self.kill and self.rng.random() < 0.012:
                self.report()
                os.kill(os.getpid(), signal.SIGKILL)
        self.check_disk()
        self.panel.shut_down()
        self.report()
        os._exit(0)

    def report(self) -> None:
        """Tell the parent what was done."""
        told = {"counts": dict(self.counts), "faults": len(self.faults)}
        print("REPORT " + json.dumps(told), flush=True)


def lost_after_kill(folder: Path) -> list[str]:
    """Return what the journal has, older than a moment, and the disk has not."""
    path = folder / "journal.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    if not entries:
        return []
    faults = []
    last = entries[-1]["at"]
    recent = [e["ledger"] for e in entries if e["at"] > last - SETTLED]
    older = [e["ledger"] for e in entries if e["at"] <= last - SETTLED]
    possible = [*older[-1:], *recent]
    for stack in possible[-1]:
        if stack not in possible[0]:
            continue  # it was taken up, or started anew, a moment ago
        disk = on_disk(Path(stack))
        states = [ledger[stack] for ledger in possible if stack in ledger]
        for index in {i for state in states for i in state["results"]}:
            allowed = [state["results"].get(index) for state in states]
            if disk["results"].get(index) not in allowed:
                faults.append(
                    f"{stack} slice {index}: {disk['results'].get(index)} not in {allowed}"
                )
        steady = set.intersection(*(set(state["lines"]) for state in states))
        if missing := steady - set(disk["lines"]):
            faults.append(f"{stack}: lines {sorted(missing)} are lost")
    return faults


def main() -> None:
    """Run the monkey, again and again if it kills itself, and print what it did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-kill", action="store_true")
    parser.add_argument("--child", type=Path)
    options = parser.parse_args()
    if options.child is not None:
        Monkey(options.child, options.seed, options.seconds, not options.no_kill).run()
        return
    folder = Path(tempfile.mkdtemp(prefix="sff-monkey-"))
    make_stacks(folder)
    home = {**os.environ, "XDG_DATA_HOME": str(folder), "NAPARI_CONFIG": str(folder / "s.yaml")}
    end = time.monotonic() + options.seconds
    counts: Counter[str] = Counter()
    faults = 0
    life = 0
    while (left := end - time.monotonic()) > 5:
        life += 1
        command = [sys.executable, "-X", "faulthandler", __file__, "--child", str(folder)]
        command += ["--seed", str(options.seed * 1000 + life), "--seconds", str(left)]
        command += ["--no-kill"] * options.no_kill
        child = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=home,
            check=False,
        )
        reports = [line for line in child.stdout.splitlines() if line.startswith("REPORT ")]
        for line in reports:
            told = json.loads(line.removeprefix("REPORT "))
            counts.update(told["counts"])
            faults += told["faults"]
        if not reports:
            faults += 1
            print(f"CRASH with status {child.returncode}")
        if not reports or "FAULT" in child.stdout:
            print(child.stdout[-6000:])
        if child.returncode == -signal.SIGKILL:
            counts["kill -9"] += 1
        for lost in lost_after_kill(folder):
            faults += 1
            print(f"LOST: {lost}")
        (folder / "journal.jsonl").unlink(missing_ok=True)
    print(f"seed {options.seed}: {sum(counts.values())} actions in {life} lives, {faults} faults")
    for name, count in counts.most_common():
        print(f"  {count:5d}  {name}")
    if faults:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
