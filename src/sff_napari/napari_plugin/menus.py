"""Menu entries that are not widgets."""

from __future__ import annotations

import napari

from sff_napari.napari_plugin.notify import show_note

PLUGIN = "sff-napari"
WIDGET = "Fold restoration"


def new_fold_lines(viewer: napari.Viewer) -> None:
    """Open the panel and choose the tool that draws a fold line on the active image."""
    _dock, widget = viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
    if widget.controller.source is None:
        show_note("Open a stack first; then draw its fold lines.")
        return
    widget.controller.draw("add_line")
