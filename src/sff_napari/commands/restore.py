"""``sff-napari restore``."""

from __future__ import annotations

from pathlib import Path

import click

from sff_napari.commands.base import (
    CONTEXT,
    PATH,
    device_option,
    echo_json,
    json_option,
    progress_bar,
    slices_option,
    stack_argument,
)

# Written out here so that --help need not load torch; a test compares them with the core's.
INTERPOLATIONS = ("motion", "mean", "network", "previous", "following")
UNFOLDINGS = ("law", "network", "none")
FUSIONS = ("seamless", "stitch", "network", "network-everywhere")


@click.command(context_settings=CONTEXT)
@stack_argument
@click.option("--folds", "folds_path", type=PATH, required=True, help="Folds file (JSON).")
@click.option("-o", "--out", type=PATH, required=True, help="OUT.zarr or OUT.tif to write.")
@slices_option("Slices to restore.  [default: all in the folds file]")
@click.option(
    "--interpolation",
    type=click.Choice(INTERPOLATIONS),
    default="motion",
    help="How the slice is guessed from its neighbours.",
)
@click.option(
    "--unfolding",
    type=click.Choice(UNFOLDINGS),
    default="law",
    help="How the displacement of the fold is undone.",
)
@click.option(
    "--fusion",
    type=click.Choice(FUSIONS),
    default="seamless",
    help="How the hidden region is filled and joined.",
)
@click.option("--weights", type=PATH, help="Weights of the networks: a file or a folder.")
@click.option("--tile", type=click.IntRange(min=64), help="Side of the tiles, px.")
@device_option
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@json_option
def command(
    stack: Path,
    folds_path: Path,
    out: Path,
    slices: str | None,
    interpolation: str,
    unfolding: str,
    fusion: str,
    weights: Path | None,
    tile: int | None,
    device: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the stack with the slices that have folds restored.

    OUT gets the whole stack, and for each restored slice which pixels were
    synthesised, the flow of the unfolding, and how it was made.
    """
    from sff_napari.commands.stack_restoration import StackRestoration
    from sff_napari.devices import choose_device
    from sff_napari.errors import InputError
    from sff_napari.stacks import check_output, open_stack, read_folds, write_restored

    choose_device(device)
    check_output(out, overwrite=overwrite)
    choices = {"interpolation": interpolation, "unfolding": unfolding, "fusion": fusion}
    file = read_folds(folds_path)
    with open_stack(stack) as opened, progress_bar() as progress:
        file.check(opened.shape)
        wanted = file.slices if slices is None else opened.parse_slices(slices)
        without = [z for z in wanted if z not in file.folds]
        if without:
            raise InputError(
                f"The folds file has no fold on slice {without[0]}: choose among the slices it "
                "names, or draw or detect one there."
            )
        if not wanted:
            raise InputError(f"The folds file {folds_path} names no fold: there is nothing to do.")
        work = StackRestoration(
            opened, file.folds, choices, device=device, weights=weights, tile=tile
        )
        written = write_restored(
            out,
            opened,
            wanted,
            work.restore,
            manifest=work.manifest(),
            overwrite=overwrite,
            progress=progress,
        )
    for sentence in work.notes:
        click.echo(sentence, err=True)
    if as_json:
        echo_json({"out": str(written), **work.manifest(), "slices": work.records})
        return
    count = "1 slice" if len(wanted) == 1 else f"{len(wanted)} slices"
    click.echo(f"{count} restored in {work.seconds:.1f} s; see {written}.")
