"""Questions that are asked before something could be lost."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QMessageBox

from sff_napari.napari_plugin import compat


def choose_answer(viewer: Any, question: str, answers: list[str]) -> int | None:
    """Ask a question in a dialog over the viewer's window.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose window the dialog belongs to.
    question : str
        One or two sentences.
    answers : list of str
        The buttons; beside them there is always "Cancel".

    Returns
    -------
    int or None
        Which answer was given; None for "Cancel".
    """
    box = QMessageBox(compat.qt_window(viewer))
    box.setObjectName("sff_question")
    box.setWindowTitle("Fold restoration")
    box.setIcon(QMessageBox.Icon.Question)
    box.setText(question)
    buttons = [box.addButton(text, QMessageBox.ButtonRole.AcceptRole) for text in answers]
    cancel = box.addButton(QMessageBox.StandardButton.Cancel)
    box.setDefaultButton(cancel)
    box.setEscapeButton(cancel)
    box.exec()
    clicked = box.clickedButton()
    for at, button in enumerate(buttons):
        if clicked is button:
            return at
    return None
