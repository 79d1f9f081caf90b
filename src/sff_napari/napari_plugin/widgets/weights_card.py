"""What a weights file says about itself."""

from __future__ import annotations

import html
import json
import struct
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

FREE = "free"
"""Name of the set that was trained on synthetic tissue alone, as `sff_napari.restore` takes it."""
_SHOWN = ("kind", "width", "version", "data", "trained_on", "licence", "license", "scores", "date")


_DOES = {
    "interpolation": "guesses the slice from its neighbours (method 'trained network')",
    "unfolding": "undoes straight folds (method 'trained network'; the fitted law does it better)",
    "fusion": "chooses between observed and guessed tissue (method 'trained network')",
    "filling": "makes up the hidden tissue (methods 'learned' and 'smooth filling', the default)",
}
"""What each network does, for a proofreader."""
_SCORES = {
    "interpolation": ("psnr", "reaches {:.1f} dB against the true slice"),
    "unfolding": ("flow_error_px", "is off by {:.1f} px on average"),
    "fusion": ("psnr", "reaches {:.1f} dB against the true slice"),
    "filling": ("psnr_filled", "reaches {:.1f} dB against the true tissue"),
}
"""The score that tells most, and how it is said."""


def folder_of(weights: str) -> Path:
    """Return the file or folder of weights; empty: the bundled ones, ``"free"``: the free set."""
    bundled = Path(str(files("sff_napari") / "weights"))
    if weights == FREE and not Path(weights).exists():
        return bundled / FREE
    return Path(weights) if weights else bundled


def describe_weights(weights: str) -> str:
    """Return what the files of weights say about themselves, as rich text."""
    folder = folder_of(weights)
    if not folder.is_dir():
        return _card(folder)
    cards = [_card(file) for file in sorted(folder.glob("*.safetensors"))]
    if cards:
        return "<br>".join(cards)
    if weights:
        return f"There are no weights in {html.escape(str(folder))}."
    return "No weights are bundled: reinstall sff-napari."


def weights_in_brief(weights: str) -> str:
    """Return a sentence on each network, for a proofreader, and on who may use it; rich text."""
    folder = folder_of(weights)
    sentences = []
    for file in sorted(folder.glob("*.safetensors")) if folder.is_dir() else []:
        try:
            sentences.append(_sentence(file.stem, read_header(file)))
        except (OSError, ValueError, struct.error):
            continue
    if not sentences and weights == FREE:
        return "The free set is not part of this installation: choose other weights."
    if not sentences:
        return "There are no weights of networks that can be read: methods without them are used."
    if not weights:
        sentences.append(
            "The bundled weights are for non-commercial use only: the tissue that they were "
            "trained on may not be used otherwise."
        )
    elif weights == FREE:
        sentences.append("Trained on synthetic tissue alone, so that anybody may use them.")
    sentences.append("On other tissue they may do worse: compare before and after there.")
    return "<br>".join(sentences)


def _sentence(name: str, metadata: dict[str, Any]) -> str:
    """Return what a network does, what it was trained on and how good it was there."""
    kind = str(metadata.get("kind", name))
    data = str(metadata.get("data") or metadata.get("trained_on") or "unnamed data")
    text = f"<b>{html.escape(kind.capitalize())}</b> {_DOES.get(kind, 'is not known here')}, "
    text += f"trained on {html.escape(_tissue(data))}"
    key, said = _SCORES.get(kind, ("", ""))
    with suppress(KeyError, TypeError, ValueError):
        text += "; there it " + said.format(float(json.loads(metadata["scores"])[key]))
    return f"{text}."


def _tissue(data: str) -> str:
    """Return what tissue files are of, as far as the file names are known."""
    if any(name in data for name in ("vnc_stack", "isbi2012")):
        return "nerve cord of the fly larva (ssTEM)"
    return data[:80]


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
