"""Tell the person, in one sentence."""

from __future__ import annotations


def show_problem(sentence: str) -> None:
    """Show a warning that goes away by itself."""
    from napari.utils.notifications import show_warning

    show_warning(sentence)


def show_note(sentence: str) -> None:
    """Show a note that goes away by itself."""
    from napari.utils.notifications import show_info

    show_info(sentence)
