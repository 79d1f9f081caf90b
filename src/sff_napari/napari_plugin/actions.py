"""Every action once: its button text, key, tooltip and what it calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QPushButton, QShortcut, QSizePolicy, QWidget

from sff_napari.napari_plugin.controller.opening import ask_for_lines, ask_for_result

if TYPE_CHECKING:
    from sff_napari.napari_plugin.controller.controller import Controller

Call = Callable[["Controller"], Any]


@dataclass(frozen=True)
class Action:
    """Something a person can do.

    Parameters
    ----------
    name : str
        Identifier.
    text : str
        On the button.
    key : str
        As Qt writes it, e.g. ``"Shift+D"``; napari's spelling is derived from it.
    tip : str
        What it does, in one sentence.
    call : callable
        Called with the controller.
    idle : bool
        Whether it has to wait while a job is running.
    """

    name: str
    text: str
    key: str
    tip: str
    call: Call
    idle: bool = False


ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action(
            "detect",
            "Detect on this slice",
            "Shift+D",
            "Look for folds on the slice that is shown and draw their lines.",
            lambda c: c.detect_here(),
            True,
        ),
        Action(
            "detect_all",
            "Detect on all slices",
            "Ctrl+Shift+D",
            "Search all slices in the background, the near ones first. Cancel stops it; "
            "pressing again goes on where it stopped.",
            lambda c: c.detect_all(),
            True,
        ),
        Action(
            "line",
            "Draw line",
            "N",
            "Draw a straight fold: press the mouse at one end, drag to the other.",
            lambda c: c.draw("add_line"),
        ),
        Action(
            "path",
            "Draw path",
            "Shift+N",
            "Draw a bent fold: click point after point, double-click to end.",
            lambda c: c.draw("add_polyline"),
        ),
        Action(
            "edit",
            "Move points",
            "Shift+E",
            "Drag the points of a line. Click a line first to select it.",
            lambda c: c.draw("direct"),
        ),
        Action(
            "bend",
            "Add point",
            "Shift+I",
            "Click on a line to add a point, then drag the point to bend the line.",
            lambda c: c.draw("vertex_insert"),
        ),
        Action(
            "select",
            "Select",
            "Shift+F",
            "Select, move or turn whole lines.",
            lambda c: c.draw("select"),
        ),
        Action(
            "snap",
            "Snap to the dark line",
            "Shift+S",
            "Move the selected line onto the dark ridge near it and measure its width.",
            lambda c: c.snap(),
            True,
        ),
        Action(
            "wider",
            "Wider",
            "]",
            "Make the selected line wider. Shift and the mouse wheel do the same.",
            lambda c: c.widen(1.1),
        ),
        Action(
            "narrower",
            "Narrower",
            "[",
            "Make the selected line narrower.",
            lambda c: c.widen(1 / 1.1),
        ),
        Action(
            "copy",
            "Copy to next",
            "Shift+C",
            "Copy the selected line to the next slice and go there.",
            lambda c: c.copy_to_next(),
        ),
        Action(
            "delete",
            "Delete line",
            "Shift+Delete",
            "Delete the selected line. With the layer 'folds' selected, Delete does the same.",
            lambda c: c.delete_lines(),
        ),
        Action(
            "undo",
            "Undo",
            "Ctrl+Z",
            "Take back what was done last: to a line, a result or a decision.",
            lambda c: c.undo(),
        ),
        Action(
            "redo",
            "Redo",
            "Ctrl+Shift+Z",
            "Repeat what was taken back last.",
            lambda c: c.redo(),
        ),
        Action(
            "restore",
            "Restore this slice",
            "Shift+R",
            "Restore the slice that is shown from its lines and its neighbours.",
            lambda c: c.restore_here(),
            True,
        ),
        Action(
            "restore_all",
            "Restore all to do",
            "Ctrl+Shift+R",
            "Restore every slice of the review list that is to do or stale.",
            lambda c: c.restore_all(),
            True,
        ),
        Action(
            "cancel",
            "Cancel",
            "Shift+X",
            "Stop what is running; nothing is changed.",
            lambda c: c.cancel(),
        ),
        Action(
            "side",
            "Side view across the fold",
            "Shift+W",
            "Show a cut through the stack across the fold's line, before and after.",
            lambda c: c.side_view.emit(),
        ),
        Action(
            "accept",
            "Accept slice",
            "Shift+A",
            "Keep the restored slice; it is saved at once.",
            lambda c: c.accept_slice(),
        ),
        Action(
            "reject",
            "Reject slice",
            "Shift+J",
            "Keep the original slice instead of the restored one.",
            lambda c: c.reject_slice(),
        ),
        Action(
            "reopen",
            "Undecided",
            "Shift+Y",
            "Take back the decision on this slice; its result stays.",
            lambda c: c.reopen_slice(),
        ),
        Action(
            "discard",
            "Discard restoration",
            "Shift+K",
            "Throw the result of this slice away; its lines stay, and undo brings it back.",
            lambda c: c.discard_result(),
        ),
        Action(
            "show_results",
            "Show results",
            "Shift+V",
            "Bring back the layers of lines and results that were hidden or removed.",
            lambda c: c.show_results(),
        ),
        Action(
            "accept_line",
            "Accept line",
            "Ctrl+Shift+A",
            "Mark the selected line as right. When every line of a restored slice is accepted, "
            "so is the slice. Pressing again takes it back.",
            lambda c: c.decide_line("accepted"),
        ),
        Action(
            "reject_line",
            "Reject line",
            "Ctrl+Shift+J",
            "Mark the selected line as no fold: it is not used. Pressing again takes it back.",
            lambda c: c.decide_line("rejected"),
        ),
        Action(
            "previous",
            "Previous",
            "PgUp",
            "Go to the previous slice of the list.",
            lambda c: c.step(-1),
        ),
        Action(
            "next",
            "Next",
            "PgDown",
            "Go to the next undecided slice of the list.",
            lambda c: c.step(1),
        ),
        Action(
            "open_lines",
            "Open fold lines",
            "Shift+O",
            "Take the lines of a file into the review list, as 'sff-napari detect' writes them.",
            ask_for_lines,
            True,
        ),
        Action(
            "open_result",
            "Open a result",
            "Shift+U",
            "Review a volume that was restored from this stack with 'sff-napari restore'.",
            ask_for_result,
            True,
        ),
        Action(
            "export",
            "Export",
            "Ctrl+Shift+E",
            "Write the corrected stack, the lines, the masks and the flow to new files.",
            lambda c: c.export_wanted.emit(),
        ),
    )
}
"""All actions by name."""

FLICKER_KEY = "H"
LIVE_KEY = "Shift+M"


def napari_key(key: str) -> str:
    """Return a key in napari's spelling, e.g. ``"Control-Shift-Z"``."""
    names = {"Ctrl": "Control", "PgUp": "PageUp", "PgDown": "PageDown"}
    return "-".join(names.get(part, part) for part in key.split("+"))


