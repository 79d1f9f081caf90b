"""Tell what ends a run over a volume from what only ends a slice."""

from __future__ import annotations

from sff_napari.errors import StackError


class Stop(StackError):
    """The result cannot be written any more, e.g. the disk is full; the run ends and can go on."""


def sentence(error: BaseException) -> str:
    """Return what happened as one line for a person."""
    lines = str(error).strip().splitlines()
    text = lines[0].strip() if lines else type(error).__name__
    if not isinstance(error, StackError | ValueError) or not text.endswith("."):
        name = type(error).__name__
        text = text if text.endswith(".") else f"{text} ({name})."
    return text
