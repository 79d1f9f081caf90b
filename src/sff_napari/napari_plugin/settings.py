"""The plugin's settings in napari's preferences, with defaults where there are none."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sff_napari.napari_plugin import compat
from sff_napari.napari_plugin.state import FormState

PLUGIN = "sff-napari"
DEFAULTS: dict[str, Any] = {
    "device": "auto",
    "session_folder": "",
    "skip_damaged": True,
    "max_folds": 8,
    "live_preview": False,
    "show_synthesised": True,
    "show_flow": True,
    "show_flow_colours": False,
    "show_reference": False,
    "show_unfolded": False,
    "show_confidence": False,
}
"""Same keys and defaults as ``configurations.restoration`` in the manifest."""

LAYER_KEYS = {
    "synthesised": "show_synthesised",
    "flow": "show_flow",
    "flow colours": "show_flow_colours",
    "reference": "show_reference",
    "unfolded": "show_unfolded",
    "confidence": "show_confidence",
}


def read_settings() -> dict[str, Any]:
    """Return the settings as a person left them."""
    values = dict(DEFAULTS)
    stored = compat.register_plugin_settings(PLUGIN)
    section = getattr(stored, "restoration", None)
    for name in values:
        if section is not None and hasattr(section, name):
            values[name] = getattr(section, name)
    return values


def watch_settings(callback: Callable[..., Any]) -> Callable[[], None]:
    """Call a function whenever a person changes a setting; return what ends that."""
    section = getattr(compat.register_plugin_settings(PLUGIN), "restoration", None)
    events = getattr(section, "events", None)
    if events is None:
        return lambda: None
    events.connect(callback)

    def end() -> None:
        with suppress(ValueError, RuntimeError, TypeError):
            events.disconnect(callback)

    return end


def initial_form(values: dict[str, Any] | None = None) -> FormState:
    """Return the form as the settings want it."""
    values = values or read_settings()
    return FormState(
        device=str(values["device"] or "auto"),
        max_folds=int(values["max_folds"]),
        skip_damaged=bool(values["skip_damaged"]),
        show=tuple(name for name, key in LAYER_KEYS.items() if values[key]),
    )
