"""All uses of private napari interfaces, in one place."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any


def is_drawing(layer: Any) -> bool:
    """Tell whether a shape of a Shapes layer is being drawn right now."""
    return bool(getattr(layer, "_is_creating", False))


def finish_drawing(layer: Any) -> None:
    """End the shape that is being drawn, as the Escape key does."""
    with suppress(AttributeError):
        layer._finish_drawing()


def end_creation(layer: Any) -> None:
    """Tell a Shapes layer that the shape which it is just finishing is finished.

    napari 0.9 says so itself only after it has told others of the new shape; removing a shape
    before that finishes the drawing a second time and raises.
    """
    with suppress(AttributeError):
        layer._is_creating = False


def qt_window(viewer: Any) -> Any | None:
    """Return the Qt main window of a viewer, or None without one."""
    with suppress(AttributeError, RuntimeError):
        return viewer.window._qt_window
    return None


def camera_centre(viewer: Any) -> tuple[float, ...]:
    """Return the world coordinates (..., Y, X) in the middle of the view."""
    scene = getattr(viewer, "scene", viewer)  # the camera moved there in napari 0.9
    return tuple(scene.camera.center)


def focus_canvas(viewer: Any) -> None:
    """Give the keyboard back to the canvas, so that napari's keys work after a click."""
    with suppress(AttributeError, RuntimeError):
        viewer.window._qt_viewer.canvas.native.setFocus()


def layer_list(viewer: Any) -> Any | None:
    """Return the Qt view of a viewer's layer list, or None without one."""
    with suppress(AttributeError, RuntimeError):
        return viewer.window._qt_viewer.layers
    return None


def send_key(viewer: Any, event: Any, *, released: bool) -> bool:
    """Hand a key event to the viewer as if the canvas had it; False where that cannot be done."""
    with suppress(AttributeError, RuntimeError):
        qt_viewer = viewer.window._qt_viewer
        (qt_viewer.keyReleaseEvent if released else qt_viewer.keyPressEvent)(event)
        return True
    return False


def theme_colours(viewer: Any) -> dict[str, str]:
    """Return the hex colours ``text``, ``warning``, ``error`` and ``current`` of the theme."""
    fallback = {"text": "#888888", "warning": "#e3b617", "error": "#c0392b", "current": "#3a86c8"}
    try:
        from napari.utils.theme import get_theme

        theme = get_theme(viewer.theme)
        return {name: getattr(theme, name).as_hex() for name in fallback}
    except (AttributeError, ImportError, KeyError, ValueError):
        return fallback


def edge_widths(layer: Any, widths: dict[int, float]) -> None:
    """Set the line widths of some shapes without touching the others."""
    view = getattr(layer, "_data_view", None)
    if view is None or not hasattr(view, "update_edge_width"):
        every = list(layer.edge_width)
        for i, width in widths.items():
            every[i] = width
        layer.edge_width = every
        return
    for i, width in widths.items():
        view.update_edge_width(i, width)
    layer.refresh(extent=False)


def edge_colours(layer: Any, colours: dict[int, Any]) -> None:
    """Set the line colours of some shapes without touching the others."""
    import numpy as np

    view = getattr(layer, "_data_view", None)
    if view is None or not hasattr(view, "update_edge_color"):
        every = np.array(layer.edge_color)
        for i, colour in colours.items():
            every[i] = colour
        layer.edge_color = every
        return
    for i, colour in colours.items():
        view.update_edge_color(i, np.asarray(colour, dtype=np.float32))
    if colours:
        layer.refresh(extent=False)


def set_vertices(layer: Any, index: int, vertices: Any) -> None:
    """Replace the points of one line in place; its features and colours stay.

    Two points make a napari line, not a path: clicking a vertex into a path of
    one segment raises in napari 0.9.
    """
    from napari.layers.shapes._shapes_models import Line, Path

    layer._data_view.edit(index, vertices, new_type=Line if len(vertices) == 2 else Path)
    layer.refresh()


def register_plugin_settings(plugin: str) -> Any | None:
    """Return napari's settings of a plugin, or None where this napari has none."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return None
    with suppress(KeyError, ValueError, AttributeError):
        return get_plugin_settings(plugin)
    return None


def real_viewer(viewer: Any) -> Any:
    """Return the viewer behind the proxy that napari hands to plugins.

    The proxy wraps every layer anew, so that the same layer is never identical
    to itself, which is how results find out whether their layer is still there.
    """
    return getattr(viewer, "__wrapped__", viewer)


def quicken_shapes(viewer: Any, layer: Any) -> bool:
    """Make drawing a Shapes layer cheap while the slice slider moves.

    napari hands new meshes to vispy at every step.  vispy 0.17 compiles the
    shader of a mesh again each time, and draws the outlines, points and box of
    selected shapes even where there are none.

    Returns
    -------
    bool
        False where this napari has other visuals; then nothing is changed.
    """
    with suppress(AttributeError, KeyError, RuntimeError):
        node = viewer.window._qt_viewer.canvas.layer_to_visual[layer].node
        meshes = (node.shape_faces, node.shape_highlights)
        lines, points = node.highlight_lines, node.highlight_vertices
        for mesh in meshes:
            _compile_once(mesh)
        _draw_if(node.shape_highlights, lambda data: bool((data["vertices"] != 0).any()))
        _draw_if(lines, lambda data: data["width"] != 0)
        _draw_if(points, lambda data: data["size"] != 0)
        return True
    return False


def keep_shader_programs() -> bool:
    """Keep vispy from deleting shader programs, as long as the process lives.

    When the programs of a removed layer are deleted, a later drawing of another
    layer crashes the process in some OpenGL drivers (seen with Mesa, napari
    0.9.2, vispy 0.17: removing any Shapes layer of a viewer suffices).  A program
    takes some kilobytes; textures and buffers are deleted as before.

    Returns
    -------
    bool
        False where this vispy is made in another way; then nothing is changed.
    """
    with suppress(ImportError, AttributeError):
        from vispy.gloo.glir import GlirProgram

        if not hasattr(GlirProgram, "_sff_napari_delete"):
            GlirProgram._sff_napari_delete = GlirProgram.delete
            GlirProgram.delete = lambda program: None
        return True
    return False


def _compile_once(mesh: Any) -> None:
    """Give a vispy mesh the same colour function at each update: a new one means a new shader."""
    real = mesh._build_color_transform
    kept: list[Any] = []

    def build(colors: Any) -> Any:
        if colors.ndim == 2 and colors.shape[1] == 1:
            kept.clear()
            return real(colors)  # values to be mapped; napari's shapes have colours instead
        if not kept:
            kept.append(real(colors))
        return kept[0]

    _replace(mesh, "_build_color_transform", build)


def _draw_if(visual: Any, shows: Callable[[dict[str, Any]], bool]) -> None:
    """Draw a vispy visual only while its data, as napari sets them, show something."""
    real = visual.set_data

    def set_data(*args: Any, **data: Any) -> None:
        named = {"vertices": args[0], **data} if args else data
        visual.visible = shows(named)
        if visual.visible:
            real(*args, **data)

    _replace(visual, "set_data", set_data)
    visual.visible = False


def _replace(visual: Any, name: str, function: Callable[..., Any]) -> None:
    """Set an attribute of a vispy visual, which refuses unknown ones."""
    visual.unfreeze()
    setattr(visual, name, function)
    visual.freeze()