def button(action: Action, controller: Controller, parent: QWidget | None = None) -> QPushButton:
    """Return a button for an action; it never takes the keyboard from the canvas."""
    widget = QPushButton(action.text, parent)
    widget.setObjectName(f"sff_{action.name}")
    widget.setToolTip(f"{action.tip} Key: {action.key}")
    widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    widget.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    widget.setMinimumWidth(40)
    widget.clicked.connect(lambda *_: action.call(controller))
    return widget


def bind_keys(target: Any, controller: Controller) -> None:
    """Bind every action's key on a viewer or a layer; a layer's own keys win over the viewer's."""
    for action in ACTIONS.values():

        def pressed(_: Any, call: Call = action.call) -> None:
            call(controller)

        target.bind_key(napari_key(action.key), pressed, overwrite=True)


def unbind_keys(target: Any) -> None:
    """Take the keys of every action off a viewer or a layer."""
    for action in ACTIONS.values():
        target.bind_key(napari_key(action.key), None, overwrite=True)


def shortcuts(panel: QWidget, controller: Controller) -> list[QShortcut]:
    """Make the keys work while the panel has the keyboard."""
    made = []
    for action in ACTIONS.values():
        shortcut = QShortcut(QKeySequence(action.key), panel)
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.activated.connect(lambda call=action.call: call(controller))
        made.append(shortcut)
    return made
