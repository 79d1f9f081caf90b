"""The commands ``sff-napari`` and ``sff-napari-train``.

Each command is a thin module of its own and is loaded when it is called; the
work is done by the core.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from sff_napari.commands.base import CONTEXT, LazyGroup, run

_COMMANDS = {
    "demo": "Simulate a fold, detect it, restore the slice, and show the result.",
    "detect": "Find the folds of a stack.",
    "restore": "Restore the slices that have folds.",
    "enlarge": "Make slices at full resolution that exist only at low magnification.",
    "verify": "Check a restored volume against its record.",
    "revert": "Take folds of a restored volume back.",
    "export": "Write fold masks or displacements for tools that align volumes.",
    "calibrate": "Choose the detection threshold on clean slices.",
    "evaluate": "Compare methods on folds simulated on clean slices.",
    "compare": "Make pictures of folds before and after restoring.",
    "analyse": "Measure folds, and write ranges to simulate others like them.",
    "simulate": "Write a stack with simulated folds and the truth.",
    "scan": "Restore slices distorted by a scanning microscope.",
    "tomogram": "Reconstruct a volume from a tilt series.",
    "simulate-tilts": "Write a noisy tilt series of a random volume, and the truth.",
    "evaluate-tilts": "Compare tilt-series methods on random volumes.",
    "info": "Say what a stack is, or what is installed here.",
}


@click.group(cls=LazyGroup, commands_in=_COMMANDS, context_settings=CONTEXT)
@click.version_option(package_name="sff-napari", prog_name="sff-napari")
def group() -> None:
    """Repair serial-section TEM slices damaged by support film folds.

    STACK is a TIFF file (one page a slice), a folder of images, a zarr array,
    an OME-Zarr, N5 or precomputed volume, or the address of one of the last
    four.  Slices count from 0.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``sff-napari``; exits with 0, 2 after an error, 3 if a part failed, 130 after Ctrl-C."""
    run(group, "sff-napari", arguments)
