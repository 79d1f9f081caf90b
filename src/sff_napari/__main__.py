"""``python -m sff_napari`` is the command ``sff-napari``."""

from sff_napari.commands import main

main()
