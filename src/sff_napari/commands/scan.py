"""``sff-napari scan``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sff_napari.commands.base import (
    CONTEXT,
    PATH,
    WEIGHTS,
    device_option,
    echo_json,
    json_option,
    progress_bar,
    slices_option,
    stack_argument,
)

# Written out here so that --help need not load torch; a test compares them with the core's.
METHODS = ("default", "plain12", "cgrdn", "gaussian", "median", "rows")


@click.command(context_settings=CONTEXT)
@stack_argument
@click.option("-o", "--out", type=PATH, required=True, help="OUT.zarr to write.")
@slices_option("Slices to restore.  [default: all]")
@click.option(
    "--fast-axis",
    type=click.Choice(["x", "y"]),
    help="Axis along which the beam ran; x is along rows.  [default: as the file says, or x]",
)
@click.option(
    "--strength",
    type=click.FloatRange(0, 1),
    default=1.0,
    help="0 leaves slices unchanged, 1 restores them fully.",
)
@click.option(
    "--displacement-only",
    is_flag=True,
    help="Move measured pixels to where they belong, and denoise nothing.",
)
@click.option(
    "--neighbours", is_flag=True, help="Measure slow drift against the slices beside each."
)
@click.option("--method", type=click.Choice(METHODS), default="default", help="How to restore.")
@click.option("--weights", type=WEIGHTS, help="Weights of the network: a file or a folder.")
@device_option
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@json_option
def command(stack: Any, out: Path, **choices: Any) -> None:
    """Restore slices distorted by jitter, drift and noise of a scanning microscope.

    STACK may also be a file of a microscope (DM3, DM4, SER, EMD) where rosettasciio is
    installed.  OUT also holds the measured slices, the displacement, the confidence and
    the record: verify checks it, revert --slices gives slices back as they were.
    """
    from sff_napari.devices import choose_device
    from sff_napari.scan_distortion import ScanOptions
    from sff_napari.volumes.scan_volume import restore_scans

    choose_device(choices["device"])
    opened, told = _open(stack)
    with opened, progress_bar() as progress:
        wanted = choices["slices"]
        options = ScanOptions(
            fast_axis=choices["fast_axis"] or told or "x",
            strength=choices["strength"],
            displacement_only=choices["displacement_only"],
            method=choices["method"],
            weights=choices["weights"],
            device=choices["device"],
        )
        record = restore_scans(
            out,
            opened,
            options,
            slices=None if wanted is None else opened.parse_slices(wanted),
            neighbours=choices["neighbours"],
            overwrite=choices["overwrite"],
            progress=progress,
        )
    if choices["as_json"]:
        echo_json({"out": str(out), **record})
        return
    for note in record["notes"]:
        click.echo(note, err=True)
    rows = record["slices"]
    for row in rows:
        for note in row["report"]["notes"]:
            click.echo(f"Slice {row['slice']}: {note}", err=True)
    jitter = sum(row["report"]["jitter"] for row in rows) / len(rows)
    count = "1 slice" if len(rows) == 1 else f"{len(rows)} slices"
    click.echo(
        f"{count} restored, jitter of rows {jitter:.2f} px on average, in "
        f"{sum(row['report']['seconds'] for row in rows):.1f} s; see {out}."
    )


def _open(place: Any) -> tuple[Any, str | None]:
    """Return the stack, and the fast axis that its file tells."""
    from sff_napari.commands.base import open_named
    from sff_napari.errors import StackError
    from sff_napari.stacks.microscope_files import open_micrograph

    try:
        return open_named(place), None
    except StackError:
        found = open_micrograph(place) if isinstance(place, Path) and place.is_file() else None
        if found is None:
            raise
        return found
