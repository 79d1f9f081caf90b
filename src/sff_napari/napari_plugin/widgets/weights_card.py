"""What a weights file says about itself."""

from __future__ import annotations

import html
import json
import struct
from importlib.resources import files
from pathlib import Path
from typing import Any

_SHOWN = ("kind", "width", "version", "data", "trained_on", "licence", "license", "scores", "date")


def describe_weights(path: str) -> str:
    """Return a short card, as rich text, of a weights file or folder; empty: the bundled ones."""
    folder = Path(path) if path else Path(str(files("sff_napari") / "weights"))
    if not folder.is_dir():
        return _card(folder)
    cards = [_card(file) for file in sorted(folder.glob("*.safetensors"))]
    if cards:
        return "<br>".join(cards)
    if path:
        return f"There are no weights in {html.escape(str(folder))}."
    return "No weights are bundled: reinstall sff-napari."


def weights_in_brief(path: str) -> str:
    """Return in two sentences what the weights of a folder were trained on; empty: bundled."""
    folder = Path(path) if path else Path(str(files("sff_napari") / "weights"))
    trained: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*.safetensors")) if folder.is_dir() else []:
        try:
            metadata = read_header(file)
        except (OSError, ValueError, struct.error):
            continue
        data = str(metadata.get("data") or metadata.get("trained_on") or "")
        trained.setdefault(data, []).append(str(metadata.get("kind", file.stem)))
    if not trained:
        return "There are no weights of networks that can be read: methods without them are used."
    sentences = [
        f"The networks ({', '.join(kinds)}) were trained on {html.escape(data) or 'unnamed data'}."
        for data, kinds in trained.items()
    ]
    return " ".join(
        [*sentences, "On other tissue they may do worse: compare before and after there."]
    )


def read_header(path: Path) -> dict[str, Any]:
    """Return the metadata in the header of a safetensors file, without loading tensors."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > 10_000_000:
            raise ValueError("the header is too long")
        header = json.loads(file.read(length))
    metadata = header.get("__metadata__", {})
    return dict(metadata) if isinstance(metadata, dict) else {}


def _readable(value: Any) -> str:
    """Return numbers in JSON with three digits, anything else as it is."""
    try:
        scores = json.loads(value)
        return ", ".join(
            f"{name.replace('_', ' ')} {number:.3g}" for name, number in scores.items()
        )
    except (TypeError, ValueError, AttributeError):
        return str(value)


def _card(path: Path) -> str:
    try:
        metadata = read_header(path)
    except (OSError, ValueError, struct.error):
        return f"<b>{html.escape(path.name)}</b> cannot be read as safetensors weights."
    shown = [
        f"{key.replace('_', ' ')}: {html.escape(_readable(metadata[key])[:160])}"
        for key in _SHOWN
        if metadata.get(key)
    ]
    return f"<b>{html.escape(path.name)}</b><br>" + ("<br>".join(shown) or "says nothing of itself")
